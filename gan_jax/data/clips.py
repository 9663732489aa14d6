"""Clips of video from files: of one number of frames and one size, [n t h w c] uint8.

A clip is an animated GIF, WebP or PNG, a folder of numbered frames, or a strip of square frames beside each other. MP4 and other
films are read where imageio-ffmpeg is installed: pip install imageio-ffmpeg.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from gan_jax.data.arrays import DAMAGED as DAMAGED_ARRAYS
from gan_jax.data.folders import DAMAGED, entries, opened, upright
from gan_jax.data.moving import moving
from gan_jax.data.understood import understood
from gan_jax.data.validate import digest
from gan_jax.types import ImageSet, UserError

MOVING = "moving"
FILMS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")
LONGEST = 8  # times that a frame is there at most
STRIP = 4  # squares of a strip at least
SHOWN = 3  # files named in a message
FAINT = 16  # levels of 255: a clip whose values all lie closer together shows nothing
FEWEST = 20  # clips of which a tenth is held out


class Clip(NamedTuple):
    """One clip as it was read."""

    frames: list[Image.Image]  # RGB
    rate: float  # frames a second; 0 where the file does not say


class How(NamedTuple):
    """What is taken of a clip."""

    length: int  # frames
    every: int = 1  # of which the next is so many later
    stride: int = 0  # frames after which another clip begins, and so on; 0: there is one
    size: int = 0  # pixels of the sides; 0: as they are
    rate: float = 0.0  # frames a second to which files that say theirs are brought; 0: theirs


def load(
    name: str, *, length: int, every: int = 1, stride: int = 0, size: int = 32, rate: float = 0.0
) -> tuple[ImageSet, ImageSet]:
    """Returns the clips that are learnt from, and those that are held out.

    `name` is "moving", which are drawn here; a folder with train and test inside, each of clips or of classes of clips; one
    without, of which every tenth clip is held out; or an .npz with x_train or images [n t h w c] uint8 and perhaps x_test, y_train and
    y_test: without x_test every fifth is held out. Clips that show nothing, values less than FAINT apart, are left out. What was
    understood is in `facts`. Raises UserError for files that are damaged or too short, three of them named, and for several
    sizes without `size`.
    """
    how = How(length, every, stride, size, rate)
    if length < 2 or every < 1 or stride < 0 or size < 0 or not 0 <= rate < 1_000:
        raise UserError(
            f"--length {length} --every {every} --stride {stride} --size {size} --rate {rate:g}: 2, 1, 0 and 0 or more, and a rate of 0 to 1000 frames a second"
        )
    if name == MOVING:
        learnt, test = (moving(count, length, size or 32, seed) for seed, count in enumerate((1_000, 400)))
        return learnt, test
    root = Path(name).expanduser()
    if root.suffix in (".npz", ".npy"):
        return _arrays(root, name, how)
    below = {one.name for one in entries(root)[1]} if root.is_dir() else set()
    if {"train", "test"} <= below:
        learnt, test = (read(root / split, how) for split in ("train", "test"))
        if learnt.names != test.names:
            raise UserError(
                f"{name}: the classes of train, {', '.join(learnt.names)}, and test, {', '.join(test.names)}, differ"
            )
    else:
        if len(_listed(root, name)[0]) < FEWEST:
            raise UserError(f"{name}: no train and test, and fewer than {FEWEST} clips: too few to hold out a tenth")
        learnt, test = (read(root, how, tenth) for tenth in (False, True))
    whole = str(root.absolute())
    learnt, test = (
        one._replace(name=name, facts={**one.facts, "path": whole, "folder": whole}) for one in (learnt, test)
    )
    return learnt, test


def read(path: str | os.PathLike, how: How, tenth: bool | None = None) -> ImageSet:
    """Reads all clips of a folder, in the order of their names; sub-folders of clips are the classes. `tenth` takes every tenth clip
    alone, from the first on, or all others. Raises UserError as `load`.
    """
    name, root = os.fspath(path), Path(path).expanduser()
    files, labels, names = _listed(root, name)
    rows = [i for i in range(len(files)) if tenth is None or (i % 10 == 0) == tenth]
    parts, wrong, lengths, rates = [], [], [], set()
    for row in rows:
        file = files[row]
        try:
            clip = read_clip(file, how.size)
        except (*DAMAGED, ArithmeticError) as error:
            wrong.append(f"{file.name} (damaged: {error})")
            continue
        lengths.append(len(clip.frames))
        rates.add(round(clip.rate, 2))
        if how.rate and not clip.rate:
            raise UserError(f"--rate {how.rate:g}: {file.name} does not say how fast it is: leave --rate out")
        try:
            parts.append((row, cut([_square(frame, how.size) for frame in clip.frames], clip.rate, how)))
        except ValueError as error:
            wrong.append(f"{file.name} ({error})")
    if wrong:
        raise UserError(
            f"{name}: {len(wrong)} of {len(rows)} clips cannot be used: {', '.join(wrong[:SHOWN])}; remove them, or take a smaller --length or --every"
        )
    sizes = sorted({part.shape[2:4] for _, part in parts})
    if len(sizes) > 1:
        shown = ", ".join(f"{w}x{h}" for h, w in sizes[:SHOWN])
        raise UserError(
            f"{name}: clips of several sizes, {shown}: bring them to one with --size {min(map(min, sizes))}"
        )
    held = np.concatenate([part for _, part in parts])
    of = None if labels is None else np.repeat(labels[[row for row, _ in parts]], [len(part) for _, part in parts])
    said = (
        f" at {', '.join(f'{one:g}' for one in sorted(rates))} frames a second"
        if 0 not in rates and len(rates) < 4
        else ""
    )
    what = f"{len(parts)} clips of {min(lengths)} to {max(lengths)} frames{said}"
    return _set(held, of, names, name, how, what, str(root.absolute()))


def read_clip(path: Path, size: int = 0) -> Clip:
    """Reads one clip. A frame of an animation that is shown k times as long as half of them are, the median, is there k times,
    LONGEST at most, since writers join equal frames. Raises one of DAMAGED for a damaged one, and UserError where imageio-ffmpeg is needed.
    """
    if path.is_dir():
        return Clip([_rgb(path / name) for name in _numbered([one.name for one in entries(path)[0]])], 0.0)
    if path.suffix.lower() in FILMS:
        return _film(path, size)
    with opened(path) as file:
        if getattr(file, "n_frames", 1) == 1:
            return Clip(_strip(upright(file).convert("RGB")), 0.0)
        frames, times = [], []
        for i in range(getattr(file, "n_frames", 1)):
            file.seek(i)
            frames.append(upright(file.copy()).convert("RGB"))
            times.append(float(file.info.get("duration", 0) or 0))  # milliseconds
    usual = float(np.median(times))
    if not usual:
        return Clip(frames, 0.0)
    again = [min(LONGEST, max(1, round(time / usual))) for time in times]
    return Clip([frame for frame, k in zip(frames, again, strict=True) for _ in range(k)], 1_000 / usual)


def cut(frames: Sequence[np.ndarray], rate: float, how: How) -> np.ndarray:
    """Returns what is taken of one clip, [n length h w c]. Raises ValueError where it is too short."""
    if how.rate and rate:
        count = int(len(frames) / rate * how.rate + 1e-6)
        frames = [frames[min(len(frames) - 1, int(i * rate / how.rate + 1e-6))] for i in range(count)]
    span = (how.length - 1) * how.every + 1
    if len(frames) < span:
        raise ValueError(f"{len(frames)} frames, and {span} are needed")
    starts = range(0, len(frames) - span + 1, how.stride) if how.stride else [0]
    return np.stack([np.stack(frames[i : i + span : how.every]) for i in starts])


def _set(held: np.ndarray, labels: Any, names: tuple[str, ...], name: str, how: How, what: str, path: str) -> ImageSet:
    """The set, without the clips that show nothing."""
    flat = held.reshape(len(held), -1)
    seen = flat.max(1).astype(int) - flat.min(1) >= FAINT
    if not seen.any():
        raise UserError(f"{name}: every clip is of one brightness throughout: there is nothing to learn")
    held, labels = held[seen], None if labels is None else labels[seen].astype(np.int32)
    blank = f"; {int((~seen).sum())} show nothing and are left out" if not seen.all() else ""
    taken = f"of each {how.length} frames, every {how.every}." if how.every > 1 else f"of each {how.length} frames"
    again = f", and again from {how.stride} frames later on" if how.stride else ""
    h, w = held.shape[2:4]
    facts: dict[str, Any] = {"layout": f"{what}, {w}x{h}; {taken}{again}{blank}", "path": path}
    classes = 0 if labels is None else max(len(names), int(labels.max()) + 1)
    return understood(ImageSet(held, labels, classes, name, digest(held, labels), names, facts))


def _arrays(root: Path, name: str, how: How) -> tuple[ImageSet, ImageSet]:
    if not root.is_file():
        raise UserError(f"{name}: no such file ({root.absolute()})")
    try:
        with open(root, "rb") as file:
            loaded = np.load(file, allow_pickle=False)
            held = {"x_train": loaded} if isinstance(loaded, np.ndarray) else {key: loaded[key] for key in loaded.files}
    except DAMAGED_ARRAYS as error:
        raise UserError(f"{name}: cannot be read: {type(error).__name__}: {error}") from error
    held = {
        {"images": "x_train", "labels": "y_train"}.get(key, key): x for key, x in held.items()
    }  # as samples are kept
    if "x_train" not in held:
        raise UserError(f"{name}: no array x_train, only {', '.join(sorted(held))}: clips [n t h w c] are needed")
    for key in [key for key in ("x_train", "x_test") if key in held]:
        x = held[key]
        if x.ndim != 5 or x.shape[-1] not in (1, 3) or x.dtype != np.uint8 or not len(x):
            raise UserError(f"{name}: {key} is {list(x.shape)} {x.dtype}: clips are [n t h w c] uint8, c 1 or 3")
    for split in ("train", "test"):
        x, y = held.get(f"x_{split}"), held.get(f"y_{split}")
        if y is not None and (x is None or y.shape != (len(x),) or y.dtype.kind not in "iu" or y.min() < 0):
            raise UserError(
                f"{name}: y_{split} is {list(y.shape)} {y.dtype}: a number of 0 or more for each clip of x_{split}"
            )
    if how.rate:
        raise UserError(f"--rate {how.rate:g}: arrays do not say how fast they are: leave --rate out, or take --every")
    sets = []
    if "x_test" not in held:
        rows = np.arange(len(held["x_train"])) % 5 == 0
        pairs = [(held["x_train"][of], None if "y_train" not in held else held["y_train"][of]) for of in (~rows, rows)]
    else:
        pairs = [(held[f"x_{split}"], held.get(f"y_{split}")) for split in ("train", "test")]
        if (pairs[0][1] is None) != (pairs[1][1] is None):
            raise UserError(f"{name}: labels of one split alone: both have labels, or none")
    numbers = np.unique(np.concatenate([y for _, y in pairs if y is not None] or [np.zeros(1, int)]))
    for clips, y in pairs:
        if not len(clips):
            raise UserError(f"{name}: {len(held['x_train'])} clips are too few to hold out every fifth")
        try:
            parts = [cut([_square(_image(frame), how.size) for frame in clip], 0.0, how) for clip in clips]
        except ValueError as error:
            raise UserError(f"{name}: its clips have {error}: take a smaller --length or --every") from error
        x = np.concatenate(parts)
        x = x[..., :1] if clips.shape[-1] == 1 else x
        labels = None if y is None else np.repeat(np.searchsorted(numbers, y), [len(part) for part in parts])
        names = () if y is None or numbers[-1] == len(numbers) - 1 else tuple(map(str, numbers))
        what = f"{len(clips)} clips of {clips.shape[1]} frames"
        sets.append(_set(x, labels, names, name, how, what, str(root.absolute())))
    return sets[0], sets[1]


def _image(frame: np.ndarray) -> Image.Image:
    return Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame).convert("RGB")


def _square(frame: Image.Image, size: int) -> np.ndarray:
    """[h w 3]: the middle square, at that size: by a whole factor smaller it is the means of as many pixels, else by Lanczos."""
    if not size or frame.size == (size, size):
        return np.asarray(frame)
    whole = min(frame.size) % size == 0
    method = Image.Resampling.BOX if whole else Image.Resampling.LANCZOS
    return np.asarray(ImageOps.fit(frame, (size, size), method=method))


def _rgb(path: Path) -> Image.Image:
    with opened(path) as file:
        return upright(file).convert("RGB")


def _numbered(names: Sequence[str]) -> list[str]:
    """By their last number, so that 10 is after 9."""
    return sorted(names, key=lambda name: (int((re.findall(r"\d+", name) or ["0"])[-1]), name))


def _squares(size: tuple[int, int]) -> int:
    long, short = max(size), min(size)
    return long // short if long % short == 0 and long // short >= STRIP else 1


def _strip(image: Image.Image) -> list[Image.Image]:
    side, count = min(image.size), _squares(image.size)
    if count < 2:
        raise ValueError(f"one picture of {image.width}x{image.height}: neither an animation nor a strip of squares")
    lies = image.width >= image.height
    corners = [(i * side, 0) if lies else (0, i * side) for i in range(count)]
    return [image.crop((x, y, x + side, y + side)) for x, y in corners]


def _film(path: Path, size: int) -> Clip:
    """Each frame is brought to its size as it is read: a minute as it lies on disk is some gigabytes."""
    try:
        import imageio_ffmpeg
    except ImportError as error:
        raise UserError(f"{path}: films are read by imageio-ffmpeg: pip install imageio-ffmpeg") from error
    reader = imageio_ffmpeg.read_frames(os.fspath(path))
    about = next(reader)
    w, h = about["size"]
    frames = [Image.fromarray(_square(Image.frombytes("RGB", (w, h), content), size)) for content in reader]
    if not frames:
        raise ValueError("no frames")
    return Clip(frames, float(about["fps"]))


def _listed(root: Path, name: str) -> tuple[list[Path], np.ndarray | None, tuple[str, ...]]:
    """The clips, files or folders of frames, and their classes where there are sub-folders of clips."""
    if root.is_file():
        raise UserError(f"{name}: is one file, and a folder of clips is read: put it into one")
    if not root.is_dir():
        raise UserError(f"{name}: no such file or folder ({root.absolute()})")
    flat, folders = _clips(root)
    if flat and folders and not all(map(_of_frames, folders)):
        raise UserError(f"{name}: holds clips ({flat[0].name}) and sub-folders ({folders[0].name}): either all or none")
    if flat or (folders and all(map(_of_frames, folders))):
        return sorted([*flat, *folders]), None, ()
    files: list[Path] = []
    labels: list[int] = []
    for number, folder in enumerate(folders):
        inside, deeper = _clips(folder)
        if not (inside or deeper):
            raise UserError(f"{name}: class {folder.name} has no clips: delete it, or fill it")
        if strange := [one for one in deeper if not _of_frames(one)]:
            raise UserError(f"{name}: {strange[0]} is no folder of frames: classes are one level of sub-folders")
        files += sorted([*inside, *deeper])
        labels += [number] * (len(inside) + len(deeper))
    if not files:
        raise UserError(
            f"{name}: no clips: animated GIF, WebP or PNG, {', '.join(FILMS)}, folders of numbered frames or strips are read"
        )
    return files, np.array(labels, np.int32), tuple(folder.name for folder in folders)


def _clips(folder: Path) -> tuple[list[Path], list[Path]]:
    """Files that are clips, and sub-folders."""
    images, folders, others = entries(folder)
    return [*images, *(one for one in others if one.suffix.lower() in FILMS)], folders


def _of_frames(folder: Path) -> bool:
    """Whether a folder's files are the frames of one clip: still pictures, the first of which is no strip, all with a number."""
    images, folders, _ = entries(folder)
    if not images or folders or not all(re.search(r"\d", one.stem) for one in images):
        return False
    try:
        with opened(images[0]) as first:
            return getattr(first, "n_frames", 1) == 1 and _squares(first.size) == 1
    except DAMAGED:
        return False

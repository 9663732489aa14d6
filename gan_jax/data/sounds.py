"""Sounds from WAV files: of one rate, one length and one loudness, [n t 1] floats in [-1, 1].

Other kinds of files (FLAC, OGG, MP3) are read where soundfile is installed: pip install soundfile.
"""

import os
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import scipy.io.wavfile
import scipy.signal

from gan_jax.data.arrays import DAMAGED
from gan_jax.data.folders import entries
from gan_jax.data.understood import understood
from gan_jax.data.validate import digest
from gan_jax.data.vowels import vowels
from gan_jax.types import ImageSet, UserError

WAV, OTHER = (".wav", ".wave"), (".flac", ".ogg", ".oga", ".mp3", ".aif", ".aiff")
SILENT = 1e-4  # peak below which there is nothing to hear, -80 dB
CLIPPED = 0.999  # of the largest value; a sound with CLIPS such samples in a row was cut off when it was recorded
CLIPS = 4
SHOWN = 3  # files named in a message


VOWELS = "vowels"
Loudness = Literal["peak", "as_is"]


class Sound(NamedTuple):
    """One sound as it was read."""

    samples: np.ndarray  # [t] float64 in [-1, 1], the mean of its channels
    rate: int  # samples in a second


def read_file(path: str | os.PathLike) -> Sound:
    """Reads one file. Raises ValueError or OSError for a damaged one, and UserError where soundfile is needed."""
    if Path(path).suffix.lower() in WAV:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", scipy.io.wavfile.WavFileWarning)  # chunks that are not understood
            rate, held = scipy.io.wavfile.read(path)
        samples = np.asarray(held, np.float64)
        if held.dtype == np.uint8:
            samples = (samples - 128) / 128
        elif held.dtype.kind == "i":
            samples = samples / -float(np.iinfo(held.dtype).min)
    else:
        try:
            import soundfile
        except ImportError as error:
            raise UserError(f"{path}: only WAV files are read without soundfile: pip install soundfile") from error
        samples, rate = soundfile.read(path)
    if not samples.size:
        raise ValueError("no samples")
    if not np.isfinite(samples).all():
        raise ValueError("samples that are not finite")
    return Sound(samples.mean(1) if samples.ndim > 1 else samples, int(rate))


def load(
    name: str, *, rate: int = 0, length: int, loudness: Loudness = "peak", every: int = 0
) -> tuple[ImageSet, ImageSet]:
    """Returns the sounds that are learnt from, and those that are held out.

    `name` is "vowels", which are made here; a folder with train and test inside, each as `read` takes it, or one without,
    of which every tenth sound is held out; or an .npz with x_train and x_test [n t], integers of 16 bits or floats in [-1, 1], perhaps
    y_train and y_test, and the `rate`. Raises UserError as `read`.
    """
    _require_counts(rate, length, every)
    if name == VOWELS:
        made = (vowels(count, rate or 8_000, length, seed) for seed, count in enumerate((2_000, 300)))
        learnt, test = made
        return learnt, test
    root = Path(name).expanduser()
    how: dict[str, Any] = {"rate": rate, "length": length, "loudness": loudness, "every": every}
    if root.suffix == ".npz":
        return _arrays(root, name, how)
    below = {one.name for one in entries(root)[1]} if root.is_dir() else set()
    if {"train", "test"} <= below:
        learnt, test = (read(root / split, **how) for split in ("train", "test"))
        if learnt.names != test.names:
            raise UserError(
                f"{name}: the classes of train, {', '.join(learnt.names)}, and test, {', '.join(test.names)}, differ"
            )
    else:
        files, _, _ = _listed(root, name)
        if len(files) < 20:
            raise UserError(
                f"{name}: it has no train and test, and {len(files)} sounds are too few to hold out a tenth"
            )
        # Whole files: what --every takes of one is not on both sides.
        learnt, test = (read(name, **how, tenth=tenth) for tenth in (False, True))
    whole = str(root.absolute())
    learnt, test = (
        one._replace(name=name, facts={**one.facts, "path": whole, "folder": whole}) for one in (learnt, test)
    )
    return learnt, test


def prepared(sound: Sound, rate: int, length: int, loudness: Loudness = "peak", every: int = 0) -> np.ndarray:
    """Returns the sound [n length] float32 at that rate: resampled by a polyphase filter, with "peak" scaled so that the loudest sample
    is 0.95, cut off or followed by silence. With `every`, also what begins so many samples later, and so on to its end.
    """
    samples = sound.samples
    if sound.rate != rate:
        common = int(np.gcd(sound.rate, rate))
        samples = scipy.signal.resample_poly(samples, rate // common, sound.rate // common)
    if loudness == "peak":
        samples = 0.95 * samples / max(float(np.abs(samples).max()), 1e-12)
    samples = np.clip(samples, -1, 1)
    count = 1 + -(-max(0, len(samples) - length) // every) if every else 1
    samples = np.pad(samples, (0, max(0, (count - 1) * every + length - len(samples))))
    return np.stack([samples[i * every : i * every + length] for i in range(count)]).astype(np.float32)


def read(
    path: str | os.PathLike,
    *,
    rate: int = 0,
    length: int,
    loudness: Loudness = "peak",
    every: int = 0,
    tenth: bool | None = None,
) -> ImageSet:
    """Reads all sounds of a folder, in the order of their names, as floats [n length 1]; sub-folders are the classes. With
    `every` a longer sound gives several, which begin so many samples after each other. `tenth` takes every tenth file alone,
    from the first on, or all others.

    `rate` is the number of samples in a second to which all are resampled; 0: that of the files, which must be one. Several
    channels become their mean. What was understood is in `facts`: the rate, how long the sounds are, how many are
    clipped, or cut off by `length`. Raises UserError for files that are damaged, silent or too short to be anything (under a
    hundredth of a second), with three of them named, and for several rates without `rate`.
    """
    name, root = os.fspath(path), Path(path).expanduser()
    _require_counts(rate, length, every)
    files, labels, names = _listed(root, name)
    if tenth is not None:
        rows = [i for i in range(len(files)) if (i % 10 == 0) == tenth]
        files, labels = [files[i] for i in rows], None if labels is None else labels[rows]
    sounds, wrong = [], []
    for file in files:
        try:
            sound = read_file(file)
        except (OSError, ValueError, EOFError, RuntimeError, struct.error) as error:
            wrong.append(f"{file.name} (damaged: {error})")
            continue
        if np.abs(sound.samples).max() < SILENT:
            wrong.append(f"{file.name} (silent)")
        elif len(sound.samples) < sound.rate / 100:
            wrong.append(f"{file.name} ({len(sound.samples)} samples)")
        sounds.append(sound)
    if wrong:
        shown = ", ".join(wrong[:SHOWN])
        raise UserError(f"{name}: {len(wrong)} of {len(files)} sounds cannot be used: {shown}; replace or remove them")
    rates = sorted({sound.rate for sound in sounds})
    if len(rates) > 1 and not rate:
        raise UserError(
            f"{name}: sounds of several rates, {', '.join(map(str, rates))}: bring them to one by rate={rates[0]}"
        )
    rate = rate or rates[0]
    parts = [prepared(sound, rate, length, loudness, every) for sound in sounds]
    held = np.concatenate(parts)[..., None]
    labels = None if labels is None else np.repeat(labels, [len(part) for part in parts])
    seconds = [len(sound.samples) / sound.rate for sound in sounds]
    longer = sum(one * rate > length + 1 for one in seconds)
    facts: dict[str, Any] = {
        "layout": f"{len(sounds)} sounds at {rate} samples a second, {min(seconds):.2f} to {max(seconds):.2f} s, of which {length / rate:.2f} s"
        f" are taken{f', and again every {every / rate:.2f} s' if every else f': {longer} are cut off'}; {sum(map(clipped, sounds))} were recorded too loud",
        "folder": str(root.absolute()),
        "path": str(root.absolute()),
    }  # fmt: skip
    found = ImageSet(held, labels, len(names), name, digest(held, labels), names, facts)
    return understood(found)


def speakers(path: str | os.PathLike) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns who speaks in each sound of a folder, in the order of `read`, by the names of the files up to the first "_": numbers [n],
    and names. Raises UserError as `read`, and for names without "_".
    """
    files, _, _ = _listed(Path(path).expanduser(), os.fspath(path))
    said = [file.stem.partition("_")[0] if "_" in file.stem else "" for file in files]
    if "" in said:
        raise UserError(
            f"{os.fspath(path)}: {files[said.index('')].name} does not say who speaks: SPEAKER_NUMBER.wav does"
        )
    names = sorted({*said})
    return np.array([names.index(one) for one in said], np.int32), tuple(names)


def clipped(sound: Sound) -> bool:
    """Returns whether CLIPS samples in a row are at the largest value that there is: it was cut off when it was recorded."""
    most = np.abs(sound.samples) >= CLIPPED
    return bool(np.convolve(most, np.ones(CLIPS), "valid").max() >= CLIPS) if len(most) >= CLIPS else False


def _arrays(root: Path, name: str, how: dict[str, Any]) -> tuple[ImageSet, ImageSet]:
    if not root.is_file():
        raise UserError(f"{name}: no such file ({root.absolute()})")
    try:
        with open(root, "rb") as file, np.load(file, allow_pickle=False) as loaded:
            held = {key: loaded[key] for key in loaded.files}
    except DAMAGED as error:
        raise UserError(f"{name}: cannot be read: {type(error).__name__}: {error}") from error
    if missing := [key for key in ("x_train", "x_test", "rate") if key not in held]:
        raise UserError(f"{name}: no array {' and '.join(missing)}: x_train and x_test [n t], and the rate are needed")
    own, sets = int(np.asarray(held["rate"]).reshape(-1)[0]), []
    if own < 1:
        raise UserError(f"{name}: rate {own}: samples in a second, 1 or more")
    labelled = [f"y_{split}" for split in ("train", "test") if f"y_{split}" in held]
    if len(labelled) == 1:
        raise UserError(f"{name}: {labelled[0]} alone: both splits have labels, or none")
    classes = 0
    for split in ("train", "test"):
        x, labels = held[f"x_{split}"], held.get(f"y_{split}")
        if x.ndim != 2 or not len(x) or not (x.dtype == np.int16 or (x.dtype.kind == "f" and np.abs(x).max() <= 1)):
            raise UserError(f"{name}: x_{split} is {list(x.shape)} {x.dtype}: [n t], of 16 bits or floats in [-1, 1]")
        scaled = x / 32_768 if x.dtype == np.int16 else x.astype(np.float64)
        if silent := int((np.abs(scaled).max(1) < SILENT).sum()):
            raise UserError(f"{name}: {silent} of {len(x)} sounds of x_{split} are silent: remove them")
        if labels is not None:
            if labels.shape != (len(x),) or labels.dtype.kind not in "iu" or labels.min() < 0:
                raise UserError(
                    f"{name}: y_{split} is {list(labels.shape)} {labels.dtype}: a number of 0 or more for each of {len(x)} sounds"
                )
            classes = max(classes, int(labels.max()) + 1)
        sets.append((scaled, labels))
    rate, out = how["rate"] or own, []
    for scaled, labels in sets:
        parts = [prepared(Sound(one, own), rate, how["length"], how["loudness"], how["every"]) for one in scaled]
        sounds = np.concatenate(parts)[..., None]
        labels = None if labels is None else np.repeat(labels.astype(np.int32), [len(part) for part in parts])
        facts = {"layout": f"{len(scaled)} sounds at {rate} samples a second", "path": str(root.absolute())}
        out.append(understood(ImageSet(sounds, labels, classes, name, digest(sounds, labels), (), facts)))
    return out[0], out[1]


def _require_counts(rate: int, length: int, every: int) -> None:
    if rate < 0 or length < 1 or every < 0:
        raise UserError(
            f"rate {rate}, length {length}, every {every}: a rate in samples a second, or 0, at least one sample, and 0 or more"
        )


def _listed(root: Path, name: str) -> tuple[list[Path], np.ndarray | None, tuple[str, ...]]:
    """The files, and their classes where there are sub-folders."""
    if not root.is_dir():
        raise UserError(f"{name}: no such folder ({root.absolute()})")
    _, deeper, others = entries(root)
    flat = _sounds(others)
    if flat and deeper:
        raise UserError(
            f"{name}: holds sounds ({flat[0].name}) and sub-folders ({deeper[0].name}): either all lie flat, or all in classes"
        )
    if flat:
        return flat, None, ()
    files: list[Path] = []
    labels: list[int] = []
    for number, folder in enumerate(deeper):
        inside = _sounds(entries(folder)[2])
        if not inside:
            raise UserError(f"{name}: class {folder.name} has no sounds: delete it, or fill it")
        files += inside
        labels += [number] * len(inside)
    if not files:
        raise UserError(f"{name}: no sounds: {', '.join((*WAV, *OTHER))} are read")
    return files, np.array(labels, np.int32), tuple(folder.name for folder in deeper)


def _sounds(files: Sequence[Path]) -> list[Path]:
    return [file for file in files if file.suffix.lower() in (*WAV, *OTHER)]

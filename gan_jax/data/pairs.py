"""Pairs of images, of which one is to be made of the other, and two domains of images without pairs."""

import csv
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gan_jax.data import folders, subsets
from gan_jax.data.arrays import DAMAGED
from gan_jax.data.ondisk import digest_of
from gan_jax.data.resident import middle, source
from gan_jax.data.understood import understood
from gan_jax.data.validate import digest, image_set, span_of
from gan_jax.types import Batch, ImageSet, Key, NoSplit, PyTree, Source, Spec, UserError

SHOWN = 3  # files named in a message
SPLITS = ("train", "test", "val")
LAYOUTS = (
    "pairs are read from DIR/A and DIR/B with files of the same names (or DIR/A/train and so on), DIR/train with pictures that "
    "hold both halves side by side, two sub-folders of any name with files of the same names, a .csv with the columns "
    "input and target, or an .npz with a and b (a_test and b_test)"
)
File = Path | tuple[Path, str]  # a picture, or a half of one


class Pairs(NamedTuple):
    """Two sets of images; row by row they are pairs, or they are two domains."""

    a: ImageSet
    b: ImageSet


def read(path: str | os.PathLike, split: str = "train", *, size: int | None = None, fit: str = "crop") -> Pairs:
    """Reads pairs [n h w c], both of one size; a is what is given.

    `path` is a directory: A and B with files of the same stems, each flat or with train and test inside, or train/A and
    train/B; train (and test), or the directory itself, with pictures twice as wide as high, whose left half is a and right
    half b; or exactly two sub-folders with files of the same stems, the first by name being a. Or a .csv with the columns
    input and target, paths relative to it, and perhaps split. Or an .npz with a and b, for "test" a_test and b_test. How it
    was read is in `facts` of the sets. `size` and `fit` as in `folders.read`.

    Raises UserError for another layout, files without a partner (three are named), damaged files, and several sizes;
    NoSplit where there is no such split.
    """
    name, root = os.fspath(path), Path(path).expanduser()
    if not name:
        raise UserError(f"--data is empty: {LAYOUTS}")
    if split not in SPLITS:
        raise NoSplit(f"{name}: no split {split!r}: pairs have {', '.join(SPLITS)}")
    if root.suffix == ".npz":
        return _arrays(root, name, split, size)
    if root.suffix == ".csv":
        return _pictures(*_listed(root, name, split), name, "a list of files", size, fit)
    if not root.is_dir():
        raise UserError(f"{name}: no such folder, .csv or .npz ({root.absolute()})")
    below = {one.name.lower(): one for one in folders.entries(root)[1]}
    if {"traina", "trainb"} <= below.keys():
        raise UserError(f"{name}: trainA and trainB are domains without pairs, for cyclegan and cut; {LAYOUTS}")
    if {"a", "b"} <= below.keys():
        first, second = (_split_of(below[side], split, name) for side in "ab")
        return _pictures(*_partners(first, second, name), name, "A and B, by the names of the files", size, fit)
    inside = below.get(split)
    if inside is None and below.keys() & {*SPLITS}:
        raise NoSplit(f"{name}: no folder {split}, only {', '.join(sorted(below))}")
    if inside is not None:
        deeper = {one.name.lower(): one for one in folders.entries(inside)[1]}
        if {"a", "b"} <= deeper.keys():
            both = _partners(deeper["a"], deeper["b"], name)
            return _pictures(*both, name, f"{split}/A and {split}/B, by the names of the files", size, fit)
    elif split != "train":
        raise NoSplit(f"{name}: no split {split!r} there")
    elif len(below) == 2 and not folders.entries(root)[0]:
        first, second = (below[key] for key in sorted(below))
        both = _partners(first, second, name)
        return _pictures(*both, name, f"a: {first.name}, b: {second.name}, by the names of the files", size, fit)
    wide = folders.entries(inside or root)[0]
    if not wide:
        raise UserError(f"{name}: no pairs: {LAYOUTS}")
    _require_wide(wide, name)
    halves = [[(file, side) for file in wide] for side in ("left", "right")]
    return _pictures(halves[0], halves[1], name, "a: the left half of each picture, b: the right one", size, fit)


def splits(
    path: str | os.PathLike,
    *,
    size: int | None = None,
    fit: str = "crop",
    reader: Callable[..., Pairs] = read,
) -> tuple[Pairs, Pairs]:
    """Returns what is learnt from and what is measured by: train and test of `reader` (`read` or `read_domains`), or val where there
    is no test; where there is neither, every tenth image is held out. Grey images of one of them get three channels where
    those of the other have.

    Raises UserError as the reader, and for fewer than 20 images of which to hold some out.
    """
    train = reader(path, "train", size=size, fit=fit)
    for split in SPLITS[1:]:
        try:
            test = reader(path, split, size=size, fit=fit)
        except NoSplit:
            continue
        break
    else:
        if (fewest := min(len(one.images) for one in train)) < 20:
            raise UserError(f"{os.fspath(path)}: it has no test images, and {fewest} are too few to hold out a tenth")
        (a, held_a), (b, held_b) = (subsets.tenths(one) for one in train)
        train, test = Pairs(a, b), Pairs(held_a, held_b)
    both = [_of_one_kind([one, other]) for one, other in zip(train, test, strict=True)]
    return Pairs(*(one for one, _ in both)), Pairs(*(other for _, other in both))


def _of_one_kind(sets: Sequence[ImageSet]) -> list[ImageSet]:
    """The sets, with as many channels as the one that has the most."""
    channels = max(one.images.shape[-1] for one in sets)
    return [one if one.images.shape[-1] == channels else _coloured(one) for one in sets]


def _coloured(images: ImageSet) -> ImageSet:
    held = np.repeat(np.asarray(images.images), 3, axis=-1)
    return images._replace(images=held, digest=digest(held, images.labels))


def cut(both: Pairs, crop: int) -> Pairs:
    """Returns the middle of all images, squares of `crop` pixels, by which pairs are measured that are learnt in crops; 0: all."""
    if not crop:
        return both
    held = [np.ascontiguousarray(middle(np.asarray(one.images), crop)) for one in both]
    return Pairs(*(one._replace(images=x, digest=digest(x, None)) for one, x in zip(both, held, strict=True)))


def read_domains(path: str | os.PathLike, split: str = "train", *, size: int | None = None, fit: str = "crop") -> Pairs:
    """Reads two domains without pairs: DIR/trainA and DIR/trainB (testA, testB), or an .npz with a and b (a_test, b_test).

    Raises UserError and NoSplit as `read`; the domains may be of different lengths, but of one size.
    """
    name, root = os.fspath(path), Path(path).expanduser()
    if not name:
        raise UserError("--data is empty: a folder with trainA and trainB (testA, testB), or an .npz with a and b")
    if root.suffix == ".npz":
        return _arrays(root, name, split, size, paired=False)
    below = {one.name.lower(): one for one in folders.entries(root)[1]} if root.is_dir() else {}
    sides = [below.get(f"{split}{side}") for side in "ab"]
    if None in sides:
        found = ", ".join(sorted(below)) or "nothing"
        raise (UserError if split == "train" else NoSplit)(
            f"{name}: two domains are read from DIR/{split}A and DIR/{split}B, or from an .npz with a and b; found {found}"
        )
    sets = [folders.read(one, size=size, fit=fit, channels=3) for one in sides if one is not None]
    sets = [one._replace(labels=None, classes=0, names=()) for one in sets]
    return _told(Pairs(*sets), name, root, f"{split}A and {split}B, two domains")


def pairs(both: Pairs, batch_size_rows: int, seed: int, *, flip: bool = False, crop: int = 0) -> Source:
    """Returns a source of batches with "a" and "b" [b h w c], floats in [-1, 1], row by row of one pair. `flip` and `crop` are
    those of `source`, the same for both images of a pair.
    """
    a, b = both
    images = np.concatenate([_bytes(a), _bytes(b)], -1)
    digest = digest_of("pairs", a.digest, b.digest)
    joined = ImageSet(images, None, 0, a.name, digest, (), a.facts)
    inner = source(joined, batch_size_rows, seed, flip=flip, crop=crop)
    channels, shape = a.images.shape[-1], inner.spec.shape

    facts = {"sources": {"a": a.facts, "b": b.facts}}

    def parted(batch: Batch) -> Batch:
        return {"a": batch["image"][..., :channels], "b": batch["image"][..., channels:]}

    def batch(fetched: PyTree, key: Key, step: object) -> Batch:
        return parted(inner.batch(fetched, key, step))  # type: ignore[arg-type]

    kind = inner.spec.arrays["image"]
    arrays = {
        "a": type(kind)((*shape[:2], channels), kind.dtype),
        "b": type(kind)((*shape[:2], shape[2] - channels), kind.dtype),
    }
    examples = None if inner.examples is None else lambda which: parted(inner.examples(which))  # type: ignore[misc]
    return Source(
        inner.fetch, batch, inner.key, inner.rows, Spec(arrays), inner.size, inner.resident, a.name, digest,
        inner.follow, facts, examples,
    )  # fmt: skip


def _bytes(images: ImageSet) -> np.ndarray:
    found = np.asarray(images.images)
    return found if found.dtype == np.uint8 else np.round((found + 1) * 127.5).astype(np.uint8)


def _arrays(root: Path, name: str, split: str, size: int | None, paired: bool = True) -> Pairs:
    if not root.is_file():
        raise UserError(f"{name}: no such file ({root.absolute()})")
    end = "" if split == "train" else f"_{split}"
    wanted = [f"a{end}", f"b{end}"]
    try:
        # Opened here, since NumPy may not close it on an error.
        with open(root, "rb") as file, np.load(file, allow_pickle=False) as loaded:
            keys = list(loaded.keys())
            if missing := [key for key in wanted if key not in keys]:
                kind = UserError if split == "train" else NoSplit
                raise kind(f"{name}: no array {' and '.join(missing)}, only {', '.join(keys) or 'nothing'}")
            # The range of floats is that of all splits of a domain.
            held = {key: loaded[key] for key in keys if key.split("_")[0] in ("a", "b")}
    except DAMAGED as error:
        raise UserError(f"{name}: cannot be read: {type(error).__name__}: {error}") from error
    spans = [span_of([x for key, x in held.items() if key.split("_")[0] == one[0]]) for one in wanted]
    both = Pairs(
        *(
            image_set(held[key], None, f"{key} of {name}", span=span)._replace(name=name)
            for key, span in zip(wanted, spans, strict=True)
        )
    )
    if paired and len(both.a.images) != len(both.b.images):
        counts = f"{len(both.a.images)} images in {wanted[0]} and {len(both.b.images)} in {wanted[1]}"
        raise UserError(f"{name}: {counts}: pairs are as many")
    for key, one in zip(wanted, both, strict=True):
        h, w = one.images.shape[1:3]
        if size is not None and (h, w) != (size, size):
            raise UserError(f"{name}: --size {size}, but {key} is {w}x{h}, and only pictures are resized: --size 0")
    both = both if paired else Pairs(*_of_one_kind(both))
    return _told(both, name, root, f"arrays {wanted[0]} and {wanted[1]}")


def _told(both: Pairs, name: str, root: Path, layout: str) -> Pairs:
    """Both sets, of one size, with what was understood of them."""
    sizes = [one.images.shape[1:3] for one in both]
    if sizes[0] != sizes[1]:
        (h, w), (h2, w2) = sizes
        raise UserError(
            f"{name}: images of a are {w}x{h} and of b {w2}x{h2}: bring them to one with --size {min(h, w)}"
        )
    path = os.path.abspath(root)
    facts = {"layout": layout, "path": path} | ({"folder": path} if root.is_dir() else {})
    return Pairs(*(understood(one._replace(facts={**one.facts, **facts})) for one in both))


def _split_of(folder: Path, split: str, name: str) -> Path:
    below = {one.name.lower(): one for one in folders.entries(folder)[1]}
    if split in below:
        return below[split]
    if below.keys() & {*SPLITS} or split != "train":
        raise NoSplit(f"{name}: no folder {folder.name}/{split}")
    return folder


def _partners(a: Path, b: Path, name: str) -> tuple[list[File], list[File]]:
    """The files of both folders that have the same stem."""
    found = []
    for folder in (a, b):
        by_stem: dict[str, Path] = {}
        for file in folders.entries(folder)[0]:
            if file.stem in by_stem:
                raise UserError(f"{name}: {by_stem[file.stem]} and {file} have one stem, and could both be the partner")
            by_stem[file.stem] = file
        found.append(by_stem)
    first, second = found
    if alone := [file for stem, file in first.items() if stem not in second] + [
        file for stem, file in second.items() if stem not in first
    ]:
        shown = ", ".join(f"{file.parent.name}/{file.name}" for file in alone[:SHOWN])
        raise UserError(
            f"{name}: {len(alone)} of {len(first) + len(second)} pictures of {a.name} and {b.name} have no partner of the same name: {shown}"
            f"{' ...' if len(alone) > SHOWN else ''}; rename or remove them"
        )
    if not first:
        raise UserError(f"{name}: {a.name} and {b.name} hold no pictures")
    stems = sorted(first)
    return [first[stem] for stem in stems], [second[stem] for stem in stems]


def _listed(root: Path, name: str, split: str) -> tuple[list[File], list[File]]:
    try:
        with open(root, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{name}: cannot be read: {error}") from error
    columns = list(rows[0]) if rows else []
    if not {"input", "target"} <= {*columns}:
        raise UserError(
            f"{name}: the columns input and target are needed; found {', '.join(map(str, columns)) or 'no rows'}"
        )
    if short := [i for i, row in enumerate(rows, 2) if not row["input"] or not row["target"]]:
        raise UserError(f"{name}: line {short[0]} has no input or no target; {len(short)} lines are so")
    if "split" in columns:
        rows = [row for row in rows if row["split"] == split]
    elif split != "train":
        raise NoSplit(f"{name}: it has no column split, so all its pairs are train")
    if not rows:
        raise NoSplit(f"{name}: no row with the split {split}")
    a, b = ([root.parent / row[column] for row in rows] for column in ("input", "target"))
    if missing := [str(file) for file in (*a, *b) if not file.is_file()]:
        shown = ", ".join(missing[:SHOWN])
        raise UserError(f"{name}: {len(missing)} files are not there: {shown}{' ...' if len(missing) > SHOWN else ''}")
    return [*a], [*b]


def _require_wide(files: Sequence[Path], name: str) -> None:
    """Raises UserError unless the pictures are twice as wide as high, by their headers."""
    other = []
    for file in files:
        try:
            with folders.opened(file) as picture:
                w, h = picture.size
        except folders.DAMAGED:
            continue  # reported when it is read
        if w != 2 * h:
            other.append(f"{file.name} ({w}x{h})")
    if other:
        raise UserError(
            f"{name}: {len(other)} of {len(files)} pictures are not twice as wide as high, as two square halves side by side are: "
            f"{', '.join(other[:SHOWN])}{' ...' if len(other) > SHOWN else ''}; {LAYOUTS}"
        )


def _pictures(a: Sequence[File], b: Sequence[File], name: str, layout: str, size: int | None, fit: str) -> Pairs:
    return _told(Pairs(*(_set(files, name, size, fit) for files in (a, b))), name, Path(name).expanduser(), layout)


def _set(files: Sequence[File], name: str, size: int | None, fit: str) -> ImageSet:
    """The pictures as one set, grey where all are."""
    found, broken = [], []
    for one in files:
        file, half = one if isinstance(one, tuple) else (one, "")
        try:
            found.append(folders.decode(file, size, fit, None, half))
        except folders.DAMAGED as error:
            broken.append(f"{file} ({error})")
    if broken:
        shown = ", ".join(broken[:SHOWN])
        raise UserError(f"{name}: {len(broken)} of {len(files)} pictures are damaged: {shown}; replace or remove them")
    shapes = {image.shape[:2] for image in found}
    if len(shapes) > 1:
        (h, w), (h2, w2) = sorted(shapes)[:2]
        raise UserError(
            f"{name}: pictures of several sizes, such as {w}x{h} and {w2}x{h2}: bring them to one with --size {h}"
        )
    channels = max(image.shape[2] for image in found)
    return image_set(np.stack([np.broadcast_to(x, (*x.shape[:2], channels)) for x in found]), None, name)

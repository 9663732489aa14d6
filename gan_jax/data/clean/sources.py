"""Lists what a folder or a NumPy file holds: every image with its split and class, and what is no image."""

import os
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.lib.format import MAGIC_PREFIX
from PIL import Image

from gan_jax.data import arrays, folders
from gan_jax.data.clean import look
from gan_jax.data.validate import ROUNDED, require_layout, span_of
from gan_jax.types import UserError

HELD_OUT = ("test", "val", "valid", "validation")  # folders that beside one called train are held out
OTHER_SPLITS = ("test", "val")  # in names of arrays


class Entry(NamedTuple):
    """One image of a source."""

    name: str  # path below the folder, with "/"; array[row]
    split: str  # "train", or "test" for all that is held out
    label: str  # class: sub-folder, or label; "" where there is none
    row: int = -1  # of the array of its split


class Source(Protocol):
    """Images, and how they are looked at."""

    path: Path
    entries: list[Entry]
    others: Counter[str]  # files that are ignored, by kind
    faults: list[tuple[str, str]]  # folders that cannot be read, and why

    def seen(self, entry: Entry, hashed: Callable[[Any], int]) -> look.Seen | look.Broken: ...
    def partly(self, entry: Entry) -> look.Broken: ...
    def picture(self, entry: Entry) -> Image.Image | None: ...


def read(data: str) -> "Folder | Arrays":
    """Lists the images of a folder, .npz or .npy. Raises UserError where it is none, holds none, or cannot be read."""
    path = Path(data).expanduser()
    if not path.exists():
        raise UserError(f"{data}: no such file or folder ({path.absolute()})")
    if path.is_dir():
        return Folder(path)
    if path.suffix in (".npz", ".npy"):
        return Arrays(path)
    raise UserError(f"{data}: a folder of images, an .npz or an .npy can be cleaned")


class Folder:
    """A folder of images, with sub-folders of any depth. Beside train/, test/ is the test set; else the sub-folders are
    classes.
    """

    def __init__(self, path: Path):
        self.path, self.entries, self.others, self.faults = path, list[Entry](), Counter[str](), list[tuple[str, str]]()
        inside = {name.lower() for name in _names(path)}
        self.held = {*HELD_OUT} if "train" in inside and inside & {*HELD_OUT} else set()
        self._read: set[str] = set()
        self._list(path, ())
        self.entries.sort(key=lambda entry: (entry.split == "test", entry.name.split("/")))
        if not self.entries:
            why = "; ".join(f"{name}: {text}" for name, text in self.faults) or self.said() or "it is empty"
            raise UserError(f"{path}: no images: {why}; {', '.join(folders.SUFFIXES)} are read")

    def _list(self, folder: Path, below: tuple[str, ...]) -> None:
        real = os.path.realpath(folder)
        if real in self._read:
            self.others["a link to a folder that is read already"] += 1
            return
        self._read.add(real)
        try:
            names = sorted(os.listdir(folder))
        except OSError as error:
            self.faults.append(("/".join(below), error.strerror or str(error)))
            return
        for name in names:
            place = folder / name
            if name.startswith((".", "__MACOSX")):
                self.others["hidden"] += 1
            elif place.is_dir():
                self._list(place, (*below, name))
            elif place.suffix.lower() in folders.SUFFIXES and (place.is_file() or not place.exists()):
                self.entries.append(self._entry((*below, name)))
            else:
                self.others[place.suffix.lower() or name] += 1

    def _entry(self, parts: tuple[str, ...]) -> Entry:
        split = "test" if parts[0].lower() in self.held and len(parts) > 1 else "train"
        classes = (
            parts[1:-1] if self.held and len(parts) > 1 and parts[0].lower() in (*self.held, "train") else parts[:-1]
        )
        return Entry("/".join(parts), split, "/".join(classes))

    def said(self) -> str:
        """Returns what other files there are: "12 other files (.txt 11, .db 1)"; "" where there are none."""
        kinds = [f"{kind} {count:,}" for kind, count in self.others.most_common(folders.SHOWN)]
        more = ", ..." if len(self.others) > folders.SHOWN else ""
        return f"{self.others.total():,} other files ({', '.join(kinds)}{more})" if self.others else ""

    def seen(self, entry: Entry, hashed: Callable[[Any], int]) -> look.Seen | look.Broken:
        """Returns what is kept of an image, or why it cannot be used."""
        return look.file(self.path / entry.name, hashed)

    def partly(self, entry: Entry) -> look.Broken:
        """Returns more of an image that is "damaged"."""
        return look.partly(self.path / entry.name)[0]

    def picture(self, entry: Entry) -> Image.Image | None:
        """Returns the picture, or what can be decoded of it, in mode L or RGB; None where nothing can."""
        try:
            with Image.open(self.path / entry.name) as opened:
                opened.load()
                return folders.upright(opened)
        except Exception:  # Pillow raises nearly any for damaged files
            return look.partly(self.path / entry.name)[1]


def _names(path: Path) -> list[str]:
    try:
        return [place.name for place in path.iterdir() if place.is_dir()]
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


class Arrays:
    """The images of an .npz or .npy. `images` and `labels` are by split, `keys` names their arrays."""

    def __init__(self, path: Path):
        self.path, self.others, self.faults = path, Counter[str](), list[tuple[str, str]]()
        self.keys: dict[str, str] = {}
        self.labels: dict[str, np.ndarray] = {}
        self.file: dict[str, np.ndarray] = {}  # all arrays of an .npz
        self.packed = False
        try:
            self.images = self._read()
        except arrays.DAMAGED as error:
            raise UserError(
                f"{path}: cannot be read, it is damaged or no file of plain arrays: {type(error).__name__}: {error}"
            ) from error
        for split, images in self.images.items():
            _require(images, f"{path} {self.keys[split]}")
        self.span = span_of(self.images.values())
        low, high = self.span or (0.0, 0.0)
        if low < -1 - ROUNDED or high > 1 + ROUNDED:
            raise UserError(
                f"{path}: values from {low:.7g} to {high:.7g}: floats must be in [0, 1] or [-1, 1]; scale them, or store uint8 in 0..255"
            )
        self.entries = [
            Entry(f"{self.keys[split]}[{i}]", split, str(self.labels[split][i]) if split in self.labels else "", i)
            for split, images in self.images.items()
            for i in range(len(images))
        ]

    def _read(self) -> dict[str, np.ndarray]:
        with open(self.path, "rb") as file:
            plain = file.read(len(MAGIC_PREFIX)) == MAGIC_PREFIX
        if plain:
            self.keys["train"] = self.path.stem
            return {"train": np.load(self.path, mmap_mode="r", allow_pickle=False)}
        with np.load(self.path, allow_pickle=False) as held:
            self.file = {key: held[key] for key in held.files}
        with zipfile.ZipFile(self.path) as packed:
            self.packed = any(info.compress_type != zipfile.ZIP_STORED for info in packed.infolist())
        images = {}
        for split in arrays.NAMES:
            if key := self._image_key(split):
                self.keys[split], images[split] = key, self.file[key]
        if "train" not in images:
            raise UserError(
                f"{self.path}: no images: expected x_train, images, image or x, found {', '.join(self.file) or 'nothing'}; rename one with np.savez"
            )
        for split in images:
            self._label(split, len(images[split]))
        return images

    def _image_key(self, split: str) -> str:
        """The usual name, else of train the only array of three or four dimensions."""
        usual = next((key for key, _ in arrays.NAMES[split] if key in self.file), "")
        if usual or split != "train":
            return usual
        found = [key for key in self.file if not _other(key) and self.file[key].ndim in (3, 4)]
        return found[0] if len(found) == 1 else ""

    def _label(self, split: str, count: int) -> None:
        """The usual name, else the only array of so many whole numbers, of the same split."""
        usual = dict(arrays.NAMES[split]).get(self.keys[split], "")
        found = [
            key
            for key, array in self.file.items()
            if _other(key) == (split == "test") and array.dtype.kind in "iu" and array.shape in ((count,), (count, 1))
        ]
        found = [usual] if usual in self.file else found
        if len(found) == 1 and self.file[found[0]].size == count:
            self.labels[split] = self.file[found[0]].reshape(-1)

    def split_of(self, key: str) -> str:
        """Returns the split whose rows an array of the file has; "" where it is of none."""
        for split, images in self.images.items():
            named = key == self.keys[split] or _other(key) == (split == "test")
            if named and self.file[key].ndim and len(self.file[key]) == len(images):
                return split
        return ""

    def seen(self, entry: Entry, hashed: Callable[[Any], int]) -> look.Seen | look.Broken:
        """Returns what is kept of an image, or why it cannot be used."""
        return look.row(self.images[entry.split][entry.row], self._pixels(entry), hashed)

    def partly(self, entry: Entry) -> look.Broken:
        """Is never asked: no row is damaged."""
        return look.Broken("unreadable", entry.name)

    def picture(self, entry: Entry) -> Image.Image | None:
        """Returns the picture in mode L or RGB."""
        return folders.upright(look.picture(self._pixels(entry)))

    def _pixels(self, entry: Entry) -> np.ndarray:
        """uint8 [h w c]"""
        pixels = np.asarray(self.images[entry.split][entry.row])
        pixels = pixels if pixels.ndim == 3 else pixels[..., None]
        if pixels.dtype == np.uint8:
            return pixels
        low = self.span[0] if self.span else 0.0
        pixels = (
            np.nan_to_num(pixels.astype(np.float32)) * 255
            if low >= -ROUNDED
            else (np.nan_to_num(pixels.astype(np.float32)) + 1) * 127.5
        )
        return np.rint(pixels).clip(0, 255).astype(np.uint8)

    def said(self) -> str:
        """Returns "": there are no other files."""
        return ""


def _other(key: str) -> bool:
    return any(word in key.lower() for word in OTHER_SPLITS)


def _require(images: np.ndarray, name: str) -> None:
    require_layout(images.shape, name)
    if images.dtype != np.uint8 and images.dtype.kind != "f":
        raise UserError(f"{name}: images are {images.dtype}: store uint8 in 0..255, or float32 in [-1, 1]")

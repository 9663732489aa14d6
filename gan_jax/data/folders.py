"""Images from a folder of picture files, with or without one sub-folder for each class."""

import functools
import math
import os
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from gan_jax.data.ondisk import OnDisk, digest_of, digested, on_disk, too_large
from gan_jax.data.validate import image_set
from gan_jax.types import ImageSet, UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
GREY = ("1", "L", "LA", "I", "I;16", "I;16L", "I;16B")
SHOWN = 5  # kinds of files named in a message
SAMPLED = 64  # files whose contents are in the digest of a folder that stays on disk
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)  # EXIF's tag, and its values that exchange height and width
# Exceptions that Pillow raises for damaged files.
DAMAGED = (OSError, SyntaxError, ValueError, EOFError, RuntimeError, struct.error)


def read(
    path: str | os.PathLike,
    *,
    size: int | None = None,
    fit: str = "crop",
    channels: int | None = None,
    stream: bool = False,
) -> ImageSet:
    """Reads all images of a folder, in the order of their names, as uint8 [n h w c].

    Sub-folders, in the order of their names, are the classes. Transparent images are composed on white, and the
    camera's orientation is applied; of an animation the first frame is taken. Hidden files and __MACOSX are ignored,
    and files that are no pictures are left out, which `facts` counts by their kind. `channels` is 1 or 3; by default 3,
    unless every image is grey.

    `size` is the side of the square to which every image is resized, by Lanczos resampling; without it all images must
    have the same size. `fit` is how: "crop" scales the shorter side to `size` and cuts out the centre, "stretch"
    ignores proportions, "pad" adds black bars.

    `stream` leaves the images on disk, which is always done where they would take more than half of the machine's
    memory. Of more than `ondisk.PIXELS` bytes only their headers are read, so that other damage is found when an image is
    needed, and their digest is one of the options, the names and sizes of all files, and the contents of SAMPLED.

    Raises UserError where there are no images, damaged ones, images of several sizes, files beside sub-folders, or an
    empty class.
    """
    if size is not None and size < 1:
        raise UserError(f"size {size}: 1 pixel or more")
    if fit not in ("crop", "stretch", "pad"):
        raise UserError(f"fit {fit!r}: crop, stretch or pad")
    if channels not in (None, 1, 3):
        raise UserError(f"channels {channels}: 1 or 3")

    root = Path(path)
    files, labels, names, left_out = _list(root)
    facts = {"left_out": left_out} if left_out else {}
    if stream or too_large(_at_most(files, size)):
        shape = _headers(root, files, size, channels)
        if stream or too_large(len(files) * math.prod(shape)):
            on_disk_images = OnDisk(_reader(files, shape, size, fit, channels), (len(files), *shape))
            described = functools.partial(_digest, root, files, (size, fit if size else "", shape[2]))
            found = on_disk(on_disk_images, labels, os.fspath(path), names, described)
            return found._replace(names=names, facts=facts)

    images: np.ndarray | None = None
    broken = []
    for row, file in enumerate(files):
        try:
            image = decode(file, size, fit, channels)
        except DAMAGED as error:
            broken.append(f"{file} ({error})")
            continue
        if images is None:
            images = np.empty((len(files), *image.shape), np.uint8)
        if image.shape[:2] != images.shape[1:3]:
            raise _several(root, files, images.shape[1:3], file, image.shape[:2], bool(broken))
        if image.shape[2] > images.shape[3]:
            images = np.repeat(images, 3, axis=-1)  # all images so far were grey
        images[row] = image
    if broken or images is None:
        raise _broken(root, files, broken)
    found = image_set(images, labels, os.fspath(path), names=names)
    described = functools.partial(_digest, root, files, (size, fit if size else "", images.shape[3]))
    digest = digested(found.images, found.labels, described)
    return found._replace(names=names, facts=facts, digest=digest)


def opened(file: str | os.PathLike) -> Image.Image:
    """Opens a picture, of which only the header is read. Raises one of DAMAGED, and UserError for one that is too large."""
    try:
        return Image.open(file)
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise UserError(
            f"{file} has more than {most:,} pixels, which is too large to be opened: make it smaller"
        ) from error


def decode(file: str | os.PathLike, size: int | None, fit: str, channels: int | None, half: str = "") -> np.ndarray:
    """Reads one picture as uint8 [h w c], its left or right half with `half`; without `channels`, c is 1 for a grey image,
    else 3. Raises one of DAMAGED for a damaged one, and UserError for halves of an odd width.
    """
    with opened(file) as picture:
        image = upright(picture)
    if half:
        if image.width % 2:
            raise UserError(f"{file} is {image.width} pixels wide, which has no halves")
        middle = image.width // 2
        image = image.crop((0, 0, middle, image.height) if half == "left" else (middle, 0, image.width, image.height))
    image = image if channels is None else image.convert("L" if channels == 1 else "RGB")
    array = np.asarray(image if size is None else _resize(image, size, fit))
    return array if array.ndim == 3 else array[..., None]


# ---- on disk


def _at_most(files: list[Path], size: int | None) -> int:
    """Bytes of all images in colour, if all are as large as the first one."""
    if size is not None:
        return len(files) * size * size * 3
    try:
        with opened(files[0]) as picture:
            return len(files) * math.prod(picture.size) * 3
    except DAMAGED:
        return 0  # reported when it is read


def _headers(root: Path, files: list[Path], size: int | None, channels: int | None) -> tuple[int, int, int]:
    """(h, w, c) of the images, from their headers."""
    sides: tuple[int, int] | None = None
    broken, grey = [], True
    for file in files:
        try:
            with opened(file) as picture:
                grey = grey and picture.mode in GREY
                w, h = picture.size
                # Not PngImageFile.getexif, which decodes the image to find EXIF data behind it.
                if size is None and Image.Image.getexif(picture).get(ORIENTATION) in TURNED:
                    w, h = h, w
        except DAMAGED as error:
            broken.append(f"{file} ({error})")
            continue
        if sides is None:
            sides = h, w
        if size is None and (h, w) != sides:
            raise _several(root, files, sides, file, (h, w), bool(broken))
    if broken or sides is None:
        raise _broken(root, files, broken)
    return *(sides if size is None else (size, size)), channels or (1 if grey else 3)


def _reader(
    files: list[Path], shape: tuple[int, int, int], size: int | None, fit: str, channels: int | None
) -> Callable[[list[int]], np.ndarray]:
    """Function from rows to their images, uint8 [m h w c]."""
    names = [os.fspath(file) for file in files]  # strings take a tenth of the memory of paths

    def read_rows(rows: list[int]) -> np.ndarray:
        images = np.empty((len(rows), *shape), np.uint8)
        for place, row in enumerate(rows):
            try:
                image = decode(names[row], size, fit, channels)
            except DAMAGED as error:
                raise UserError(f"{names[row]} is damaged ({error}): replace or delete it") from error
            if image.shape[:2] != shape[:2] or image.shape[2] > shape[2]:
                raise UserError(
                    f"{names[row]} is {list(image.shape)}, and by the headers all were {list(shape)} [h w c]: it has changed, or is damaged"
                )
            images[place] = image  # a grey image among colour images is broadcast over channels
        return images

    return read_rows


def _digest(root: Path, files: list[Path], options: tuple) -> str:
    sizes = [(file.relative_to(root).as_posix(), file.stat().st_size) for file in files]
    sample = [file.read_bytes() for file in files[:: -(-len(files) // SAMPLED)]]
    return digest_of("folder", options, sizes, sample)


# ---- for images in memory and on disk


def _several(
    root: Path, files: list[Path], shape: tuple[int, ...], file: Path, other: tuple[int, ...], broken: bool
) -> UserError:
    (h, w), (h2, w2) = shape, other
    first = "the first one read" if broken else files[0]
    return UserError(
        f"{root}: images of several sizes: {first} is {w}x{h}, {file} is {w2}x{h2}; bring them to one with --size {min(h, w)}"
    )


def _broken(root: Path, files: list[Path], broken: list[str]) -> UserError:
    return UserError(
        f"{root}: {len(broken)} of {len(files)} images are damaged, the first {broken[0]}: replace or delete them"
    )


def _list(root: Path) -> tuple[list[Path], np.ndarray | None, tuple[str, ...], dict[str, int]]:
    """The image files, their classes where there are sub-folders, and how many files of which kinds are left out."""
    if not root.is_dir():
        raise UserError(f"{root}: no such folder ({root.absolute()})")
    flat, folders, others = entries(root)
    if flat and folders:
        raise UserError(
            f"{root}: holds images ({flat[0].name}) and sub-folders ({folders[0].name}): either all images lie flat, or all in classes"
        )
    if flat:
        return flat, None, (), _counted(others)
    if not folders:
        raise UserError(f"{root}: no images: {_kinds(others)}; {', '.join(SUFFIXES)} are read")
    left_out = others

    files: list[Path] = []
    labels: list[int] = []
    for number, folder in enumerate(folders):
        inside, deeper, others = entries(folder)
        if deeper:
            raise UserError(
                f"{root}: classes are one level of sub-folders, and {folder.name} holds {deeper[0].name}: perhaps you mean {folder}"
            )
        if not inside:
            raise UserError(f"{root}: class {folder.name} has no images: {_kinds(others)}; delete it, or fill it")
        left_out = left_out + others
        files += inside
        labels += [number] * len(inside)
    return files, np.array(labels), tuple(folder.name for folder in folders), _counted(left_out)


def entries(folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """Returns image files, sub-folders and other files, each sorted by name."""
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror or error}") from error
    entries = [entry for entry in paths if not entry.name.startswith((".", "__MACOSX"))]
    folders = [entry for entry in entries if entry.is_dir()]
    images = [entry for entry in entries if entry.suffix.lower() in SUFFIXES and entry.is_file()]
    return images, folders, [entry for entry in entries if not entry.is_dir() and entry not in {*images}]


def _counted(others: list[Path]) -> dict[str, int]:
    """How many files of each kind: by suffix, or by name; a link to nothing by name."""
    return dict(
        Counter(
            f"{one.name} (a link to nothing)" if not one.exists() else one.suffix.lower() or one.name for one in others
        )
    )


def _kinds(others: list[Path]) -> str:
    kinds = sorted(_counted(others))
    if not kinds:
        return "it is empty"
    return f"only {', '.join(kinds[:SHOWN])}{' ...' if len(kinds) > SHOWN else ''} files"


def upright(image):
    """The image in mode L or RGB, 8 bits, with transparency composed on white and the camera's orientation applied."""
    grey = image.mode in GREY
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I"):  # 16 bits, which Pillow's own conversion would clip at 255
        wide = np.clip(np.asarray(image, np.float64), 0, 2**16 - 1)
        return Image.fromarray(np.round(wide / 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    mode = "L" if grey else "RGB"
    return image if image.mode == mode else image.convert(mode)  # a copy takes a tenth of the time of a small image


def _resize(image, size: int, fit: str):
    if fit == "stretch":
        return image.resize((size, size), Image.Resampling.LANCZOS)
    resize = ImageOps.fit if fit == "crop" else ImageOps.pad
    return resize(image, (size, size), method=Image.Resampling.LANCZOS)

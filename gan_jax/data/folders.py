"""Images from a folder: PNG, JPEG and WebP files, flat, or in one sub-folder per class."""

import os
import struct
from pathlib import Path

import numpy as np

from gan_jax.types import ImageSet, UserError
from gan_jax.validate import image_set

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
GREY = ("1", "L", "LA", "I", "I;16", "I;16L", "I;16B")
SHOWN = 5  # names in a message


def read(
    path: str | os.PathLike, *, size: int | None = None, fit: str = "crop", channels: int | None = None
) -> ImageSet:
    """All images under a folder, in the order of their names; sub-folders, by name, are the classes.

    Transparency is laid on white, the camera's orientation is applied, and hidden files, __MACOSX and files of other
    kinds are passed over.

    Args:
      path: the folder.
      size: side of the square that every image is brought to, by Lanczos resampling. Without it they must all have one
      size already.
      fit: "crop" scales the shorter side to `size` and cuts the middle out, "stretch" ignores proportions, "pad" adds
      black bars.
      channels: 1 or 3. By default 3, unless every image is grey.

    Returns:
      An `ImageSet` of uint8 [n h w c].

    Raises:
      UserError: no images, damaged ones, several sizes, files beside sub-folders, an empty class.
    """
    from PIL import Image

    if size is not None and size < 1:
        raise UserError(f"size {size}: 1 pixel or more")
    if fit not in ("crop", "stretch", "pad"):
        raise UserError(f"fit {fit!r}: crop, stretch or pad")
    if channels not in (None, 1, 3):
        raise UserError(f"channels {channels}: 1 or 3")

    root = Path(path)
    files, labels, classes = _list(root)
    images, broken, grey = [], [], True
    for file in files:
        try:
            with Image.open(file) as opened:
                grey = grey and opened.mode in GREY
                image = _upright(opened)
        except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
            broken.append(f"{file} ({error})")
            continue
        image = image if channels is None else image.convert("L" if channels == 1 else "RGB")
        images.append(np.asarray(image if size is None else _resize(image, size, fit)))
        if images[-1].shape[:2] != images[0].shape[:2]:
            (h, w), (h2, w2) = images[0].shape[:2], images[-1].shape[:2]
            first = files[0] if not broken else "the first one read"
            raise UserError(
                f"{root}: images of several sizes: {first} is {w}x{h}, {file} is {w2}x{h2}; bring them to one with --size {min(h, w)}"
            )
    if broken:
        raise UserError(
            f"{root}: {len(broken)} of {len(files)} images are damaged, the first {broken[0]}: replace or delete them"
        )

    if channels is None and not grey:
        images = [np.repeat(image[..., None], 3, axis=-1) if image.ndim == 2 else image for image in images]
    return image_set(np.stack(images), labels, os.fspath(path), classes)


def _list(root: Path) -> tuple[list[Path], np.ndarray | None, int | None]:
    """The image files, and their classes where there are sub-folders."""
    if not root.is_dir():
        raise UserError(f"{root}: no such folder ({root.absolute()})")
    flat, folders, others = _look(root)
    if flat and folders:
        raise UserError(
            f"{root}: holds images ({flat[0].name}) and sub-folders ({folders[0].name}): either all images lie flat, or all in classes"
        )
    if flat:
        return flat, None, None
    if not folders:
        raise UserError(f"{root}: no images: {_seen(others)}; PNG, JPEG and WebP are read")

    files: list[Path] = []
    labels: list[int] = []
    for number, folder in enumerate(folders):
        inside, deeper, others = _look(folder)
        if deeper:
            raise UserError(
                f"{root}: classes are one level of sub-folders, and {folder.name} holds {deeper[0].name}: perhaps you mean {folder}"
            )
        if not inside:
            raise UserError(f"{root}: class {folder.name} has no images: {_seen(others)}; delete it, or fill it")
        files += inside
        labels += [number] * len(inside)
    return files, np.array(labels), len(folders)


def _look(folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """Image files, sub-folders and other files, each sorted by name."""
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"cannot read {folder}: {error.strerror or error}") from error
    entries = [entry for entry in found if not entry.name.startswith((".", "__MACOSX"))]
    folders = [entry for entry in entries if entry.is_dir()]
    images = [entry for entry in entries if entry.suffix.lower() in SUFFIXES and entry not in folders]
    return images, folders, [entry for entry in entries if not entry.is_dir() and entry.suffix.lower() not in SUFFIXES]


def _seen(others: list[Path]) -> str:
    kinds = sorted({entry.suffix.lower() or entry.name for entry in others})
    if not kinds:
        return "it is empty"
    return f"only {', '.join(kinds[:SHOWN])}{' ...' if len(kinds) > SHOWN else ''} files"


def _upright(image):
    """Mode L or RGB, 8 bits, transparency on white, turned as the camera was held."""
    from PIL import Image, ImageOps

    grey = image.mode in GREY
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits: Pillow's own conversion clips at 255
        wide = np.clip(np.asarray(image, np.float64), 0, 2**16 - 1)
        return Image.fromarray(np.round(wide / 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if grey else "RGB")


def _resize(image, size: int, fit: str):
    from PIL import Image, ImageOps

    if fit == "stretch":
        return image.resize((size, size), Image.Resampling.LANCZOS)
    resize = ImageOps.fit if fit == "crop" else ImageOps.pad
    return resize(image, (size, size), method=Image.Resampling.LANCZOS)

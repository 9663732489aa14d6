"""Looks at one image: decodes it as training would, and keeps of it what the checks need, which is small."""

import hashlib
import math
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageFile, ImageStat

from gan_jax.data import folders
from gan_jax.types import UserError

SIDE = 16  # of what is kept of the pixels, in colour
GREY = 6  # levels by which the channels of a grey image may differ
# Suffixes of the formats that a folder's reader knows, first the one that a mended name is given.
SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "AVIF": (".avif",),
}
HEADS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"II*\0", b"MM\0*")  # first bytes of images


class Seen(NamedTuple):
    """What is kept of an image."""

    size: tuple[int, int]  # width and height, upright
    digest: bytes  # equal for equal pixels
    bits: int  # perceptual hash, 64 bits
    small: bytes  # SIDE x SIDE pixels in colour
    mean: float  # of all levels, 0..255
    spread: float  # largest standard deviation of a channel
    form: str  # the format: "PNG"; "array"
    mode: str  # as stored: "RGB", "CMYK"
    notes: frozenset[str]  # of "grey", "transparent", "animated", "turned"
    deep: str  # says how many bits, where more than 8; else ""


class Broken(NamedTuple):
    """Why an image cannot be used: a kind of finding, or "damaged" where `partly` has to tell which."""

    kind: str
    detail: str


def hasher() -> Callable[[Any], int]:
    """Returns the perceptual hash, 64 bits of an image's 64 lowest frequencies (phash of ImageHash). Raises UserError
    where that is not installed.
    """
    try:
        import imagehash
    except ImportError as error:
        raise UserError(
            f"near duplicates are found by {error.name}, which is not installed: pip install 'gan_jax[clean]'"
        ) from error
    return lambda image: int.from_bytes(np.packbits(imagehash.phash(image).hash).tobytes(), "big")


def file(path: str | os.PathLike, hashed: Callable[[Any], int]) -> Seen | Broken:
    """Returns what is kept of an image file, or why it cannot be used. Of "damaged" ones `partly` tells more."""
    try:
        with Image.open(path) as opened:
            form = "JPEG" if opened.format == "MPO" else str(opened.format)  # a camera's JPEG with a preview behind it
            mode, notes, deep = opened.mode, set(), ""
            opened.load()
            if opened.mode[0] in "IF":
                deep = f"mode {opened.mode}, values up to {np.asarray(opened).max():,.6g}"
            if form != "JPEG" and getattr(opened, "is_animated", False):
                notes.add("animated")
            if Image.Image.getexif(opened).get(folders.ORIENTATION, 1) != 1:
                notes.add("turned")
            if _transparent(opened):
                notes.add("transparent")
            image = folders.upright(opened)  # as the reader of folders has it
            return _seen(image, _digest(image), form, mode, notes, deep, hashed)
    except Image.DecompressionBombError:
        return Broken("too-many-pixels", f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,}, the most that is opened")
    except Image.UnidentifiedImageError:
        return _no_image(path)
    except Exception as error:  # Pillow raises nearly any for damaged files
        kind = "unreadable" if isinstance(error, OSError) and error.errno else "damaged"
        return Broken(kind, _said(error))


def row(array: np.ndarray, pixels: np.ndarray, hashed: Callable[[Any], int]) -> Seen | Broken:
    """Returns what is kept of an image of an array: `array` as it is stored, `pixels` uint8 [h w c] of it."""
    if array.dtype.kind == "f" and not (finite := np.isfinite(array)).all():
        return Broken("not-finite", f"{np.count_nonzero(~finite):,} values are NaN or infinite")
    opened = picture(pixels)
    notes = {"transparent"} if _transparent(opened) else set()
    digest = hashlib.blake2b(np.ascontiguousarray(array).data, digest_size=16).digest()
    return _seen(folders.upright(opened), digest, "array", opened.mode, notes, "", hashed)


def picture(pixels: np.ndarray) -> Image.Image:
    """Returns uint8 [h w c] as a picture of mode L, LA, RGB or RGBA."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def partly(path: str | os.PathLike) -> tuple[Broken, Image.Image | None]:
    """Returns whether a damaged file is "truncated", with the picture as far as it can be decoded, or "unreadable"."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    error: BaseException | None = None
    try:
        with Image.open(path) as opened:
            ImageFile.LOAD_TRUNCATED_IMAGES = False
            try:
                opened.load()
            except Exception as first:
                error = first
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        with Image.open(path) as opened:
            image = folders.upright(opened)
            image.load()
        return Broken("truncated", _said(error) if error else "decoded in part"), image
    except Exception as last:
        return Broken("unreadable", _said(error or last)), None
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _seen(
    image: Image.Image, digest: bytes, form: str, mode: str, notes: set[str], deep: str, hashed: Callable[[Any], int]
) -> Seen:
    small = image.resize((SIDE, SIDE), Image.Resampling.BOX).convert("RGB")
    levels, found = np.asarray(small).astype(int), ImageStat.Stat(image)
    if image.mode == "L" or np.ptp(levels, axis=-1).max() <= GREY:
        notes.add("grey")
    return Seen(
        image.size, digest, hashed(image), small.tobytes(), math.fsum(found.mean) / len(found.mean), max(found.stddev),
        form, mode, frozenset(notes), deep,
    )  # fmt: skip


def _digest(image: Image.Image) -> bytes:
    """Of the pixels in colour, so that a grey image stored in colour is the same."""
    held = hashlib.blake2b(f"{image.size}".encode(), digest_size=16)
    held.update(image.convert("RGB").tobytes())
    return held.digest()


def _transparent(image: Image.Image) -> bool:
    return image.has_transparency_data and int(np.asarray(image.convert("RGBA").getchannel("A")).min()) < 255


def _no_image(path: str | os.PathLike) -> Broken:
    try:
        with open(path, "rb") as opened:
            head = opened.read(32)
    except OSError as error:
        return Broken("unreadable", _said(error))
    if head.startswith(HEADS) or head[4:8] == b"ftyp":
        return Broken("unreadable", "begins as an image, and cannot be decoded")
    text = "".join(chr(x) if 32 <= x < 127 else "." for x in head[:16])
    return Broken("no-image", f"begins with {text}" if head else "an empty file")


def _said(error: BaseException) -> str:
    """Without the path, which stands beside it."""
    return getattr(error, "strerror", None) or str(error).split(" <")[0] or type(error).__name__

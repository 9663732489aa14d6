"""Checks of images and labels that all readers share."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from gan_jax.types import Images, ImageSet, UserError

ROUNDED = 1e-6  # how far beyond a range rounding may lie
ROWS = 1024  # images in memory at a time, of those on disk
NEGATIVE = -0.5  # images in [-1, 1] have values below it


def image_set(
    images: np.ndarray,
    labels: np.ndarray | None,
    name: str,
    classes: int | None = None,
    *,
    names: Sequence[str] = (),
    span: tuple[float, float] | None = None,
) -> ImageSet:
    """Checks images and labels and returns them as an `ImageSet`: images uint8 or float32 in [-1, 1], labels int32 [n].

    `images` is [n h w c] or [n h w], c at most 4, uint8 in 0..255 or floats in [0, 1] or [-1, 1]: the former where no
    value is negative, the latter where the lowest is -0.5 or less. `span` is the lowest and the highest value by which
    that is decided, where other images are read the same way (the splits of one file); by default those of `images`.

    `labels` are integers [n] or [n 1], or None. With `classes` they are in [0, classes). Without, the classes are those
    that occur, numbered in their order, named as `names` has it for each label, or else by the labels. `name` is the
    user's name of the set, with which every message begins.

    Raises UserError for any other shape, type, range or number, and where two readings are equally likely.
    """
    images = _images(np.asarray(images), name, span)
    called: tuple[str, ...] = ()
    if labels is None:
        classes = 0
    else:
        labels, called = _labels(np.asarray(labels), len(images), name, classes, tuple(names))
        classes = len(called)
        called = () if called == tuple(map(str, range(classes))) else called
    return ImageSet(images, labels, classes, name, digest(images, labels), called)


def span_of(arrays: Iterable[np.ndarray]) -> tuple[float, float] | None:
    """Returns the lowest and the highest finite value of the arrays of floats among these; None where there is none."""
    floats = [array[np.isfinite(array)] for array in arrays if array.dtype.kind == "f"]
    floats = [array for array in floats if array.size]
    if not floats:
        return None
    return min(float(array.min()) for array in floats), max(float(array.max()) for array in floats)


def require_layout(shape: Sequence[int], name: str) -> None:
    """Raises UserError for the shape of no images, or of images whose axes are likely in another order than [n h w c] or
    [n h w].
    """
    shape = list(shape)
    if len(shape) not in (3, 4):
        raise UserError(f"{name}: images must be [n h w c] or [n h w], and these are {shape}")
    if 0 in shape:
        raise UserError(f"{name}: there are no images: the shape is {shape}")
    if len(shape) == 3 and shape[2] in (1, 3, 4) and min(shape[:2]) >= 16:
        raise UserError(
            f"{name}: {shape} is one image [h w c], or {shape[0]} images of {shape[1]}x{shape[2]}: "
            "store images[None] for the one, images[..., None] for the others"
        )
    if len(shape) == 4 and shape[3] > 4:
        n, h, w, c = shape
        read = f"{name}: {shape} would be {n} images of {h}x{w} with {c} channels, and at most 4 are taken"
        if h <= 4:
            raise UserError(f"{read}: they have their channels first: store images.transpose(0, 2, 3, 1)")
        if w <= 4:
            raise UserError(f"{read}: they come last: store images.transpose(3, 0, 1, 2)")
        raise UserError(f"{read}: store [n h w c]")


def doubtful_layout(shape: Sequence[int]) -> str:
    """Returns how the shape is read, where another reading is as likely; else ""."""
    if len(shape) == 3 and shape[0] == shape[1] != shape[2]:
        n, h, w = shape
        return f"{n} images of {h}x{w}; for {w} images of {n}x{h} store images.transpose(2, 0, 1)"
    return ""


def _images(images: np.ndarray, name: str, span: tuple[float, float] | None) -> np.ndarray:
    require_layout(images.shape, name)
    images = images if images.ndim == 4 else images[..., None]
    if images.dtype == np.uint8:
        return np.ascontiguousarray(images)
    if images.dtype.kind != "f":
        raise UserError(f"{name}: images are {images.dtype}: store uint8 in 0..255, or float32 in [-1, 1]")

    finite = np.isfinite(images)
    if not finite.all():
        first = tuple(int(i) for i in np.unravel_index(np.argmin(finite), images.shape))
        raise UserError(
            f"{name}: {np.count_nonzero(~finite)} values are NaN or infinite, the first at index {first}: mend or drop those images"
        )
    low, high = span or (float(images.min()), float(images.max()))
    if low < -1 - ROUNDED or high > 1 + ROUNDED:
        raise UserError(
            f"{name}: values from {low:.7g} to {high:.7g}: floats must be in [0, 1] or [-1, 1]; scale them, or store uint8 in 0..255"
        )
    if NEGATIVE < low < -ROUNDED:
        raise UserError(
            f"{name}: values from {low:.7g} to {high:.7g} are in [-1, 1], or in [0, 1] but for some: store np.clip(images, 0, 1) where 0 is black, "
            f"uint8 in 0..255 where -1 is"
        )
    images = images.astype(np.float32)
    if low >= -ROUNDED:
        images = images.clip(0, 1) * 2 - 1
    return np.ascontiguousarray(images.clip(-1, 1))


def _labels(
    labels: np.ndarray, count: int, name: str, classes: int | None, names: tuple[str, ...]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The labels, numbered from 0, and the names of the classes that there are."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]  # Keras stores CIFAR's as [n 1]
    if labels.ndim == 2 and len(labels) == count:
        raise UserError(f"{name}: labels are {list(labels.shape)}: if they are one-hot, store labels.argmax(1)")
    if labels.shape != (count,):
        raise UserError(f"{name}: {count} images need {count} labels, and the labels are {list(labels.shape)}")
    if labels.dtype.kind not in "iu":
        raise UserError(f"{name}: labels are {labels.dtype}: store integers from 0")
    low, high = int(labels.min()), int(labels.max())
    if low < 0:
        raise UserError(
            f"{name}: labels from {low} to {high}: they must count from 0; leave them out where there are none"
        )
    declared = classes or len(names)
    if declared and high >= declared:
        raise UserError(
            f"{name}: labels from {low} to {high}, but there are {declared} classes: they must be in 0..{declared - 1}"
        )
    if classes is not None:
        return np.ascontiguousarray(labels, dtype=np.int32), tuple(map(str, range(classes)))
    used, places = np.unique(labels, return_inverse=True)
    if high >= count and len(used) > count // 2 and not names:
        # The labels may be identifiers, and `classes` is the number of rows of an embedding.
        raise UserError(
            f"{name}: {len(used)} labels from {low} to {high} for {count} images: number the classes from 0"
        )
    labels = np.ascontiguousarray(places.reshape(-1), dtype=np.int32)
    return labels, tuple(names[i] if names else str(i) for i in used.tolist())


def digest(images: Images, labels: np.ndarray | None) -> str:
    """Returns 16 hex digits of the SHA-256 of shapes, types and little-endian bytes. `images` may be on disk."""
    hasher = hashlib.sha256()
    for array in (images,) if labels is None else (images, labels):
        kind = array.dtype.newbyteorder("<")
        hasher.update(f"{kind.str}{array.shape}".encode())
        for start in range(0, len(array), ROWS):
            hasher.update(np.ascontiguousarray(array[start : start + ROWS], dtype=kind).data)
    return hasher.hexdigest()[:16]

"""Checks of images and labels that all readers share."""

import hashlib

import numpy as np

from gan_jax.types import ImageSet, UserError


def image_set(images: np.ndarray, labels: np.ndarray | None, name: str, classes: int | None = None) -> ImageSet:
    """Checks images and labels and returns them as an `ImageSet`: images uint8 or float32 in [-1, 1], labels int32 [n].

    `images` is [n h w c] or [n h w], uint8 in 0..255 or floats; floats are taken as values in [0, 1] if none is
    negative, else in [-1, 1]. `labels` are integers [n] or [n 1] in [0, classes), or None. `classes` is by default the
    largest label + 1. `name` is the user's name of the set, with which every message begins.

    Raises UserError for any other shape, type, range or number.
    """
    images = _images(np.asarray(images), name)
    if labels is None:
        classes = 0
    else:
        labels, classes = _labels(np.asarray(labels), len(images), name, classes)
    return ImageSet(images, labels, classes, name, _digest(images, labels))


def _images(images: np.ndarray, name: str) -> np.ndarray:
    shape = list(images.shape)
    if images.ndim == 3:
        images = images[..., None]  # [n h w 1]
    if images.ndim != 4:
        raise UserError(f"{name}: images must be [n h w c] or [n h w], and these are {shape}")
    if images.size == 0:
        raise UserError(f"{name}: there are no images: the shape is {shape}")
    if images.shape[1] in (1, 3) and images.shape[3] > 4:
        raise UserError(f"{name}: images {shape} have their channels first: store images.transpose(0, 2, 3, 1)")
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
    low, high = float(images.min()), float(images.max())
    if low < -1 or high > 1:
        raise UserError(
            f"{name}: values from {low:g} to {high:g}: floats must be in [0, 1] or [-1, 1]; scale them, or store uint8 in 0..255"
        )
    images = images.astype(np.float32)
    return np.ascontiguousarray(images if low < 0 else images * 2 - 1)


def _labels(labels: np.ndarray, count: int, name: str, classes: int | None) -> tuple[np.ndarray, int]:
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
    if classes is not None and high >= classes:
        raise UserError(
            f"{name}: labels from {low} to {high}, but there are {classes} classes: they must be in 0..{classes - 1}"
        )
    if high >= count and classes is None:
        # The labels may be identifiers, and `classes` is the number of rows of an embedding.
        raise UserError(f"{name}: labels from {low} to {high} for {count} images: number the classes from 0")
    return np.ascontiguousarray(labels, dtype=np.int32), high + 1 if classes is None else classes


def _digest(images: np.ndarray, labels: np.ndarray | None) -> str:
    """16 hex digits of the SHA-256 of shapes, types and little-endian bytes."""
    hasher = hashlib.sha256()
    for array in (images,) if labels is None else (images, labels):
        array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        hasher.update(f"{array.dtype.str}{array.shape}".encode())
        hasher.update(array.data)
    return hasher.hexdigest()[:16]

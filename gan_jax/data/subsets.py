"""Parts of an image set, drawn by a seed: some of its images, or as many of each class."""

import numpy as np

from gan_jax.data.understood import understood
from gan_jax.data.validate import digest
from gan_jax.types import ImageSet, UserError

SEED = 2_016  # beside the user's, so that no choice follows the order of batches


def some(images: ImageSet, count: int, seed: int = 0, *, left_out: bool = False) -> ImageSet:
    """Returns `count` of the images in memory, in their order; with `left_out`, at most as many of those that are not
    among them. Raises UserError where there are fewer.
    """
    if not 1 <= count <= len(images.images):
        raise UserError(f"{count} images of {images.name}: it has {len(images.images)}, and at least 1 is needed")
    mixed = _rng(seed).permutation(len(images.images))
    rows = np.sort(mixed[count : 2 * count] if left_out else mixed[:count])
    return part(images, rows, f"{len(rows)} {'others ' if left_out else ''}of {images.name}, drawn by {seed}")


def balanced(images: ImageSet, count: int, seed: int = 0, *, at_least: int = 1) -> ImageSet:
    """Returns `count` images in memory with their labels, as many of each class; each again and again in turn until there
    are `at_least`, so that a batch of as many finds all of them.

    Raises UserError for a set without labels, a `count` that its classes do not divide, and a class with fewer images.
    """
    labels, classes = images.labels, images.classes
    if labels is None:
        raise UserError(f"{images.name} has no labels to choose from: name a set with labels")
    if count < classes or count % classes:
        nearest = max(1, round(count / classes)) * classes
        raise UserError(
            f"{count} labels of {images.name}: it has {classes} classes, and takes as many of each: {nearest}"
        )
    each = count // classes
    mixed = _rng(seed).permutation(len(labels))
    found = [mixed[labels[mixed] == kind][:each] for kind in range(classes)]
    if short := [name for name, rows in zip(images.class_names, found, strict=True) if len(rows) < each]:
        raise UserError(f"{each} images of each class of {images.name}: {', '.join(short[:8])} has fewer")
    rows = np.concatenate(found)
    rows = np.tile(rows, -(-at_least // count))
    return part(images, rows, f"{count} of {images.name} with labels, drawn by {seed}")


def tenths(images: ImageSet) -> tuple[ImageSet, ImageSet]:
    """Returns what is learnt and what is held out of images in memory that have no test images: every tenth, from the first on."""
    held = np.arange(len(images.images)) % 10 == 0
    learnt, test = (
        part(images, np.flatnonzero(rows), f"{how} of {images.name}")
        for how, rows in (("nine tenths", ~held), ("a tenth", held))
    )
    return learnt, test


def part(images: ImageSet, rows: np.ndarray, name: str) -> ImageSet:
    """Returns these rows of the images, in memory, as a set of that name."""
    held = np.ascontiguousarray(images.images[rows])
    labels = None if images.labels is None else images.labels[rows]
    return understood(images._replace(images=held, labels=labels, name=name, digest=digest(held, labels)))


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng([SEED, seed])

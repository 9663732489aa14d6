"""Trains the classifier of a labelled image set whose features metrics use, and measures its accuracy.

A run on the set trains the same classifier before its first measurement, in some minutes, and keeps it in the user's
cache; those of MNIST, Fashion-MNIST and the digits come with gan_jax. The accuracy is that on the test images; for a
set without test images it is that of another classifier, trained on four fifths of the images, on the remaining fifth.

    gan-jax classifier --data mnist
"""

import dataclasses
from typing import Any, Literal

import numpy as np

from gan_jax import data
from gan_jax.data.validate import image_set
from gan_jax.evaluation import classifier, evaluators
from gan_jax.system.terminal import say
from gan_jax.types import ImageSet, UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    data: str = "mnist"
    """The set, as in an experiment: digits, a TFDS name, an .npz file, or a folder with a sub-folder for each class."""
    size: int = 0
    """As in an experiment."""
    fit: Literal["crop", "stretch", "pad"] = "crop"
    """As in an experiment."""
    stream: bool = False
    """As in an experiment."""
    steps: int = classifier.STEPS
    """Training steps of 128 images; metrics use the default."""
    seed: int = 0
    """Seed of weights, order and dropout; metrics use 0."""


def main(config: Config) -> dict[str, Any]:
    """Runs the command; prints and returns the accuracy, in [0, 1]. Raises UserError for a set without labels."""
    images = data.load(config.data, size=config.size or None, fit=config.fit, stream=config.stream)
    held = evaluators.held_out(config.data, config.size, config.fit, config.stream)
    learnt, held = (images, held) if held and held.labels is not None else _fifth(images)
    measured = classifier.trained(learnt, config.steps, config.seed)
    used = classifier.trained(images, config.steps, config.seed)
    share = classifier.accuracy(measured, held)
    say(
        f"{images.name}: classifier {used.digest}, {used.steps:,} steps; {share:.2%} of {len(held.images):,} held-out images right"
    )
    return {"data": images.name, "weights": used.digest, "accuracy": share, "held_out": len(held.images)}


def _fifth(images: ImageSet) -> tuple[ImageSet, ImageSet]:
    """Four fifths of the images, and the other fifth, at random."""
    if images.labels is None:
        raise UserError(f"{images.name} has no labels: a classifier needs some")
    order = np.random.default_rng(0).permutation(len(images.images))
    held, learnt = order[: len(order) // 5], order[len(order) // 5 :]
    parts = [
        image_set(np.asarray(images.images[rows]), images.labels[rows], f"{images.name}, {what}", images.classes)
        for rows, what in ((learnt, "four fifths"), (held, "a fifth"))
    ]
    return parts[0], parts[1]

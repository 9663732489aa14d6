"""A classifier of a labelled image set, by whose features generators on that set are measured.

It is trained by itself before the first run on a set, in some minutes, and kept in the user's cache; those of MNIST,
Fashion-MNIST and the digits come with gan_jax. This tool trains it too and says how good it is, on the set's test images,
or where there are none on a fifth that another one was not trained on.

    gan-jax classifier --data mnist
"""

import dataclasses
from typing import Any, Literal

import numpy as np

from gan_jax import data
from gan_jax.data.validate import image_set
from gan_jax.evaluation import classifier, evaluators
from gan_jax.types import ImageSet, UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    data: str = "mnist"
    """As of an experiment: digits, a TFDS name, an .npz, a folder with a sub-folder for each class."""
    size: int = 0
    """As of an experiment."""
    fit: Literal["crop", "stretch", "pad"] = "crop"
    """As of an experiment."""
    stream: bool = False
    """As of an experiment."""
    steps: int = classifier.STEPS
    """Steps of 128 images; metrics use the default."""
    seed: int = 0
    """Of weights, order and dropout; metrics use 0."""


def main(config: Config) -> dict[str, Any]:
    images = data.load(config.data, size=config.size or None, fit=config.fit, stream=config.stream)
    held = evaluators.held_out(config.data, config.size, config.fit, config.stream)
    learnt, held = (images, held) if held and held.labels is not None else _fifth(images)
    measured = classifier.trained(learnt, config.steps, config.seed)
    used = classifier.trained(images, config.steps, config.seed)
    share = classifier.accuracy(measured, held)
    print(
        f"{images.name}: classifier {used.digest}, {used.steps:,} steps; {share:.2%} of {len(held.images):,} held-out images right"
    )
    return {"data": images.name, "weights": used.digest, "accuracy": share, "held_out": len(held.images)}


def _fifth(images: ImageSet) -> tuple[ImageSet, ImageSet]:
    if images.labels is None:
        raise UserError(f"{images.name} has no labels: a classifier needs some")
    order = np.random.default_rng(0).permutation(len(images.images))
    held, learnt = order[: len(order) // 5], order[len(order) // 5 :]
    parts = [
        image_set(np.asarray(images.images[rows]), images.labels[rows], f"{images.name}, {what}", images.classes)
        for rows, what in ((learnt, "four fifths"), (held, "a fifth"))
    ]
    return parts[0], parts[1]

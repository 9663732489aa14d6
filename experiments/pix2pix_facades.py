"""pix2pix from maps of facades to photographs, at 64 pixels: windows, doors and walls as they are drawn.

Isola et al. 2017, arXiv:1611.07004, with half the channels: a U-Net whose only noise is dropout, patches of 34 pixels (at 64 pixels what 70
are at 256), and 100 times the L1 distance. --alone learns by that distance alone. Norms take the statistics of one image,
in training and in use. Results, where they are kept: experiments/results/pix2pix_facades*.json.

    python -m experiments.pix2pix_facades --data facades/ --seeds 3
    python -m experiments.pix2pix_facades --data facades/ --seeds 3 --alone --workdir runs/pix2pix_facades_alone
    gan-jax apply runs/pix2pix_facades folder/ --out results/
"""

import dataclasses
from typing import Literal

import numpy as np
import optax

from gan_jax import data, losses, training
from gan_jax.config import Fraction, Natural, Positive, Run
from gan_jax.evaluation import translation
from gan_jax.games.paired import Term, l1, paired
from gan_jax.models.patchgan import PatchGAN
from gan_jax.models.unet import UNet
from gan_jax.optim import constant_then_linear
from gan_jax.training import cli
from gan_jax.types import Batch, HeldOut, Spec
from gan_jax.workdir import pictures

# Of the maps: background, wall, window, and nine kinds more.
COLOURS = np.array(
    [
        (0, 0, 222), (0, 48, 255), (0, 127, 255), (0, 207, 255), (32, 255, 223), (111, 255, 143), (191, 255, 64), (255, 239, 0),
        (255, 159, 0), (255, 80, 0), (255, 0, 0), (175, 0, 0),
    ],
    np.uint8,
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Run):
    data: str = ""
    """Pairs: a folder with A and B or with pictures of two halves, a .csv, or an .npz with a and b, and test images."""
    size: Natural = 64
    """Side, in pixels, to which pictures are resized; 0: they have the same size already."""
    fit: Literal["crop", "stretch", "pad"] = "crop"
    """How they are resized: shorter side, then centre crop; both sides; or longer side, then padding."""
    direction: Literal["a_to_b", "b_to_a"] = "b_to_a"
    """Which of a pair is given, and which is made."""
    alone: bool = False
    """Learn by the distance alone, without the discriminator: what it adds is the difference."""
    steps: int = 8_000
    """Rounds of the game: each one discriminator step and one generator step."""
    batch_size: int = 8
    """Pairs of one step."""
    evaluate_every: Natural = 2_000
    """Steps between evaluations; 0 for the last only."""
    crop: Natural = 0
    """Side of the square that is cut out of each pair anew every time, the same of both; 0: the whole."""
    flip: bool = True
    """Mirror each pair left to right with probability 1/2."""
    width: int = 32
    """Channels of the first convolution of both networks."""
    downs: int = 6
    """How often the U-Net halves its images: 6 for 64 pixels, 8 for 256."""
    layers: Natural = 2
    """Layers of the discriminator: its patches have 1, 16, 34, 70, 142 pixels a side for 0 to 4."""
    distance: float = 100.0
    """Weight of the L1 distance."""
    lr: Positive = 2e-4
    """Adam's learning rate, both sides; in the second half it falls to 0."""
    b1: Fraction = 0.5
    """Adam's decay rate of the first moment."""


def show(samples: np.ndarray, batch: Batch) -> dict[str, bytes]:
    """Shows what is given, what is made of it, and what it should be."""
    if len(samples) == 1:
        return pictures.show(samples, batch)
    return pictures.show(pictures.beside(batch["a"], samples, batch["b"]), batch, columns=6)


def build(config: Config, spec: Spec) -> training.Recipe:
    gen = UNet(spec.arrays["b"].shape[-1], config.width, config.downs, dtype=config.precision)
    # One that looks on should cost nothing.
    layers, width = (0, 4) if config.alone else (config.layers, config.width)
    disc = PatchGAN(layers, width, affine=True, dtype=config.precision)
    distance = Term("l1", config.distance, l1)
    tx = optax.adam(constant_then_linear(config.lr, config.steps), b1=config.b1)
    game = paired(
        gen,
        disc,
        losses.non_saturating(),
        [distance],
        noise=True,
        weight=0.0 if config.alone else 1.0,
        accumulate=config.accumulate,
    )
    return training.Recipe(game, tx, tx, show=show)


def setup(config: Config) -> training.Setup:
    both = data.pairs.splits(config.data, size=config.size or None, fit=config.fit)
    if config.direction == "b_to_a":
        both = tuple(data.pairs.Pairs(one.b, one.a) for one in both)  # type: ignore[assignment]
    train, test = both
    source = data.pairs.pairs(train, config.batch_size, config.seed, flip=config.flip, crop=config.crop)
    test = data.pairs.cut(test, config.crop)
    colours = COLOURS if config.direction == "b_to_a" and test.a.images.shape[-1] == 3 else None
    evaluate = translation.measures(data.pairs.cut(train, config.crop), test, colours=colours)
    a, b = test.a.scaled(), test.b.scaled()
    return training.Setup(source, evaluate, {"a": a[:24], "b": b[:24]}, HeldOut({"a": a}, b, a))


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)

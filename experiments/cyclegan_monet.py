"""CycleGAN from photographs to Monet's paintings and back, without pairs, at 64 pixels.

Zhu et al. 2017, arXiv:1703.10593, with 24 channels and 4 residual blocks in the place of 64 and 9, and patches of 34 pixels for D: least squares, a pool of 50
fakes, and the identity loss, which keeps colours. A demonstration at this size. Measured on held-out photographs beside a mere
transfer of colours. Results, where they are kept: experiments/results/cyclegan_monet.json.

    python -m experiments.cyclegan_monet --data monet2photo/ --perceptual vgg19_features.npz
    gan-jax apply runs/cyclegan_monet photographs/ --out paintings/
    gan-jax apply runs/cyclegan_monet paintings/ --out photographs/ --reverse
"""

import dataclasses
from typing import Any, Literal

import numpy as np
import optax

from gan_jax import data, losses, training
from gan_jax.config import Fraction, Natural, Positive, Run
from gan_jax.evaluation import domains
from gan_jax.games.cycle import Pair, cycle
from gan_jax.models.patchgan import PatchGAN
from gan_jax.models.resnet_translator import ResnetTranslator
from gan_jax.optim import constant_then_linear
from gan_jax.training import cli
from gan_jax.types import Batch, HeldOut, Spec
from gan_jax.workdir import pictures


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Run):
    data: str = ""
    """A folder with trainA, trainB, testA and testB, or an .npz with a, b, a_test and b_test. A becomes B."""
    size: Natural = 64
    """Side, in pixels, to which pictures are resized; 0: they have the same size already."""
    fit: Literal["crop", "stretch", "pad"] = "crop"
    """How they are resized: shorter side, then centre crop; both sides; or longer side, then padding."""
    steps: int = 8_000
    """Rounds of the game: each one step of both discriminators and one of both translators."""
    batch_size: int = 2
    """Images of each domain in one step."""
    sample_every: Natural = 2_000
    """Steps between sample pictures; 0 for the first and the last only."""
    evaluate_every: Natural = 2_000
    """Steps between evaluations; 0 for the last only."""
    flip: bool = True
    """Mirror each image left to right with probability 1/2."""
    width: int = 24
    """Channels of the first convolution of every network."""
    blocks: int = 4
    """Residual blocks of the translators."""
    pool: Natural = 50
    """Earlier fakes kept of each domain; half of the time the discriminators see one of them instead of a new one."""
    identity: float = 5.0
    """Weight of the change of an image by the translator to its own domain."""
    perceptual: str = ""
    """An .npz with VGG-19's weights (`gan_jax.models.perceptual`), by whose features results are measured."""
    lr: Positive = 2e-4
    """Adam's learning rate, both sides; in the second half it falls to 0."""
    b1: Fraction = 0.5
    """Adam's decay rate of the first moment."""


def show(samples: np.ndarray, batch: Batch) -> dict[str, bytes]:
    """Shows each input beside its translation."""
    both = samples if len(samples) == 1 else pictures.beside(batch["a"], samples)
    return pictures.show(both, batch, columns=8)


def build(config: Config, spec: Spec) -> training.Recipe:
    kind: dict[str, Any] = {"dtype": config.precision}
    gen = Pair(*(ResnetTranslator(config.width, config.blocks, **kind) for _ in range(2)))
    disc = Pair(*(PatchGAN(2, config.width, **kind) for _ in range(2)))
    game = cycle(
        gen, disc, losses.least_squares(), pool=config.pool, identity=config.identity, accumulate=config.accumulate
    )
    tx = optax.adam(constant_then_linear(config.lr, config.steps), b1=config.b1)
    return training.Recipe(game, tx, tx, show=show)


def setup(config: Config) -> training.Setup:
    train, test = data.pairs.splits(
        config.data, size=config.size or None, fit=config.fit, reader=data.pairs.read_domains
    )
    parts = {
        name: data.source(images, config.batch_size, config.seed, flip=config.flip)
        for name, images in zip("ab", train, strict=True)
    }
    evaluate = domains.measures(train, test, config.perceptual)
    a, b = test.a.scaled(), test.b.scaled()
    return training.Setup(data.together(**parts), evaluate, {"a": a[:16]}, HeldOut({"a": a}, b))


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)

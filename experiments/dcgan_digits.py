"""DCGAN on scikit-learn's handwritten digits, 8x8: the first thing to run, no download.

Radford et al. 2016, arXiv:1511.06434, with the non-saturating loss of arXiv:1406.2661. Measured:
experiments/results/dcgan_digits.json.

    python -m experiments.dcgan_digits
"""

import dataclasses

import optax

from gan_jax import data, losses, training
from gan_jax.config import Fraction, FromImages, Measured, Positive, Run
from gan_jax.evaluation import evaluators
from gan_jax.game import half_life
from gan_jax.games.adversarial import adversarial
from gan_jax.models import dcgan
from gan_jax.training import cli
from gan_jax.types import Spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Measured, FromImages, Run):
    steps: int = 5_000
    """Rounds of the game: each one discriminator step and one generator step."""
    sample_every: int = 1_000
    """Steps between sample pictures; 0 for the first and the last only."""
    evaluate_every: int = 1_000
    """Steps between evaluations; 0 for the last only."""
    z_dim: int = 64
    """Size of the latent z."""
    width: int = 32
    """Channels at the finest resolution inside the networks."""
    lr: Positive = 2e-4
    """Adam's learning rate, both sides."""
    b1: Fraction = 0.5
    """Adam's decay rate of the first moment."""
    ema_images: float = 20_000
    """Half-life, in real images, of the averaged generator."""


def build(config: Config, spec: Spec) -> training.Recipe:
    gen = dcgan.Generator(spec.shape, width=config.width, dtype=config.precision)
    disc = dcgan.Discriminator(width=config.width, dtype=config.precision)
    return training.Recipe(
        game=adversarial(gen, disc, losses.non_saturating(), z_dim=config.z_dim, accumulate=config.accumulate),
        gen_tx=optax.adam(config.lr, b1=config.b1),
        disc_tx=optax.adam(config.lr, b1=config.b1),
        ema_decay=half_life(config.ema_images, config.batch_size),
    )


def setup(config: Config) -> training.Setup:
    images = data.load(config.data, size=config.size or None, fit=config.fit, stream=config.stream)
    source = data.source(images, config.batch_size, config.seed, flip=config.flip, shift=config.shift)
    return training.Setup(source, evaluators.for_run(config, images))


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)

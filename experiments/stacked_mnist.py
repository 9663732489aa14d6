"""Stacked MNIST with the tiny networks of Unrolled GAN: how many of a thousand modes, when D is far weaker than G?

Metz et al. 2017, arXiv:1611.02163, section 3.3, as PacGAN repeats it: Lin et al. 2018, arXiv:1712.04086, section 4.2
and table 3, fresh triples, 500,000 steps. Published, mean ± standard error of 50 runs, for --packing 1, 2, 3, 4:
--width 4 487.7 ± 34.6, 840.7 ± 15.9, 866.6 ± 12.1, 820.2 ± 25.5 modes; --width 2 78.5 ± 17.6, 484.5 ± 33.0, 601.3 ±
32.2, 667.4 ± 29.0.

    python -m experiments.stacked_mnist
"""

import dataclasses

import optax

from gan_jax import data, losses, training
from gan_jax.config import FromSet, Positive, Run
from gan_jax.evaluation import evaluators
from gan_jax.games.adversarial import adversarial
from gan_jax.games.packed import packed
from gan_jax.models import tiny_dcgan
from gan_jax.training import cli
from gan_jax.types import Spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(FromSet, Run):
    data: str = "mnist"
    """A set of grey images of ten classes, three of which make an image: mnist, digits, an .npz."""
    steps: int = 500_000
    """Rounds of the game: each one discriminator step and one generator step."""
    batch_size: int = 128
    """Packs of one discriminator step, each of PACKING real images."""
    log_every: int = 1_000
    """Steps between rows of metrics.jsonl."""
    sample_every: int = 50_000
    """Steps between sample pictures; 0 for the first and the last only."""
    checkpoint_every: int = 10_000
    """Steps between checkpoints; 0 for the last only (and when stopped)."""
    packing: int = 1
    """Images that the discriminator judges together; 1 is the plain GAN."""
    evaluate_every: int = 50_000
    """Steps between evaluations; 0 for the last only."""
    evaluate_samples: int = 26_000
    """Fakes whose digits are counted in an evaluation."""
    z_dim: int = 256
    """Size of the latent z."""
    width: int = 4
    """Channels after the discriminator's first layer: 4 for half of the generator's, 2 for a quarter."""
    gen_lr: Positive = 1e-4
    """Adam's learning rate of the generator; b1 is 0.5, b2 is 0.99."""
    disc_lr: Positive = 2e-4
    """Adam's learning rate of the discriminator."""


def build(config: Config, spec: Spec) -> training.Recipe:
    gen = tiny_dcgan.Generator(spec.shape, dtype=config.precision)
    disc = tiny_dcgan.Discriminator(config.width, dtype=config.precision)
    plain = adversarial(gen, disc, losses.non_saturating(), z_dim=config.z_dim, accumulate=config.accumulate)
    return training.Recipe(
        game=packed(plain, config.packing),
        gen_tx=optax.adam(config.gen_lr, b1=0.5, b2=0.99),
        disc_tx=optax.adam(config.disc_lr, b1=0.5, b2=0.99),
        packing=config.packing,
    )


def setup(config: Config) -> training.Setup:
    digits = data.load(config.data, size=config.size or None, fit=config.fit)
    source = data.stacked(digits, config.batch_size * config.packing, config.seed)
    return training.Setup(source, evaluators.stacked(digits, config.evaluate_samples))


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)

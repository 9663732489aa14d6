"""Entropy-regularised GAN on stacked MNIST, with a discriminator that is too weak: more of the thousand modes?

Networks, optimiser and data of stacked_mnist, packs of one. G minimises its loss minus ENTROPY H / d, with H the entropy of
its d values by the mixture of the others of its batch, or by PresGAN's samples of z given an image (arXiv:1910.04302,
section 3); D sees all images with noise. ENTROPY 0 is the noise alone, and --noise 0 with it the plain GAN. Results, where they are kept:
experiments/results/entropy_stacked_*.json.

    python -m experiments.entropy_stacked --seeds 3 --noise 0
    python -m experiments.entropy_stacked --seeds 3 --sweep entropy=0,0.01,0.1,1
    python -m experiments.entropy_stacked --seeds 3 --estimate hmc --sweep entropy=0.01,0.1,1
"""

import dataclasses
from typing import Any, Literal

import optax

from gan_jax import data, losses, training
from gan_jax.config import FromSet, Positive, Run
from gan_jax.evaluation import evaluators
from gan_jax.games import entropy
from gan_jax.models import tiny_dcgan
from gan_jax.training import cli
from gan_jax.types import Spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(FromSet, Run):
    data: str = "mnist"
    """A set of grey images of ten classes, three of which make an image: mnist, digits, an .npz."""
    estimate: Literal["mixture", "hmc"] = "mixture"
    """How the entropy is estimated: by the others of a batch, or by samples of z given an image (PresGAN)."""
    entropy: float = 0.0
    """Weight of the entropy, in nats for each value of an image, in G's loss."""
    noise: float = 0.3
    """Standard deviation of the noise on all images that D sees. 0: none, and no entropy."""
    steps: int = 2_500
    """Rounds of the game: each one discriminator step and one generator step."""
    batch_size: int = 128
    """Real images of one discriminator step."""
    log_every: int = 500
    """Steps between rows of metrics.jsonl."""
    sample_every: int = 1_250
    """Steps between sample pictures; 0 for the first and the last only."""
    checkpoint_every: int = 1_250
    """Steps between checkpoints; 0 for the last only (and when stopped)."""
    evaluate_every: int = 1_250
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
    estimate = entropy.mixture() if config.estimate == "mixture" else entropy.hmc()
    how: dict[str, Any] = {
        "z_dim": config.z_dim,
        "weight": config.entropy,
        "noise": config.noise,
        "accumulate": config.accumulate,
    }
    return training.Recipe(
        game=entropy.entropic(gen, disc, losses.non_saturating(), estimate, **how),
        gen_tx=optax.adam(config.gen_lr, b1=0.5, b2=0.99),
        disc_tx=optax.adam(config.disc_lr, b1=0.5, b2=0.99),
    )


def setup(config: Config) -> training.Setup:
    entropy.require(config)
    digits = data.load(config.data, size=config.size or None, fit=config.fit)
    source = data.stacked(digits, config.batch_size, config.seed)
    return training.Setup(source, evaluators.stacked(digits, config.evaluate_samples))


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)

"""Stacked MNIST with R3GAN's networks, small: all of a thousand modes, and how evenly?

Data as in PacGAN, Lin et al. 2018, arXiv:1712.04086, section 4.2: 128,000 fixed triples, here of the training images and
in [-1, 1]. Networks and loss are those of R3GAN, Huang et al. 2024, arXiv:2501.05441, which publishes 1,000 modes with a
reverse KL of 0.029 for larger ones; three sizes from 7 to 28 pixels. Results, where they are kept:
experiments/results/stacked_mnist_r3gan_*.json.

    python -m experiments.stacked_mnist_r3gan --seeds 3
"""

import dataclasses

import optax

from gan_jax import data, losses, penalties, training
from gan_jax.config import FromSet, Positive, Run
from gan_jax.evaluation import evaluators
from gan_jax.game import half_life
from gan_jax.games.adversarial import adversarial
from gan_jax.models import r3gan
from gan_jax.training import cli
from gan_jax.types import Spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(FromSet, Run):
    data: str = "mnist"
    """A set of grey images of ten classes, three of which make an image: mnist, digits, an .npz."""
    steps: int = 4_000
    """Rounds of the game: each one discriminator step and one generator step."""
    batch_size: int = 64
    """Real images of one discriminator step."""
    triples: int = 128_000
    """Fixed images of three digits each; at least as many as a batch."""
    evaluate_every: int = 1_000
    """Steps between evaluations; 0 for the last only."""
    evaluate_samples: int = 26_000
    """Fakes whose digits are counted in an evaluation."""
    z_dim: int = 64
    """Size of the latent z."""
    width: int = 32
    """Channels at every size, a multiple of 8."""
    lr: Positive = 1e-3
    """Adam's learning rate, both sides, falling to 0 along a cosine over --steps, so more steps make another run."""
    gamma: float = 1.0
    """R1 and R2 each enter with weight gamma / 2."""
    ema_images: float = 50_000
    """Half-life, in real images, of the averaged generator."""


def build(config: Config, spec: Spec) -> training.Recipe:
    gen = r3gan.Generator(spec.shape, (config.width,) * 3, dtype=config.precision)
    disc = r3gan.Discriminator((config.width,) * 3, dtype=config.precision)
    smooth = [(config.gamma / 2, penalties.r1), (config.gamma / 2, penalties.r2)]
    adam = optax.adam(optax.cosine_decay_schedule(config.lr, config.steps), b1=0.0, b2=0.99)
    return training.Recipe(
        game=adversarial(
            gen, disc, losses.relativistic_paired(), z_dim=config.z_dim, accumulate=config.accumulate, penalties=smooth
        ),
        gen_tx=adam,
        disc_tx=adam,
        ema_decay=half_life(config.ema_images, config.batch_size, ramp_up=None),
    )


def setup(config: Config) -> training.Setup:
    digits = data.load(config.data, size=config.size or None, fit=config.fit)
    source = data.stacked(digits, config.batch_size, config.seed, count=config.triples)
    return training.Setup(source, evaluators.stacked(digits, config.evaluate_samples))


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)

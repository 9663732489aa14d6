"""Wasserstein GAN with gradient penalty on MNIST, 28x28: five critic steps a round, no batch norm in the critic.

Gulrajani et al. 2017, arXiv:1704.00028, algorithm 1 (penalty 10, n_critic 5, Adam with beta1 0 and beta2 0.9), with
DCGAN's networks. The learning rate is ten times the paper's 1e-4, to need fewer steps: --lr 1e-4 --steps 20000 for the
paper's. Measured: experiments/results/wgan_gp_mnist.json.

    python -m experiments.wgan_gp_mnist
"""

import dataclasses

import optax

from gan_jax import data, losses, penalties, training
from gan_jax.config import Fraction, FromImages, Measured, Positive, Run
from gan_jax.evaluation import evaluators
from gan_jax.game import half_life
from gan_jax.games.adversarial import adversarial
from gan_jax.models import dcgan
from gan_jax.training import cli
from gan_jax.types import Spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Measured, FromImages, Run):
    data: str = "mnist"
    """A TFDS name such as mnist, found under TFDS_DATA_DIR; a prepared TFDS directory; an .npz or .npy; a folder of
    images; digits.
    """
    steps: int = 2_000
    """Rounds of the game: each --n-disc critic steps and one generator step."""
    evaluate_every: int = 1_000
    """Steps between evaluations; 0 for the last only."""
    z_dim: int = 100
    """Size of the latent z."""
    width: int = 32
    """Channels at the finest resolution inside the networks."""
    n_disc: int = 5
    """Critic steps in a round."""
    penalty: float = 10.0
    """Weight of the gradient penalty."""
    lr: Positive = 1e-3
    """Adam's learning rate, both sides."""
    b1: Fraction = 0.0
    """Adam's decay rate of the first moment."""
    b2: Fraction = 0.9
    """Adam's decay rate of the second moment."""
    ema_images: float = 100_000
    """Half-life, in real images, of the averaged generator."""


def build(config: Config, spec: Spec) -> training.Recipe:
    gen = dcgan.Generator(spec.shape, width=config.width, dtype=config.precision)
    disc = dcgan.Discriminator(width=config.width, batch_norm=False, dtype=config.precision)
    return training.Recipe(
        game=adversarial(
            gen,
            disc,
            losses.wasserstein(),
            z_dim=config.z_dim,
            accumulate=config.accumulate,
            one_pass=True,
            penalties=[(config.penalty, penalties.wgan_gp)],
        ),
        gen_tx=optax.adam(config.lr, b1=config.b1, b2=config.b2),
        disc_tx=optax.adam(config.lr, b1=config.b1, b2=config.b2),
        n_disc=config.n_disc,
        ema_decay=half_life(config.ema_images, config.batch_size * config.n_disc),
    )


def setup(config: Config) -> training.Setup:
    images = data.load(config.data, size=config.size or None, fit=config.fit, stream=config.stream)
    source = data.source(images, config.batch_size * config.n_disc, config.seed, flip=config.flip, shift=config.shift)
    return training.Setup(source, evaluators.for_run(config, images))


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)

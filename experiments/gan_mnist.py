"""The original GAN with the non-saturating loss on MNIST: fully connected networks, as in the classic tutorials.

Goodfellow et al. 2014, arXiv:1406.2661, section 3. G 100-256-512-1024-784, tanh; D 784-1024-512-256-1, dropout 0.3.
Measured: experiments/results/gan_mnist.json.

    python -m experiments.gan_mnist
"""

import dataclasses

import optax

from gan_jax import data, losses, training
from gan_jax.config import Fraction, FromImages, Measured, Positive, Run
from gan_jax.evaluation import evaluators
from gan_jax.game import half_life
from gan_jax.games.adversarial import adversarial
from gan_jax.models import mlp
from gan_jax.models.layers import leaky_relu
from gan_jax.training import cli
from gan_jax.types import Spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Measured, FromImages, Run):
    data: str = "mnist"
    """A TFDS name such as mnist, found under TFDS_DATA_DIR; a prepared TFDS directory; an .npz or .npy; a folder of
    images; digits.
    """
    steps: int = 30_000
    """Rounds of the game: each one discriminator step and one generator step."""
    evaluate_every: int = 5_000
    """Steps between evaluations; 0 for the last only."""
    sample_every: int = 5_000
    """Steps between sample pictures; 0 for the first and the last only."""
    z_dim: int = 100
    """Size of the latent z."""
    dropout: Fraction = 0.3
    """Dropout rate in the discriminator."""
    lr: Positive = 2e-4
    """Adam's learning rate, both sides."""
    b1: Fraction = 0.5
    """Adam's decay rate of the first moment."""
    ema_images: float = 20_000
    """Half-life, in real images, of the averaged generator."""


def build(config: Config, spec: Spec) -> training.Recipe:
    gen = mlp.Generator(spec.shape, activation=leaky_relu, dtype=config.precision)
    disc = mlp.Discriminator(activation=leaky_relu, dropout=config.dropout, dtype=config.precision)
    return training.Recipe(
        game=adversarial(
            gen, disc, losses.non_saturating(), z_dim=config.z_dim, accumulate=config.accumulate, one_pass=True
        ),
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

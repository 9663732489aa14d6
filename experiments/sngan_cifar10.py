"""SNGAN on CIFAR-10, 32x32 in colour: residual networks, spectral norm in every layer of the discriminator, hinge loss.

Miyato et al. 2018, arXiv:1802.05957, appendix B.4: Adam 2e-4 with beta1 0 and beta2 0.9, five discriminator steps a
round. The learning rate is constant here, and the generator's batch is as large as the discriminator's. Made for an
accelerator: on two cores a round takes seconds. Measured: experiments/results/sngan_cifar10.json.

    python -m experiments.sngan_cifar10
"""

import dataclasses
from typing import Any

import optax

from gan_jax import data, losses, training
from gan_jax.config import Augmented, Fraction, FromImages, Measured, Positive, Run
from gan_jax.evaluation import evaluators
from gan_jax.game import half_life
from gan_jax.games import controls
from gan_jax.games.adversarial import adversarial
from gan_jax.models import resnet
from gan_jax.training import cli
from gan_jax.types import Spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Measured, Augmented, FromImages, Run):
    data: str = "cifar10"
    """A TFDS name such as cifar10, found under TFDS_DATA_DIR; a prepared TFDS directory; an .npz or .npy; a folder of
    images; digits.
    """
    flip: bool = True
    """Mirror each image left to right with probability 1/2."""
    steps: int = 50_000
    """Rounds of the game: each --n-disc discriminator steps and one generator step."""
    evaluate_every: int = 5_000
    """Steps between evaluations; 0 for the last only."""
    z_dim: int = 128
    """Size of the latent z."""
    width: int = 128
    """Channels of the discriminator; the generator has twice as many."""
    n_disc: int = 5
    """Discriminator steps in a round."""
    remat: bool = False
    """Recompute the blocks' activations for their gradients instead of storing them: less memory, a third more time."""
    lr: Positive = 2e-4
    """Adam's learning rate, both sides."""
    b1: Fraction = 0.0
    """Adam's decay rate of the first moment."""
    b2: Fraction = 0.9
    """Adam's decay rate of the second moment."""
    ema_images: float = 100_000
    """Half-life, in real images, of the averaged generator."""


def build(config: Config, spec: Spec) -> training.Recipe:
    options: dict[str, Any] = {"dtype": config.precision, "remat": config.remat}
    gen = resnet.Generator(spec.shape, width=2 * config.width, **options)
    disc = resnet.Discriminator(width=config.width, spectral_norm=True, **options)
    adam = optax.adam(config.lr, b1=config.b1, b2=config.b2)
    few = controls.augmented(config.augment, config.batch_size, mirror=config.flip)
    return training.Recipe(
        game=adversarial(
            gen, disc, losses.hinge(), z_dim=config.z_dim, accumulate=config.accumulate, one_pass=True, **few
        ),
        gen_tx=adam,
        disc_tx=adam,
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

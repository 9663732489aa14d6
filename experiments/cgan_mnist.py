"""Conditional GAN on MNIST, 28x28: DCGAN's networks, the label embedded beside z and as one more channel of the image.

Mirza and Osindero 2014, arXiv:1411.1784, equation 2. In the sample pictures every row shows the classes in turn.
Measured: experiments/results/cgan_mnist.json.

    python -m experiments.cgan_mnist
"""

import dataclasses
import functools

import optax

from gan_jax import data, losses, training
from gan_jax.config import Augmented, Fraction, FromImages, Measured, Positive, Run
from gan_jax.evaluation import evaluators
from gan_jax.game import half_life
from gan_jax.games import controls
from gan_jax.games.adversarial import adversarial
from gan_jax.models import dcgan
from gan_jax.training import cli
from gan_jax.types import Spec, UserError
from gan_jax.workdir import pictures


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Measured, Augmented, FromImages, Run):
    data: str = "mnist"
    """A TFDS name such as mnist, found under TFDS_DATA_DIR; a prepared TFDS directory; an .npz or .npy; a folder of
    images; digits.
    """
    steps: int = 5_000
    """Rounds of the game: each one discriminator step and one generator step."""
    evaluate_every: int = 2_500
    """Steps between evaluations; 0 for the last only."""
    z_dim: int = 100
    """Size of the latent z."""
    width: int = 32
    """Channels at the finest resolution inside the networks."""
    lr: Positive = 1e-3
    """Adam's learning rate, both sides."""
    b1: Fraction = 0.5
    """Adam's decay rate of the first moment."""
    ema_images: float = 20_000
    """Half-life, in real images, of the averaged generator."""


def build(config: Config, spec: Spec) -> training.Recipe:
    gen = dcgan.Generator(spec.shape, width=config.width, classes=spec.classes, dtype=config.precision)
    disc = dcgan.Discriminator(width=config.width, classes=spec.classes, dtype=config.precision)
    return training.Recipe(
        game=adversarial(
            gen,
            disc,
            losses.non_saturating(),
            z_dim=config.z_dim,
            accumulate=config.accumulate,
            classes=spec.classes,
            **controls.augmented(config.augment, config.batch_size, mirror=config.flip),
        ),
        gen_tx=optax.adam(config.lr, b1=config.b1),
        disc_tx=optax.adam(config.lr, b1=config.b1),
        ema_decay=half_life(config.ema_images, config.batch_size),
        show=functools.partial(pictures.show, columns=spec.classes),
    )


def setup(config: Config) -> training.Setup:
    images = data.load(config.data, size=config.size or None, fit=config.fit, stream=config.stream)
    if images.classes < 2:
        raise UserError(
            f"a conditional GAN needs at least two classes; {images.name} has {images.classes}. Try --data mnist, or a folder with one sub-folder a class"
        )
    source = data.source(images, config.batch_size, config.seed, flip=config.flip, shift=config.shift)
    measures = evaluators.for_run(config, images, labels=evaluators.IN_TURN)
    return training.Setup(source, measures, shown=8 * images.classes)


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)

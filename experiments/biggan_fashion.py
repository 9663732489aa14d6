"""BigGAN, small, on Fashion-MNIST, 28x28: conditional norms, spectral norm in both networks, hinge, projection.

Brock et al. 2019, arXiv:1809.11096, with 32 channels at every size, from 7 to 28 pixels, and attention at 14. At the end
fakes are also measured with each number of z within a limit, by standing statistics of batch norm: the curve of
truncation. Results, where they are kept: experiments/results/biggan_fashion.json.

    python -m experiments.biggan_fashion --seeds 3
"""

import dataclasses
import functools

import optax

from gan_jax import data, losses, training
from gan_jax.config import Augmented, Fraction, FromImages, Measured, Positive, Run
from gan_jax.evaluation import evaluators, truncation
from gan_jax.game import half_life
from gan_jax.games import controls
from gan_jax.games.adversarial import adversarial
from gan_jax.models import biggan
from gan_jax.models.layers import halvings
from gan_jax.optim import orthogonal_regularisation
from gan_jax.training import cli
from gan_jax.types import Spec, UserError
from gan_jax.workdir import pictures

LIMITS = (float("inf"), 1.5, 1.0, 0.7, 0.5, 0.3)  # of |z|


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Measured, Augmented, FromImages, Run):
    data: str = "fashion_mnist"
    """A TFDS name such as fashion_mnist, found under TFDS_DATA_DIR; a prepared TFDS directory; an .npz or .npy; a
    folder of images; digits.
    """
    steps: int = 4_000
    """Rounds of the game: each one discriminator step and one generator step."""
    evaluate_every: int = 1_000
    """Steps between evaluations; 0 for the last only."""
    z_dim: int = 60
    """Size of the latent z: a multiple of the number of sizes, of which each has its part."""
    width: int = 32
    """Channels at every size, a multiple of 8."""
    lr: Positive = 2e-4
    """Adam's learning rate of G; D's is twice as large."""
    b1: Fraction = 0.0
    """Adam's decay rate of the first moment; that of the second is 0.999."""
    regularisation: float = 1e-4
    """Weight of the orthogonal regularisation of G; 0: none."""
    ema_images: float = 10_000
    """Half-life, in real images, of the averaged generator."""


def build(config: Config, spec: Spec) -> training.Recipe:
    ups = halvings(spec.shape[0], spec.shape[1], "BigGAN")
    # Attention is at half the size of the images, in both: after G's last doubling but one, and D's first halving.
    gen = biggan.Generator(spec.shape, (config.width,) * (ups + 1), spec.classes, 32, (ups - 2,), config.precision)
    disc = biggan.Discriminator((config.width,) * 4, 2, spec.classes, (0,), dtype=config.precision)
    game = adversarial(
        gen, disc, losses.hinge(), z_dim=config.z_dim, classes=spec.classes, one_pass=True, accumulate=config.accumulate,
        **controls.augmented(config.augment, config.batch_size, mirror=config.flip),
    )  # fmt: skip
    orthogonal = orthogonal_regularisation(config.regularisation, ("Embed_0",))
    return training.Recipe(
        game=game,
        gen_tx=optax.chain(orthogonal, optax.adam(config.lr, b1=config.b1)),
        disc_tx=optax.adam(2 * config.lr, b1=config.b1),
        ema_decay=half_life(config.ema_images, config.batch_size, ramp_up=None),
        show=functools.partial(pictures.show, columns=spec.classes or None),
    )


def setup(config: Config) -> training.Setup:
    images = data.load(config.data, size=config.size or None, fit=config.fit, stream=config.stream)
    if images.classes < 2:
        raise UserError(
            f"this BigGAN is conditional and needs at least two classes; {images.name} has {images.classes}. Try a folder with one sub-folder a class"
        )
    source = data.source(images, config.batch_size, config.seed, flip=config.flip, shift=config.shift)
    if config.features == "none":
        return training.Setup(source, shown=8 * images.classes)
    measures = evaluators.measures_of(config, images, evaluators.IN_TURN)
    evaluate = measures.evaluate(
        config.evaluate_samples, config.final_samples, () if config.features else ("class_accuracy",)
    )
    curve = truncation.with_curve(evaluate, measures, config.final_samples, LIMITS)
    return training.Setup(source, curve, shown=8 * images.classes)


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)

"""What gan_jax recommends for grey images of 28x28, on Fashion-MNIST: residual networks, the relativistic loss, R1 and R2.

Networks, loss and schedules are those of R3GAN, arXiv:2501.05441, with more channels where the images are smaller; the
generator is averaged. With --conditional both networks are told the class. Results, where they are kept:
experiments/results/best_fashion.json, best_fashion_conditional.json.

    python -m experiments.best_fashion --seeds 3
    python -m experiments.best_fashion --seeds 3 --conditional
"""

import dataclasses
import functools

import optax

from gan_jax import data, losses, penalties, training
from gan_jax.config import Augmented, FromImages, Measured, Positive, Run
from gan_jax.evaluation import evaluators
from gan_jax.game import half_life
from gan_jax.games import controls
from gan_jax.games.adversarial import adversarial
from gan_jax.models import r3gan
from gan_jax.training import cli
from gan_jax.types import Spec, UserError
from gan_jax.workdir import pictures


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Measured, Augmented, FromImages, Run):
    data: str = "fashion_mnist"
    """A TFDS name such as fashion_mnist, found under TFDS_DATA_DIR; a prepared TFDS directory; an .npz or .npy; a
    folder of images; digits.
    """
    conditional: bool = False
    """Tell both networks the class."""
    steps: int = 3_000
    """Rounds of the game: each one discriminator step and one generator step."""
    evaluate_every: int = 1_000
    """Steps between evaluations; 0 for the last only."""
    z_dim: int = 64
    """Size of the latent z."""
    width: int = 32
    """Channels at the size of the images, a multiple of 8; at half of it twice, and at a quarter four times as many."""
    lr: Positive = 1e-3
    """Adam's learning rate at the start, both sides; it ends at a quarter. b1 is 0, b2 goes from 0.9 to 0.99."""
    gamma: Positive = 0.1
    """R1 and R2 each enter with weight gamma / 2 at the start; it ends at a tenth."""
    ema_images: float = 10_000
    """Half-life, in real images, of the averaged generator."""


def build(config: Config, spec: Spec) -> training.Recipe:
    def cosine(first: float, last: float) -> optax.Schedule:
        return optax.cosine_decay_schedule(first, max(1, config.steps * 4 // 5), last / first)

    widths, kind = (4 * config.width, 2 * config.width, config.width), config.precision
    classes = spec.classes if config.conditional else 0
    gamma = optax.cosine_decay_schedule(1.0, max(1, config.steps * 4 // 5), 0.1)
    smooth = [(lambda step: config.gamma / 2 * gamma(step), penalty) for penalty in (penalties.r1, penalties.r2)]
    adam = optax.inject_hyperparams(optax.adam)(cosine(config.lr, config.lr / 4), b1=0.0, b2=cosine(0.9, 0.99))
    game = adversarial(
        r3gan.Generator(spec.shape, widths, classes=classes, dtype=kind),
        r3gan.Discriminator(widths, classes=classes, dtype=kind),
        losses.relativistic_paired(), z_dim=config.z_dim, classes=classes, penalties=smooth, accumulate=config.accumulate,
        **controls.augmented(config.augment, config.batch_size, mirror=config.flip, signs=False),
    )  # fmt: skip
    return training.Recipe(
        game=game,
        gen_tx=adam,
        disc_tx=adam,
        ema_decay=half_life(config.ema_images, config.batch_size, ramp_up=None),
        show=functools.partial(pictures.show, columns=classes or None),
    )


def setup(config: Config) -> training.Setup:
    images = data.load(config.data, size=config.size or None, fit=config.fit, stream=config.stream)
    source = data.source(images, config.batch_size, config.seed, flip=config.flip, shift=config.shift)
    if not config.conditional:
        return training.Setup(source, evaluators.for_run(config, images))
    if images.classes < 2:
        raise UserError(f"--conditional needs at least two classes; {images.name} has {images.classes}: leave it out")
    named = () if config.features else ("class_accuracy",)
    measures = evaluators.for_run(config, images, evaluators.IN_TURN, named)
    return training.Setup(source, measures, shown=8 * images.classes)


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)

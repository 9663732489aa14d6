"""R3GAN, small, on Fashion-MNIST, 28x28: residual networks without norms, the relativistic loss, R1 and R2.

Huang et al. 2024, arXiv:2501.05441: three sizes, one block each, of equal width. As there, the learning rate, Adam's b2 and
gamma move along a cosine from their first to their last value, here over four fifths of the run. Real images are not
augmented. Results, where they are kept: experiments/results/r3gan_fashion.json.

    python -m experiments.r3gan_fashion --seeds 3
"""

import dataclasses

import optax

from gan_jax import data, losses, penalties, training
from gan_jax.config import Augmented, FromImages, Measured, Positive, Run
from gan_jax.evaluation import evaluators
from gan_jax.game import half_life
from gan_jax.games import controls
from gan_jax.games.adversarial import adversarial
from gan_jax.models import r3gan
from gan_jax.training import cli
from gan_jax.types import Spec


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Measured, Augmented, FromImages, Run):
    data: str = "fashion_mnist"
    """A TFDS name such as fashion_mnist, found under TFDS_DATA_DIR; a prepared TFDS directory; an .npz or .npy; a
    folder of images; digits.
    """
    steps: int = 2_000
    """Rounds of the game: each one discriminator step and one generator step."""
    evaluate_every: int = 500
    """Steps between evaluations; 0 for the last only."""
    z_dim: int = 64
    """Size of the latent z."""
    width: int = 32
    """Channels at every size, a multiple of 8."""
    sizes: int = 3
    """Number of sizes, each half of the one before: 28, 14, 7."""
    blocks: int = 1
    """Residual blocks at each size."""
    lr: Positive = 1e-3
    """Adam's learning rate at the start, both sides; it ends at a quarter. b1 is 0, b2 goes from 0.9 to 0.99."""
    gamma: Positive = 0.1
    """R1 and R2 each enter with weight gamma / 2 at the start; it ends at a tenth."""
    ema_images: float = 10_000
    """Half-life, in real images, of the averaged generator."""


def build(config: Config, spec: Spec) -> training.Recipe:
    def cosine(first: float, last: float) -> optax.Schedule:
        return optax.cosine_decay_schedule(first, max(1, config.steps * 4 // 5), last / first)

    widths, kind = (config.width,) * config.sizes, config.precision
    gamma = optax.cosine_decay_schedule(1.0, max(1, config.steps * 4 // 5), 0.1)
    smooth = [(lambda step: config.gamma / 2 * gamma(step), penalty) for penalty in (penalties.r1, penalties.r2)]
    adam = optax.inject_hyperparams(optax.adam)(cosine(config.lr, config.lr / 4), b1=0.0, b2=cosine(0.9, 0.99))
    game = adversarial(
        r3gan.Generator(spec.shape, widths, config.blocks, dtype=kind),
        r3gan.Discriminator(widths, config.blocks, dtype=kind),
        losses.relativistic_paired(), z_dim=config.z_dim, penalties=smooth, accumulate=config.accumulate,
        **controls.augmented(config.augment, config.batch_size, mirror=config.flip, signs=False),
    )  # fmt: skip
    return training.Recipe(
        game=game, gen_tx=adam, disc_tx=adam, ema_decay=half_life(config.ema_images, config.batch_size, ramp_up=None)
    )


def setup(config: Config) -> training.Setup:
    images = data.load(config.data, size=config.size or None, fit=config.fit, stream=config.stream)
    source = data.source(images, config.batch_size, config.seed, flip=config.flip, shift=config.shift)
    return training.Setup(source, evaluators.for_run(config, images))


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)

"""StyleGAN2 on pictures of 64x64 in colour, such as 10,000 sprites, or a thousand of them with and without ADA.

Karras et al. 2020, arXiv:1912.04958 and 2006.06676: 4 to 64 pixels, at most 32 channels, R1 in every 16th round. With
--images fakes are compared with the whole set all the same, and with --augment ada its probability rises from 0 to 1 in
100,000 images at most. The set is an .npz with x_train and x_test, or any folder: --data photos --size 64. Results, where
they are kept: experiments/results/stylegan2_sprites_*.json.

    python -m experiments.stylegan2_sprites --data sprites.npz
    python -m experiments.stylegan2_sprites --data sprites.npz --images 1000 --augment ada
"""

import dataclasses
from typing import Any

import optax

from gan_jax import augment, data, losses, penalties, training
from gan_jax.config import Augmented, FromImages, Measured, Natural, Positive, Run
from gan_jax.data import subsets
from gan_jax.evaluation import evaluators
from gan_jax.game import half_life
from gan_jax.games import controls
from gan_jax.games.style import style
from gan_jax.models import stylegan2
from gan_jax.training import cli
from gan_jax.types import Spec, UserError

LAZY = 16  # rounds between R1's
ADAPT = 100_000  # images in which ADA's probability may rise from 0 to 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Measured, Augmented, FromImages, Run):
    data: str = "sprites.npz"
    """An .npz or .npy of pictures; a folder of them; a TFDS name; a prepared TFDS directory; digits."""
    images: Natural = 0
    """Pictures of the set that are trained on, the same for every seed; all of them measure. 0: all."""
    steps: int = 12_000
    """Rounds of the game: each one discriminator step and one generator step."""
    batch_size: int = 32
    """Real images of one discriminator step, a multiple of 4."""
    evaluate_every: int = 3_000
    """Steps between evaluations; 0 for the last only."""
    z_dim: int = 128
    """Size of the latents z and w."""
    width: int = 32
    """Largest number of channels; a size of r pixels has at most 1,024 / r."""
    lr: Positive = 2.5e-3
    """Adam's learning rate, for D times 16/17 as in the authors' code; b1 is 0, b2 is 0.99 to that power."""
    gamma: Positive = 0.05
    """R1 enters with weight gamma / 2."""
    ema_images: float = 20_000
    """Half-life, in real images, of the averaged generator."""


def build(config: Config, spec: Spec) -> training.Recipe:
    sizes: dict[str, Any] = {"base": 1_024, "most": config.width, "dtype": config.precision}
    how: dict[str, Any] = {}
    match config.augment:
        case "diffaugment":
            how = {"augment": augment.diffaugment}
        case "ada":
            pipe = augment.pipe(mirror=config.flip, rotate=config.flip, luma_flip=config.flip)
            how = {"augment": pipe, "controls": [controls.ada(config.batch_size, images=ADAPT)]}
    game = style(
        stylegan2.Generator(spec.shape, features=config.z_dim, **sizes), stylegan2.Discriminator(**sizes),
        losses.non_saturating(), z_dim=config.z_dim, noises=stylegan2.noises(spec.shape),
        layers=stylegan2.styles(spec.shape), mixing=0.0, path=0.0, accumulate=config.accumulate,
        penalties=[(config.gamma / 2, penalties.lazy(penalties.r1, LAZY))], **how,
    )  # fmt: skip
    share = LAZY / (LAZY + 1)  # theirs has a step more in so many rounds, for R1; here it has not
    return training.Recipe(
        game=game,
        gen_tx=optax.adam(config.lr, b1=0.0, b2=0.99),
        disc_tx=optax.adam(config.lr * share, b1=0.0, b2=0.99**share),
        ema_decay=half_life(config.ema_images, config.batch_size),
    )


def setup(config: Config) -> training.Setup:
    images = data.load(config.data, size=config.size or None, fit=config.fit, stream=config.stream)
    if config.images > len(images.images):
        raise UserError(f"--images {config.images}: {config.data} has {len(images.images)}; 0 is all of them")
    few = subsets.some(images, config.images) if config.images else images
    source = data.source(few, config.batch_size, config.seed, flip=config.flip, shift=config.shift)
    return training.Setup(source, evaluators.for_run(config, images))


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)

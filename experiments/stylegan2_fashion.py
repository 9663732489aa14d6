"""StyleGAN2, small, on Fashion-MNIST, 28x28: 7 to 28 pixels, at most 64 channels.

Karras et al. 2020, arXiv:1912.04958, with the changes of StyleGAN2-ADA, 2006.06676: R1 in every 16th round, path length
regularisation in every 4th (off by default, as mixed styles are: their settings for CIFAR-10), minibatch standard deviation.
Results, where they are kept: experiments/results/stylegan2_fashion.json.

    python -m experiments.stylegan2_fashion --seeds 3
"""

import dataclasses
from typing import Any

import optax

from gan_jax import data, losses, penalties, training
from gan_jax.config import Augmented, FromImages, Measured, Positive, Run
from gan_jax.evaluation import evaluators
from gan_jax.game import half_life
from gan_jax.games import controls
from gan_jax.games.style import style
from gan_jax.models import stylegan2
from gan_jax.training import cli
from gan_jax.types import Spec

LAZY = 16, 4  # rounds between R1's, and between path lengths


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Measured, Augmented, FromImages, Run):
    data: str = "fashion_mnist"
    """A TFDS name such as fashion_mnist, found under TFDS_DATA_DIR; a prepared TFDS directory; an .npz or .npy; a
    folder of images; digits.
    """
    steps: int = 5_000
    """Rounds of the game: each one discriminator step and one generator step."""
    batch_size: int = 32
    """Real images of one discriminator step, a multiple of 4."""
    evaluate_every: int = 1_000
    """Steps between evaluations; 0 for the last only."""
    z_dim: int = 128
    """Size of the latents z and w."""
    width: int = 64
    """Largest number of channels; a size of r pixels has at most 1,024 / r."""
    lr: Positive = 2.5e-3
    """Adam's learning rate, times 4/5 for G and 16/17 for D, as the authors' code; b1 is 0, b2 is 0.99 to that power."""
    gamma: Positive = 0.01
    """R1 enters with weight gamma / 2."""
    path: float = 0.0
    """Weight of path length regularisation; the authors' is 2. 0: none."""
    mixing: float = 0.0
    """Probability of mixed styles in a batch; the authors' is 0.9. 0: none."""
    ema_images: float = 20_000
    """Half-life, in real images, of the averaged generator."""


def build(config: Config, spec: Spec) -> training.Recipe:
    sizes: dict[str, Any] = {"base": 1_024, "most": config.width, "dtype": config.precision}
    gen = stylegan2.Generator(spec.shape, features=config.z_dim, **sizes)
    disc = stylegan2.Discriminator(**sizes)
    lazy_r1, lazy_path = LAZY
    game = style(
        gen, disc, losses.non_saturating(), z_dim=config.z_dim, noises=stylegan2.noises(spec.shape),
        layers=stylegan2.styles(spec.shape), mixing=config.mixing, path=config.path, every=lazy_path,
        penalties=[(config.gamma / 2, penalties.lazy(penalties.r1, lazy_r1))], accumulate=config.accumulate,
        **controls.augmented(config.augment, config.batch_size, mirror=config.flip),
    )  # fmt: skip

    def adam(every: int) -> optax.GradientTransformation:
        share = every / (every + 1)  # theirs has a step more in so many rounds, for the regulariser; here it has not
        return optax.adam(config.lr * share, b1=0.0, b2=0.99**share)

    decay = half_life(config.ema_images, config.batch_size)
    return training.Recipe(game=game, gen_tx=adam(lazy_path), disc_tx=adam(lazy_r1), ema_decay=decay)


def setup(config: Config) -> training.Setup:
    images = data.load(config.data, size=config.size or None, fit=config.fit, stream=config.stream)
    source = data.source(images, config.batch_size, config.seed, flip=config.flip, shift=config.shift)
    return training.Setup(source, evaluators.for_run(config, images))


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)

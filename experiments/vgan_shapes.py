"""VGAN on moving shapes: a foreground and its mask, over a background that stands still, made all at once.

Vondrick et al. 2016, arXiv:1609.02612, with half of the channels, 16 frames of 32x32 pixels, and without their penalty of the mask.
Measured as `mocogan_shapes`. Results, where they are kept: experiments/results/vgan_shapes.json.

    python -m experiments.vgan_shapes
    python -m experiments.vgan_shapes --data shapes.npz --seeds 3
"""

import dataclasses

import optax

from gan_jax import data, losses, training
from gan_jax.config import FromClips, Natural, Positive, Run
from gan_jax.data import clips
from gan_jax.evaluation import moving
from gan_jax.game import half_life
from gan_jax.games.adversarial import adversarial
from gan_jax.models import vgan
from gan_jax.training import cli
from gan_jax.types import Spec
from gan_jax.workdir import animated


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(FromClips, Run):
    every: int = 2
    """Frames of a file from one that is taken to the next."""
    steps: int = 2_500
    """Rounds of the game: each one discriminator step and one generator step."""
    batch_size: int = 16
    """Real clips of one discriminator step."""
    sample_every: Natural = 500
    """Steps between samples; 0 for the first and the last only."""
    evaluate_every: Natural = 500
    """Steps between evaluations; 0 for the last only."""
    width: int = 32
    """Channels of the generator's last but one layer and of the discriminator's first; 64 in the paper."""
    z_dim: int = 100
    """Dimension of the latent."""
    lr: Positive = 2e-4
    """Adam's learning rate, both sides; b1 is 0.5."""
    ema_images: float = 5_000
    """Half-life, in clips, of the averaged generator."""


def build(config: Config, spec: Spec) -> training.Recipe:
    gen = vgan.Generator(spec.shape, config.width, config.precision)
    disc = vgan.Discriminator(config.width, config.precision)
    adam = optax.adam(config.lr, b1=0.5)
    return training.Recipe(
        game=adversarial(
            gen, disc, losses.non_saturating(), z_dim=config.z_dim, accumulate=config.accumulate
        ),
        gen_tx=adam,
        disc_tx=adam,
        ema_decay=half_life(config.ema_images, config.batch_size),
        show=animated.show,
    )  # fmt: skip


def setup(config: Config) -> training.Setup:
    vgan.require_frames(config.length, config.size)
    learnt, test = clips.load(
        config.data, length=config.length, every=config.every, stride=config.stride, size=config.size, rate=config.rate
    )
    return training.Setup(data.source(learnt, config.batch_size, config.seed), moving.measures(learnt, test), 36)


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)

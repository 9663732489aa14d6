"""MoCoGAN on any clips, without measures: people who walk, run and wave, or a folder of one's own; without --data shapes that move.

Tulyakov et al. 2018, arXiv:1707.04993, section 4.4, with half of the channels at 32x32 pixels; where the clips have classes both
networks are told them. A clip begins at every fourth frame of a file. Results, where they are kept: experiments/results/mocogan_actions.json.

    python -m experiments.mocogan_actions
    python -m experiments.mocogan_actions --data weizmann.npz
    python -m experiments.mocogan_actions --data clips/ --every 2 --size 64
"""

import dataclasses

import optax

from gan_jax import data, losses, training
from gan_jax.config import Fraction, FromClips, Natural, Positive, Run
from gan_jax.data import clips
from gan_jax.game import half_life
from gan_jax.games.motion import motion
from gan_jax.models import mocogan
from gan_jax.training import cli
from gan_jax.types import Spec
from gan_jax.workdir import animated


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(FromClips, Run):
    stride: Natural = 4
    """Frames of a file after which another clip begins, and so on; 0: one clip of each file."""
    steps: int = 2_500
    """Rounds of the game: each one discriminator step and one generator step."""
    batch_size: int = 16
    """Real clips of one discriminator step; of each one frame is judged, too."""
    sample_every: Natural = 500
    """Steps between samples; 0 for the first and the last only."""
    width: int = 32
    """Channels of the generator's last but one layer and of the discriminators' first; 64 in the paper."""
    content: int = 50
    """Numbers that say what is seen."""
    moving: int = 10
    """Numbers that say how it moves, in each frame."""
    noise: float = 0.1
    """Standard deviation of the noise before each of the discriminators' convolutions."""
    lr: Positive = 2e-4
    """Adam's learning rate, both sides; b1 is 0.5."""
    decay: Fraction = 1e-5
    """Weight decay, both sides: this times the weights is added to the gradients."""
    ema_images: float = 5_000
    """Half-life, in clips, of the averaged generator."""


def build(config: Config, spec: Spec) -> training.Recipe:
    gen = mocogan.Generator(spec.shape, config.width, spec.classes, config.precision)
    disc = mocogan.Discriminator(config.width, spec.classes, config.noise, config.precision)
    adam = optax.chain(optax.add_decayed_weights(config.decay), optax.adam(config.lr, b1=0.5))
    return training.Recipe(
        game=motion(
            gen, disc, losses.non_saturating(), content=config.content, moving=config.moving, length=spec.shape[0],
            classes=spec.classes, accumulate=config.accumulate,
        ),
        gen_tx=adam,
        disc_tx=adam,
        ema_decay=half_life(config.ema_images, config.batch_size),
        show=animated.show,
    )  # fmt: skip


def setup(config: Config) -> training.Setup:
    mocogan.require_frames(config.length, config.size)
    learnt, _ = clips.load(
        config.data, length=config.length, every=config.every, stride=config.stride, size=config.size, rate=config.rate
    )
    return training.Setup(data.source(learnt, config.batch_size, config.seed), None, 36)


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)

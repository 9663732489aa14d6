"""Spoken digits by pictures of their mels: a conditional DCGAN makes log-mels, and a vocoder makes them heard.

After SpecGAN (Donahue et al. 2019, arXiv:1802.04208, section 3.3), with mels in the place of its spectra, a vocoder in that of
Griffin-Lim, and what gan_jax recommends for the loss: relativistic (arXiv:1807.00734) with R1 and R2. --by speaker is told who
speaks instead of what. Results, where they are kept: experiments/results/specgan_digits_*.json.

    python -m experiments.specgan_digits
    python -m experiments.specgan_digits --data fsdd/ --vocoder runs/vocoder_digits --seeds 3
    gan-jax sample runs/specgan_digits --label 7 --count 20 --out sevens/
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import optax

import gan_jax
from gan_jax import data, losses, penalties, training
from gan_jax.config import FromSounds, Natural, Positive, Run
from gan_jax.data import sounds
from gan_jax.evaluation import hearing
from gan_jax.evaluation.questions import weights_digest
from gan_jax.game import half_life
from gan_jax.games.adversarial import adversarial
from gan_jax.models import dcgan
from gan_jax.models.spectra import Mels, griffin_lim, mels_to_magnitude
from gan_jax.training import cli
from gan_jax.types import PyTree, Spec, UserError
from gan_jax.workdir import audible
from gan_jax.workdir.load import saved_run

ROWS = 50  # sounds at a time


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(FromSounds, Run):
    vocoder: str = ""
    """Run of vocoder_digits that makes sounds of mels; without, Griffin-Lim does."""
    by: Literal["class", "speaker"] = "class"
    """What the generator is told: the class, or who speaks, by the names of the files (SPEAKER_NUMBER.wav)."""
    steps: int = 6_000
    """Rounds of the game: each one discriminator step and one generator step."""
    batch_size: int = 64
    """Real sounds of one discriminator step."""
    sample_every: Natural = 2_000
    """Steps between samples; 0 for the first and the last only."""
    evaluate_every: Natural = 2_000
    """Steps between evaluations; 0 for the last only."""
    width: int = 32
    """Channels of the generator's last but one layer and of the discriminator's first."""
    z_dim: int = 100
    """Dimension of the latent."""
    gamma: float = 1.0
    """Weight of R1 + R2 in D's loss is half of it each."""
    lr: Positive = 2e-4
    """Adam's learning rate, both sides; b1 is 0.5."""
    ema_images: float = 20_000
    """Half-life, in sounds, of the averaged generator."""


def voice(config: Config) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """Returns the function from scaled mels [n f m 1] to sounds [n t 1], and what it is, for protocols. Raises UserError for a
    vocoder of other mels.
    """
    mels = Mels(config.rate)
    if not config.vocoder:
        name = "Griffin-Lim, 32 iterations"
        make: Any = jax.jit(
            lambda x: griffin_lim(mels_to_magnitude(mels.unscaled(x), mels.filters), mels.hop)[..., None]
        )
    else:
        theirs = saved_run(config.vocoder).spec.meta.get("mels")
        if theirs != mels._asdict():
            raise UserError(
                f"--vocoder {config.vocoder}: a vocoder of {mels._asdict()} is needed, and it is of {theirs or 'none'}"
            )
        make = gan_jax.load(config.vocoder)
        name = f"vocoder, weights {weights_digest(make)}"

    def sounds_of(scaled: np.ndarray) -> np.ndarray:
        parts = [np.asarray(make(np.asarray(scaled[i : i + ROWS, ..., 0]))) for i in range(0, len(scaled), ROWS)]
        return np.clip(np.concatenate(parts), -1, 1)

    return sounds_of, name


def build(config: Config, spec: Spec) -> training.Recipe:
    gen = dcgan.Generator(spec.shape, config.width, classes=spec.classes, dtype=config.precision)
    disc = dcgan.Discriminator(config.width, batch_norm=False, classes=spec.classes, dtype=config.precision)
    smooth = [(config.gamma / 2, penalties.r1), (config.gamma / 2, penalties.r2)]
    adam = optax.adam(config.lr, b1=0.5)
    made = functools.cache(lambda: voice(config))  # loaded when it is first heard

    def heard(samples: PyTree) -> np.ndarray:
        return made()[0](np.asarray(samples))[..., 0]

    sounding = audible.Sounding(config.rate, heard)
    return training.Recipe(
        game=adversarial(
            gen, disc, losses.relativistic_paired(), z_dim=config.z_dim, penalties=smooth, classes=spec.classes,
            accumulate=config.accumulate,
        ),
        gen_tx=adam,
        disc_tx=adam,
        ema_decay=half_life(config.ema_images, config.batch_size),
        show=audible.shown(sounding),
        sound=sounding,
    )  # fmt: skip


def setup(config: Config) -> training.Setup:
    mels, (made, name) = Mels(config.rate), voice(config)
    dcgan.sides(config.length // mels.hop, mels.mels)  # which raises for lengths that it does not take
    learnt, test = sounds.load(
        config.data, rate=config.rate, length=config.length, loudness=config.loudness, every=config.every
    )
    if config.by == "speaker":
        found = hearing.spoken(learnt, test, config.data)
        if found is None:
            raise UserError(
                f"--by speaker: {config.data} does not say who speaks: train/ and test/ with SPEAKER_NUMBER.wav do, without --every"
            )
        learnt, test = found
    evaluate = hearing.measures(
        learnt, test, mels, config.data, lambda x: made(np.asarray(x))[..., 0], conditional=True,
        through=lambda x: made(hearing.pictures_of(x, mels)), voice=name,
    )  # fmt: skip
    source = data.source(hearing.seen(learnt, mels), config.batch_size, config.seed)
    return training.Setup(source, evaluate, 20)


def main(config: Config) -> None:
    if config.vocoder:  # found from any directory later
        config = dataclasses.replace(config, vocoder=str(Path(config.vocoder).expanduser().absolute()))
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)

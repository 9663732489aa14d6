"""A vocoder: sounds of mels, by a small HiFi-GAN, for spoken digits at 8,000 samples a second.

Kong et al. 2020, arXiv:2010.05646, with an eighth of the channels and without its discriminators of scales: G has 107,393
parameters. Segments of half a second are made of their mels, 64 to 4,000 Hz; least squares, two times the hidden layers of D, and 45 times
the mels. Held-out sounds are measured at resolutions that nobody was trained on, beside Griffin-Lim's. Results, where
they are kept: experiments/results/vocoder_digits_*.json.

    python -m experiments.vocoder_digits
    python -m experiments.vocoder_digits --data fsdd/
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gan_jax import data, losses, training
from gan_jax.config import Fraction, FromSounds, Natural, Positive, Run
from gan_jax.data import sounds
from gan_jax.data.derived import derived
from gan_jax.evaluation import hearing, vocoding
from gan_jax.game import half_life
from gan_jax.games.paired import l1
from gan_jax.games.vocoder import vocoder
from gan_jax.models import hifigan
from gan_jax.models.spectra import Mels
from gan_jax.training import cli
from gan_jax.types import Array, Batch, Spec, UserError
from gan_jax.workdir import audible

SHORTEST = 1_024  # samples: what the longest frames of the measures need


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(FromSounds, Run):
    segment: int = 4_096
    """Samples that are made in training: a part of each sound, drawn anew every time."""
    steps: int = 8_000
    """Rounds of the game: each one discriminator step and one generator step."""
    batch_size: int = 16
    """Segments of one step."""
    sample_every: Natural = 2_000
    """Steps between samples; 0 for the first and the last only."""
    evaluate_every: Natural = 2_000
    """Steps between evaluations; 0 for the last only."""
    width: int = 64
    """Channels of the generator's first convolution; 512 in the paper."""
    disc_width: int = 4
    """Channels of the discriminators' first convolutions; 32 in the paper."""
    closeness: float = 45.0
    """Weight of the mels' L1 distance."""
    lr: Positive = 2e-4
    """Adam's learning rate at the beginning, both sides; it falls to 0 along a cosine."""
    b1: Fraction = 0.5
    """Adam's decay rate of the first moment."""
    ema_images: float = 10_000
    """Half-life, in sounds, of the averaged generator."""


def build(config: Config, spec: Spec) -> training.Recipe:
    mels = Mels(config.rate)
    gen = hifigan.Generator(config.width, dtype=config.precision)
    disc = hifigan.PeriodDiscriminators(
        tuple(config.disc_width * n for n in (1, 4, 16, 32, 32)), dtype=config.precision
    )

    def distance(fake: Array, real: Array) -> Any:
        return l1(mels(fake), mels(real))

    # The paper's squares have no halves.
    game = vocoder(
        gen,
        disc,
        losses.least_squares(),
        distance,
        weight=2.0,
        closeness=config.closeness,
        accumulate=config.accumulate,
    )
    tx = optax.adam(optax.cosine_decay_schedule(config.lr, config.steps), b1=config.b1, b2=0.9)
    sounding = audible.Sounding(config.rate, audible.raw)
    return training.Recipe(
        game,
        tx,
        tx,
        ema_decay=half_life(config.ema_images, config.batch_size),
        show=audible.shown(sounding),
        sound=sounding,
    )


def setup(config: Config) -> training.Setup:
    mels = Mels(config.rate)
    if config.segment % mels.hop or not mels.n_fft < config.segment <= config.length:
        raise UserError(
            f"--segment {config.segment}: a multiple of {mels.hop}, above {mels.n_fft} and at most --length {config.length}"
        )
    if config.length % mels.hop or config.length < SHORTEST:
        near = max(SHORTEST, round(config.length / mels.hop) * mels.hop)
        raise UserError(f"--length {config.length}: a multiple of {mels.hop} from {SHORTEST} on, as {near}")
    learnt, test = sounds.load(
        config.data, rate=config.rate, length=config.length, loudness=config.loudness, every=config.every
    )

    def segments(batch: Batch, key: Any) -> dict[str, Any]:
        whole = jnp.asarray(batch["image"])
        places = jax.random.randint(key, (len(whole), 1), 0, whole.shape[1] - config.segment + 1)
        part = jnp.take_along_axis(whole, (places + jnp.arange(config.segment)[None])[..., None], 1)
        return {"image": part, "mel": mels.scaled(mels(part))}

    plain = learnt._replace(labels=None, classes=0, names=())
    inner = derived(
        data.source(plain, config.batch_size, config.seed), f"segments of {config.segment}, their mels", segments
    )
    # Kept with the run: another kind of mels would be made into noise.
    source = dataclasses.replace(inner, spec=inner.spec._replace(meta={"mels": mels._asdict()}))
    evaluate = vocoding.measures(test, mels, hearing.judges(learnt, test, mels, config.data))
    shown = np.asarray(test.images)[np.linspace(0, len(test.images) - 1, 16).astype(int)]
    return training.Setup(source, evaluate, {"image": shown, "mel": np.asarray(mels.scaled(mels(jnp.asarray(shown))))})


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)

"""WaveGAN on spoken digits: raw sounds, without mels and without a vocoder, by class.

Donahue et al. 2019, arXiv:1802.04208, with a quarter of the channels: convolutions of 25 samples with stride 4, phase shuffle, and the
Wasserstein loss with gradient penalty. Theirs takes 5 steps of D for each of G, and 200,000 of these. Results, where they are
kept: experiments/results/wavegan_digits.json.

    python -m experiments.wavegan_digits
    python -m experiments.wavegan_digits --data fsdd/ --seeds 3
    gan-jax sample runs/wavegan_digits --label 7 --count 20 --out sevens/
"""

import dataclasses

import optax

from gan_jax import data, losses, penalties, training
from gan_jax.config import FromSounds, Natural, Positive, Run
from gan_jax.data import sounds
from gan_jax.evaluation import hearing
from gan_jax.game import half_life
from gan_jax.games.adversarial import adversarial
from gan_jax.models import wavegan
from gan_jax.models.spectra import Mels
from gan_jax.training import cli
from gan_jax.types import Spec
from gan_jax.workdir import audible


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(FromSounds, Run):
    steps: int = 2_000
    """Rounds of the game: each `n_disc` discriminator steps and one generator step."""
    batch_size: int = 64
    """Real sounds of one discriminator step."""
    n_disc: int = 5
    """Discriminator steps of one round."""
    sample_every: Natural = 500
    """Steps between samples; 0 for the first and the last only."""
    evaluate_every: Natural = 500
    """Steps between evaluations; 0 for the last only."""
    width: int = 16
    """Channels of the generator's last but one layer and of the discriminator's first; 64 in the paper."""
    shuffle: Natural = 2
    """Samples by which D's layers are moved at most (phase shuffle)."""
    z_dim: int = 100
    """Dimension of the latent."""
    lr: Positive = 1e-4
    """Adam's learning rate, both sides; b1 is 0.5, b2 0.9."""
    ema_images: float = 20_000
    """Half-life, in sounds, of the averaged generator."""


def build(config: Config, spec: Spec) -> training.Recipe:
    gen = wavegan.Generator(spec.shape[0], config.width, spec.classes, dtype=config.precision)
    disc = wavegan.Discriminator(config.width, config.shuffle, spec.classes, dtype=config.precision)
    adam = optax.adam(config.lr, b1=0.5, b2=0.9)
    sounding = audible.Sounding(config.rate, audible.raw)
    return training.Recipe(
        game=adversarial(
            gen, disc, losses.wasserstein(), z_dim=config.z_dim, penalties=[(10.0, penalties.wgan_gp)],
            classes=spec.classes, accumulate=config.accumulate,
        ),
        gen_tx=adam,
        disc_tx=adam,
        n_disc=config.n_disc,
        ema_decay=half_life(config.ema_images, config.batch_size),
        show=audible.shown(sounding),
        sound=sounding,
    )  # fmt: skip


def setup(config: Config) -> training.Setup:
    wavegan.layers_of(config.length)  # which raises for lengths that it does not take
    learnt, test = sounds.load(
        config.data, rate=config.rate, length=config.length, loudness=config.loudness, every=config.every
    )
    evaluate = hearing.measures(
        learnt, test, Mels(config.rate), config.data, audible.raw, conditional=learnt.classes > 0
    )
    return training.Setup(data.source(learnt, config.batch_size * config.n_disc, config.seed), evaluate, 20)


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)

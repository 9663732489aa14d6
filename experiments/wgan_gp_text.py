"""WGAN-GP on lines of text, a character at a place: residual convolutions make all of a line at once.

Gulrajani et al. 2017, arXiv:1704.00028, section 5.4, with a quarter of the channels, shorter lines and ends of their own: G makes shares of
symbols, D is given these or ones and zeros, and what is read is the likeliest symbol of each place. Measured beside n-grams.
Results, where they are kept: experiments/results/wgan_gp_text.json.

    python -m experiments.wgan_gp_text
    python -m experiments.wgan_gp_text --data names.txt --seeds 3
    gan-jax sample runs/wgan_gp_text --count 100 --out names.txt
"""

import dataclasses

import numpy as np
import optax

from gan_jax import data, losses, penalties, training
from gan_jax.config import Natural, Positive, Run
from gan_jax.data import texts
from gan_jax.evaluation import reading
from gan_jax.game import half_life
from gan_jax.games.adversarial import adversarial
from gan_jax.models import text_resnet
from gan_jax.training import cli
from gan_jax.types import Spec
from gan_jax.workdir import legible


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Run):
    data: str = "syllables"
    """syllables (made by gan_jax); a text file, a line an example; a folder with train.txt and test.txt."""
    length: int = 12
    """Characters of a line; longer ones are left out, shorter ones end."""
    steps: int = 3_000
    """Rounds of the game: each `n_disc` discriminator steps and one generator step."""
    batch_size: int = 64
    """Real lines of one discriminator step."""
    n_disc: int = 5
    """Discriminator steps of one round."""
    sample_every: Natural = 500
    """Steps between samples; 0 for the first and the last only."""
    evaluate_every: Natural = 500
    """Steps between evaluations; 0 for the last only."""
    width: int = 128
    """Channels of both networks; 512 in the paper."""
    z_dim: int = 128
    """Dimension of the latent."""
    lr: Positive = 1e-4
    """Adam's learning rate, both sides; b1 is 0.5, b2 0.9."""
    ema_images: float = 10_000
    """Half-life, in lines, of the averaged generator."""


def build(config: Config, spec: Spec) -> training.Recipe:
    gen = text_resnet.Generator(spec.shape, config.width, dtype=config.precision)
    disc = text_resnet.Discriminator(config.width, dtype=config.precision)
    adam = optax.adam(config.lr, b1=0.5, b2=0.9)
    lines_of = texts.reader(spec)
    return training.Recipe(
        game=adversarial(
            gen, disc, losses.wasserstein(), z_dim=config.z_dim, penalties=[(10.0, penalties.wgan_gp)],
            accumulate=config.accumulate,
        ),
        gen_tx=adam,
        disc_tx=adam,
        n_disc=config.n_disc,
        ema_decay=half_life(config.ema_images, config.batch_size),
        show=legible.shown(lines_of),
        text=lines_of,
    )  # fmt: skip


def setup(config: Config) -> training.Setup:
    learnt, test = texts.load(config.data, length=config.length)
    held = texts.one_hot(learnt, config.length)
    source = data.source(held, config.batch_size * config.n_disc, config.seed)
    source = dataclasses.replace(source, spec=source.spec._replace(meta={"alphabet": learnt.alphabet}))
    evaluate = reading.measures(learnt, test, lambda samples: texts.decoded(np.asarray(samples), learnt.alphabet))
    return training.Setup(source, evaluate, 64)


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)

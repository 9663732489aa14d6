"""A GAN of texts by soft symbols: an LSTM's Gumbel-softmax, judged by convolutions, after some rounds of maximum likelihood.

Jang et al. 2017, arXiv:1611.01144, and as in RelGAN (Nie et al. 2019) the relativistic loss, hard symbols fed back, and a temperature that
falls: the sharpness rises from 1 to --sharpness. D is given hard symbols, whose gradient is that of the soft ones: else it need only
look how sharp they are, and G unlearns what it knew. Measured as `mle_names`, from which it starts, in effect. Results, where they are
kept: experiments/results/gumbel_names.json.

    python -m experiments.gumbel_names
    python -m experiments.gumbel_names --data names.txt --seeds 3
"""

import dataclasses

import jax
import numpy as np
import optax

from gan_jax import losses, training
from gan_jax.config import FromTexts, Natural, Positive, Run
from gan_jax.data import texts
from gan_jax.evaluation import reading
from gan_jax.game import half_life
from gan_jax.games.sequence import soft
from gan_jax.models import text_cnn
from gan_jax.models.lstm import LanguageModel
from gan_jax.optim import restarted
from gan_jax.training import cli
from gan_jax.types import PyTree, Spec
from gan_jax.workdir import legible

FILTERS = tuple((length, 64) for length in (2, 3, 4, 5))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(FromTexts, Run):
    likely: Natural = 3_000
    """Rounds of maximum likelihood before those of the game."""
    steps: int = 5_000
    """Rounds in all: each `n_disc` discriminator steps and one generator step."""
    batch_size: int = 128
    """Lines of one step."""
    n_disc: int = 1
    """Discriminator steps of one round."""
    ahead: Natural = 100
    """Rounds in which D learns before G follows it."""
    sample_every: Natural = 1_000
    """Steps between samples; 0 for the first and the last only."""
    evaluate_every: Natural = 1_000
    """Steps between evaluations; 0 for the last only."""
    width: int = 256
    """Numbers in the state of the LSTM."""
    embedding: int = 64
    """Numbers that stand for a symbol."""
    sharpness: Positive = 10.0
    """1 / temperature of the soft symbols at the end of the run; 1 when the game begins."""
    lr: Positive = 1e-3
    """Adam's learning rate while the likelihood is maximised."""
    game_lr: Positive = 1e-4
    """Adam's learning rate in the game, both sides."""
    ema_images: float = 10_000
    """Half-life, in lines, of the averaged generator."""


def build(config: Config, spec: Spec) -> training.Recipe:
    symbols, game_rounds = spec.meta["symbols"], max(1, config.steps - config.likely)
    gen = LanguageModel(
        symbols, config.width, config.embedding, start=symbols, end=symbols - 1 if spec.meta["ends"] else -1,
        dtype=config.precision,
    )  # fmt: skip
    disc = text_cnn.Discriminator(symbols, FILTERS, dtype=config.precision)

    def sharpness(step: jax.Array) -> jax.Array:
        return config.sharpness ** (step / game_rounds)

    def rate(step: jax.Array) -> jax.Array:
        return jax.numpy.where(step < config.likely, config.lr, config.game_lr)

    lines_of = texts.reader(spec)
    return training.Recipe(
        game=soft(
            gen, disc, losses.relativistic_paired(), likely=config.likely, ahead=config.ahead, sharpness=sharpness, hard=True
        ),
        gen_tx=optax.chain(optax.clip_by_global_norm(5.0), optax.adam(rate)),
        disc_tx=restarted(optax.adam(config.game_lr), [max(0, config.likely - config.ahead) * config.n_disc]),
        n_disc=config.n_disc,
        ema_decay=half_life(config.ema_images, config.batch_size),
        show=legible.shown(lines_of),
        text=lines_of,
    )  # fmt: skip


def setup(config: Config) -> training.Setup:
    learnt, test = texts.load(config.data, length=config.length, unit=config.unit, stream=config.stream)
    source = texts.source_of(learnt, config.batch_size * config.n_disc, config.seed)

    def lines_of(samples: PyTree) -> list[str]:  # as they are counted: a character a word
        return texts.decoded(np.asarray(samples), learnt.alphabet)

    return training.Setup(source, reading.measures(learnt, test, lines_of, likely=True, first="js_3"), 64)


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)

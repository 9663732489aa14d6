"""SeqGAN on its oracle: an LSTM with random weights writes sequences, and so it is known how likely is what a generator writes.

Yu et al. 2017, arXiv:1609.05473, sections 3 and 4: maximum likelihood, then the policy gradient with 16 rollouts, clipped at 5. Shorter
and smaller than there: D has a quarter of the filters, no decay of its last layer, and four steps a round instead of 2,340;
6,000 rounds of likelihood and 150 of the game instead of 18,720 and 200; G's loss is a mean over sequences instead of their sum.
--way mle goes on by maximum likelihood instead. The
first measure falls for a generator that repeats itself: so the likelihood of the oracle's sequences stands beside it, at
several temperatures. Results, where they are kept: experiments/results/seqgan_oracle_*.json.

    python -m experiments.seqgan_oracle --symbols 50 --likely 300 --steps 400
    python -m experiments.seqgan_oracle --seeds 3
    python -m experiments.seqgan_oracle --seeds 3 --way mle
"""

import dataclasses
from typing import Any, Literal

import numpy as np
import optax

from gan_jax import losses, training
from gan_jax.config import Natural, Positive, Run
from gan_jax.data import texts
from gan_jax.evaluation import oracle
from gan_jax.games.sequence import likelihood, reinforce
from gan_jax.models import text_cnn
from gan_jax.models.lstm import LanguageModel
from gan_jax.optim import restarted
from gan_jax.training import cli
from gan_jax.types import PyTree, Spec
from gan_jax.workdir import legible


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Run):
    way: Literal["seqgan", "mle"] = "seqgan"
    """seqgan: the game after the likelihood; mle: the likelihood all along."""
    symbols: int = 5_000
    """Size of the vocabulary."""
    length: int = 20
    """Symbols of a sequence."""
    sequences: int = 9_984
    """Number of sequences that are learnt from, and of those held out."""
    oracle: Natural = 0
    """Seed of the oracle and of what it writes, the same for every seed of the run."""
    likely: Natural = 6_000
    """Rounds of maximum likelihood before those of the game."""
    steps: int = 6_150
    """Rounds in all: each `n_disc` discriminator steps and one generator step."""
    batch_size: int = 64
    """Sequences of one step."""
    n_disc: int = 4
    """Discriminator steps of one round; none in those of maximum likelihood but the last."""
    ahead: Natural = 300
    """Rounds in which D learns before G follows it."""
    rollouts: int = 16
    """Ends that are drawn of every beginning, for its reward."""
    sample_every: Natural = 1_000
    """Steps between samples; 0 for the first and the last only."""
    evaluate_every: Natural = 1_000
    """Steps between evaluations; 0 for the last only."""
    width: int = 32
    """Numbers in the state of the LSTM, and that stand for a symbol; the oracle has as many."""
    lr: Positive = 1e-2
    """Adam's learning rate of G."""
    disc_lr: Positive = 1e-4
    """Adam's learning rate of D."""


def build(config: Config, spec: Spec) -> training.Recipe:
    symbols = spec.meta["symbols"]
    gen = LanguageModel(symbols, config.width, config.width, std=0.1, dtype=config.precision)
    filters = [(length, channels // 4) for length, channels in text_cnn.PUBLISHED]
    disc = text_cnn.Discriminator(symbols, filters, dtype=config.precision)
    game: Any = (
        likelihood(gen)
        if config.way == "mle"
        else reinforce(
            gen, disc, losses.non_saturating(), likely=config.likely, ahead=config.ahead, rollouts=config.rollouts
        )
    )
    begins = max(0, config.likely - config.ahead) * config.n_disc

    def written(samples: PyTree) -> list[str]:
        return [" ".join(map(str, row)) for row in np.asarray(samples)]

    return training.Recipe(
        game=game,
        gen_tx=optax.chain(optax.clip_by_global_norm(5.0), optax.adam(config.lr)),
        disc_tx=optax.sgd(0.0) if config.way == "mle" else restarted(optax.adam(config.disc_lr), [begins]),
        n_disc=1 if config.way == "mle" else config.n_disc,
        show=legible.shown(written),
        text=written,
    )


def setup(config: Config) -> training.Setup:
    writer = oracle.Oracle(config.symbols, config.length, config.oracle, config.width)
    learnt, test = (writer.sequences(config.sequences, part) for part in (0, 1))
    steps = 1 if config.way == "mle" else config.n_disc
    source = texts.tokens(learnt, config.batch_size * steps, config.seed, f"oracle {config.oracle}", {})
    source = dataclasses.replace(source, spec=source.spec._replace(meta={"symbols": config.symbols}))
    return training.Setup(source, oracle.measures(writer, test), 8)


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)

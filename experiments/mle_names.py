"""Maximum likelihood of lines of text, a character or word after another, by an LSTM: what a GAN of texts must stand beside.

No discriminator. Measured beside n-grams, at several temperatures; a line that is begun can be completed. Results, where they are
kept: experiments/results/mle_names_*.json.

    python -m experiments.mle_names
    python -m experiments.mle_names --data names.txt --seeds 3
    python -m experiments.mle_names --data tinyshakespeare.txt --stream --length 32
    gan-jax sample runs/mle_names --begin ka --count 20 --out ka.txt
"""

import dataclasses

import numpy as np
import optax

from gan_jax import training
from gan_jax.config import FromTexts, Natural, Positive, Run
from gan_jax.data import texts
from gan_jax.evaluation import reading
from gan_jax.game import half_life
from gan_jax.games.sequence import likelihood
from gan_jax.models.lstm import LanguageModel
from gan_jax.training import cli
from gan_jax.types import PyTree, Spec
from gan_jax.workdir import legible


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(FromTexts, Run):
    steps: int = 4_000
    """Rounds, each one step of G."""
    batch_size: int = 128
    """Lines of one step."""
    sample_every: Natural = 1_000
    """Steps between samples; 0 for the first and the last only."""
    evaluate_every: Natural = 1_000
    """Steps between evaluations; 0 for the last only."""
    width: int = 256
    """Numbers in the state of the LSTM."""
    embedding: int = 64
    """Numbers that stand for a symbol."""
    lr: Positive = 1e-3
    """Adam's learning rate."""
    decay: float = 0.1
    """Weight decay, of which the learning rate's part is subtracted (AdamW)."""
    ema_images: float = 10_000
    """Half-life, in lines, of the averaged generator."""


def build(config: Config, spec: Spec) -> training.Recipe:
    symbols = spec.meta["symbols"]
    gen = LanguageModel(
        symbols, config.width, config.embedding, start=symbols, end=symbols - 1 if spec.meta["ends"] else -1,
        dtype=config.precision,
    )  # fmt: skip
    lines_of = texts.reader(spec)
    return training.Recipe(
        game=likelihood(gen),
        gen_tx=optax.chain(optax.clip_by_global_norm(5.0), optax.adamw(config.lr, weight_decay=config.decay)),
        disc_tx=optax.sgd(0.0),
        ema_decay=half_life(config.ema_images, config.batch_size),
        show=legible.shown(lines_of),
        text=lines_of,
    )


def setup(config: Config) -> training.Setup:
    learnt, test = texts.load(config.data, length=config.length, unit=config.unit, stream=config.stream)
    source = texts.source_of(learnt, config.batch_size, config.seed)

    def lines_of(samples: PyTree) -> list[str]:  # as they are counted: a character a word
        return texts.decoded(np.asarray(samples), learnt.alphabet)

    return training.Setup(source, reading.measures(learnt, test, lines_of, likely=True), 64)


def main(config: Config) -> None:
    training.run(config, build, setup(config))


if __name__ == "__main__":
    cli.run(main, Config)

"""The other two ways in which batch norm can make samples: with the statistics of each batch, and with those of many
batches of the very generator that is sampled.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.game import Average, Game, Player, State
from gan_jax.types import Batch, PyTree, Spec, UserError

ROWS = 100  # of a batch
BATCHES = 50  # of which standing statistics are gathered


def batch_samples(game: Game, generator: Average, spec: Spec, count: int, seed: int) -> np.ndarray:
    """[count ...] samples, each batch of 100 normalised by its own statistics; labels are the classes in turn. UserError for a game that draws
    no fakes of its own, or more than an array of them.
    """
    draw = _drawing(game, generator.params, spec)
    parts = []
    for i in range(-(-count // ROWS)):
        fake = draw(generator.stats, jax.random.fold_in(jax.random.key(seed), i), i * ROWS)[0]
        if not hasattr(fake, "shape"):
            raise UserError("this game's fakes are more than an array of samples: only running statistics can be used")
        parts.append(np.asarray(fake))
    return np.concatenate(parts)[:count]


def standing(game: Game, generator: Average, spec: Spec, seed: int = 0) -> Average:
    """The generator with the statistics of 50 batches of 100 in the place of its running ones (Brock et al. 2019,
    arXiv:1809.11096, appendix C, "standing statistics").

    A running statistic s <- m s + (1 - m) b is played once from 0 and once from 1: the difference of the two is m^K, from
    which, whatever m is, the mean of the b with the same weights is s / (1 - m^K).
    """
    draw = _drawing(game, generator.params, spec)

    def gathered(start: float) -> PyTree:
        stats = jax.tree.map(lambda x: jnp.full_like(x, start), generator.stats)
        for i in range(BATCHES):
            stats = draw(stats, jax.random.fold_in(jax.random.key(seed), i), 0)[1]
        return stats

    zero, one = gathered(0.0), gathered(1.0)
    return Average(generator.params, jax.tree.map(lambda low, high: low / (1 - (high - low)), zero, one))


def _drawing(game: Game, params: PyTree, spec: Spec) -> Any:
    """(stats, key, first) -> a batch of fakes in training mode, its labels the classes in turn from row `first` on, and the
    statistics after it.
    """
    fakes = game.fakes
    if fakes is None:
        raise UserError("this game makes its fakes inside its losses: only running statistics can be used")
    nobody = Player(params={}, stats={}, opt=())

    @jax.jit
    def draw(stats: PyTree, key: jax.Array, first: int) -> tuple[jax.Array, PyTree]:
        blank: Batch = spec.blank(ROWS)
        if spec.classes:
            blank = {**blank, "label": (first + jnp.arange(ROWS)) % spec.classes}
        side = Player(params=params, stats=stats, opt=())
        state = State(step=jnp.int32(0), gen=side, disc=nobody, ema=Average(params, stats), aux={})
        return fakes(params, state, blank, key)

    return draw

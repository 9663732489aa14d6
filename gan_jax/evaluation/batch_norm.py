"""Alternatives to running averages for sampling with batch norm: the statistics of each batch, and standing statistics
over many batches of the generator that is sampled.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.game import Average, Game, Player, State
from gan_jax.types import Batch, PyTree, Spec, UserError

ROWS = 100  # rows of a batch
BATCHES = 50  # batches from which standing statistics are gathered


def batch_samples(game: Game, generator: Average, spec: Spec, count: int, seed: int) -> np.ndarray:
    """Returns samples [count ...], each batch of 100 normalised by its own statistics; labels are the classes in turn.

    Raises UserError for a game without `fakes`, or whose fakes are not a single array.
    """
    draw = _drawing(game, generator.params, spec)
    parts = []
    for i in range(-(-count // ROWS)):
        fake = draw(generator.stats, jax.random.fold_in(jax.random.key(seed), i), i * ROWS)[0]
        if not hasattr(fake, "shape"):
            raise UserError("this game's fakes are more than an array of samples: only running statistics can be used")
        parts.append(np.asarray(fake))
    return np.concatenate(parts)[:count]


def standing(
    game: Game, generator: Average, spec: Spec, seed: int = 0, batch: Callable[[jax.Array], Batch] | None = None
) -> Average:
    """Returns the generator with standing statistics, of 50 batches of 100, in place of its running averages (Brock et
    al. 2019, arXiv:1809.11096, appendix C). `batch(key)` adds to what is known of the rows, [100 ...]: truncated z.

    The running average s <- m s + (1 - m) b is computed over K batches, once from 0 and once from 1. The difference of
    the two results is m^K, which gives, for any momentum m, the weighted mean of the b as s / (1 - m^K), with s started
    from 0. The vectors of spectral norm stay as they are. Raises UserError for a game without `fakes`.
    """
    draw = _drawing(game, generator.params, spec, batch)

    def gathered(start: float) -> PyTree:
        stats = _in_batch_norms(lambda x: jnp.full_like(x, start), generator.stats)
        for i in range(BATCHES):
            now = draw(stats, jax.random.fold_in(jax.random.key(seed), i), 0)[1]
            stats = _in_batch_norms(lambda _, new: new, stats, now)
        return stats

    zero, one = gathered(0.0), gathered(1.0)
    return Average(generator.params, _in_batch_norms(lambda low, high: low / (1 - (high - low)), zero, one))


def _in_batch_norms(fn: Callable, stats: PyTree, *others: PyTree) -> PyTree:
    """The statistics with `fn` applied to the means and variances of batch norm."""

    def at(path: tuple, *leaves: jax.Array) -> jax.Array:
        return fn(*leaves) if str(getattr(path[-1], "key", "")) in ("mean", "var") else leaves[0]

    return jax.tree_util.tree_map_with_path(at, stats, *others)


def _drawing(game: Game, params: PyTree, spec: Spec, more: Callable[[jax.Array], Batch] | None = None) -> Any:
    """Compiled (stats, key, first) -> a batch of fakes in training mode, and the statistics after it. Labels are the
    classes in turn, from row `first` on.
    """
    fakes = game.fakes
    if fakes is None:
        raise UserError("this game makes its fakes inside its losses: only running statistics can be used")
    no_player = Player(params={}, stats={}, opt=())

    @jax.jit
    def draw(stats: PyTree, key: jax.Array, first: int) -> tuple[jax.Array, PyTree]:
        blank: Batch = spec.blank(ROWS)
        if spec.classes:
            blank = {**blank, "label": (first + jnp.arange(ROWS)) % spec.classes}
        if more is not None:
            blank = {**blank, **more(jax.random.fold_in(key, 1))}
        side = Player(params=params, stats=stats, opt=())
        state = State(step=jnp.int32(0), gen=side, disc=no_player, ema=Average(params, stats), aux={})
        return fakes(params, state, blank, key)

    return draw

"""Alternatives to running averages for sampling with batch norm: the statistics of each batch, and standing statistics
over many batches of the generator that is sampled.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.game import Average
from gan_jax.types import Batch, PyTree, UserError
from gan_jax.workdir.sampler import Sampler

ROWS = 100  # rows of a batch
BATCHES = 50  # batches from which standing statistics are gathered


def batch_normed(generator: Average) -> bool:
    """Returns whether the generator has statistics of batch norm."""
    return any(_of_batch_norm(path) for path, _ in jax.tree.leaves_with_path(generator.stats))


def batch_samples(sampler: Sampler, count: int, seed: int) -> np.ndarray:
    """Returns samples [count ...], each batch of 100 normalised by its own statistics; labels are the classes in turn.

    Raises UserError for a game without `fakes`, or whose fakes are not a single array.
    """
    parts = []
    for i in range(-(-count // ROWS)):
        fake = _fakes(sampler, sampler.own, jax.random.fold_in(jax.random.key(seed), i), i)[0]
        if not hasattr(fake, "shape"):
            raise UserError("this game's fakes are more than an array of samples: only running statistics can be used")
        parts.append(np.asarray(fake))
    return np.concatenate(parts)[:count]


def standing(sampler: Sampler, seed: int = 0, more: Callable[[jax.Array], Batch] | None = None) -> Average:
    """Returns the generator with standing statistics, of 50 batches of 100, in place of its running averages (Brock et
    al. 2019, arXiv:1809.11096, appendix C). Labels are the classes in turn; `more(key)` adds to what is known of the
    rows, [100 ...]: truncated z.

    The running average s <- m s + (1 - m) b is computed over K batches from 0, and divided by 1 - m^K: the weighted mean of
    the b. m is found from one batch, as the difference of two results, from 1 and from 0. The vectors of spectral norm
    stay as they are; so does a generator without batch norm. Raises UserError for a game without `fakes`.
    """
    own, key = sampler.own, jax.random.key(seed)
    if not batch_normed(own):
        return own

    def after(stats: PyTree, i: int) -> PyTree:
        step_key = jax.random.fold_in(key, i)
        known = None if more is None else more(jax.random.fold_in(step_key, 1))
        now = _fakes(sampler, Average(own.params, stats), step_key, i, known)[1]
        return _in_batch_norms(lambda _, new: new, stats, now)

    zero, one = (_in_batch_norms(lambda x, at=at: jnp.full_like(x, at), own.stats) for at in (0.0, 1.0))
    kept = _in_batch_norms(lambda low, high: high - low, after(zero, 0), after(one, 0))  # m
    for i in range(BATCHES):
        zero = after(zero, i)
    return Average(own.params, _in_batch_norms(lambda low, m: low / (1 - m**BATCHES), zero, kept))


def _fakes(sampler: Sampler, generator: Average, key: jax.Array, number: int, known: Any = None) -> Any:
    """The fakes of batch `number` in training mode, and the statistics after it."""
    batch: Batch = sampler.spec.blank(ROWS)
    if sampler.spec.classes:
        batch = {**batch, "label": (number * ROWS + jnp.arange(ROWS, dtype=jnp.int32)) % sampler.spec.classes}
    return sampler.programs.fakes(generator, sampler.values, key, {**batch, **(known or {})})


def _of_batch_norm(path: tuple) -> bool:
    return str(getattr(path[-1], "key", "")) in ("mean", "var") and "BatchNorm" in str(path)


def _in_batch_norms(fn: Callable, stats: PyTree, *others: PyTree) -> PyTree:
    """The statistics with `fn` applied to the means and variances of batch norm."""

    def at(path: tuple, *leaves: jax.Array) -> jax.Array:
        return fn(*leaves) if _of_batch_norm(path) else leaves[0]

    return jax.tree_util.tree_map_with_path(at, stats, *others)

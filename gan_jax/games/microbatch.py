"""Microbatches: a batch in equal parts, one after another, to hold the activations of one part only in memory."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.types import Key, PyTree


def in_parts(
    apply: Callable[[PyTree, Key], tuple[Any, PyTree]], parts: int, rows: PyTree, key: Key
) -> tuple[Any, PyTree]:
    """Applies `apply(rows, key) -> (out, stats)` to `parts` interleaved parts of the rows [b ...]; joins `out`,
    averages `stats`.

    `out` is that of the whole batch where each of its rows depends on that row only, and `apply` uses no randomness.
    One part is a plain call of `apply`. The activations of a part are dropped and computed again for its gradient, so a
    batch needs the memory of one part, and a third more time. What is computed from `out`, such as a loss, is of the
    whole batch. The parts are interleaved so that rows that are split over devices stay where they are. Raises
    ValueError where the number of rows is not a multiple of `parts`.
    """
    if parts == 1:
        return apply(rows, key)
    if counts := {x.shape[0] for x in jax.tree.leaves(rows) if x.shape[0] % parts}:
        raise ValueError(f"accumulate={parts} needs batches whose rows are a multiple of it; got {sorted(counts)} rows")
    split = jax.tree.map(lambda x: x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1), rows)  # [b ...] -> [p b/p ...]
    out, stats = jax.lax.map(jax.checkpoint(lambda part: apply(*part)), (split, jax.random.split(key, parts)))
    out = jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(-1, *x.shape[2:]), out)  # [p b/p ...] -> [b ...]
    return out, jax.tree.map(lambda x: jnp.mean(x, 0), stats)

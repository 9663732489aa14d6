"""A batch in equal parts, one after another: a network's activations are then those of one part only."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gan_jax.types import Key, PyTree


def in_parts(
    apply: Callable[[PyTree, Key], tuple[Any, PyTree]], parts: int, rows: PyTree, key: Key
) -> tuple[Any, PyTree]:
    """`apply(rows, key) -> (out, stats)` for `parts` interleaved parts of the rows [b ...], of which it is a row's own
    function; `out` is put together again, `stats` are averaged. One part is `apply` itself.

    Each part's activations are dropped and computed anew for its gradient, so a batch costs the memory of one part, and
    a third more time. What is computed from `out`, such as a loss, sees the whole batch. Interleaved, because rows that
    are split over devices then stay where they are.
    """
    if parts == 1:
        return apply(rows, key)
    if counts := {x.shape[0] for x in jax.tree.leaves(rows) if x.shape[0] % parts}:
        raise ValueError(f"accumulate={parts} needs batches whose rows are a multiple of it; got {sorted(counts)} rows")
    split = jax.tree.map(lambda x: x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1), rows)  # [b ...] -> [p b/p ...]
    out, stats = jax.lax.map(jax.checkpoint(lambda part: apply(*part)), (split, jax.random.split(key, parts)))
    out = jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(-1, *x.shape[2:]), out)  # [p b/p ...] -> [b ...]
    return out, jax.tree.map(lambda x: jnp.mean(x, 0), stats)

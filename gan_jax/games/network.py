"""Components of games: a linen module as a pure function of its parameters, and metrics of logits and samples."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.games.microbatch import in_parts
from gan_jax.types import Array, Key, Metrics, PyTree, at_least_float32


def network(module: nn.Module, parts: int = 1, **options: Any) -> Callable[..., tuple[Any, PyTree]]:
    """Returns `apply(params, stats, key, *rows) -> (out, stats)`, which applies the module in training mode to the
    rows, each [b ...] or None, and returns its new statistics too. `key` is for dropout. The module processes `parts`
    equal parts of the rows one after another (`microbatch.in_parts`). `options` are given to it at every call.
    """

    def apply(params: PyTree, stats: PyTree, key: Key, *rows: Any) -> tuple[Any, PyTree]:
        def one(rows: tuple, key: Key) -> Any:
            variables = {"params": params, **stats}
            return module.apply(variables, *rows, train=True, mutable=list(stats), rngs={"dropout": key}, **options)

        return in_parts(one, parts, rows, key)

    return apply


def batch_normed(variables: PyTree) -> bool:
    """Returns whether a network with these variables has batch norm. (Virtual batch norm, and spectral norm, which keeps
    its vectors in the same collection, do not couple rows.)
    """
    names = [str(path).replace("VirtualBatchNorm", "") for path, _ in jax.tree.leaves_with_path(variables)]
    return any("BatchNorm" in name for name in names)


def couples_rows(module: nn.Module, variables: PyTree) -> bool:
    """Returns whether the logit of a row depends on the other rows of its batch: the `couples_rows` of the module or,
    where it has none, whether it has batch norm.
    """
    declared = getattr(module, "couples_rows", None)
    return batch_normed(variables) if declared is None else bool(declared)


def logit_metrics(real: Array, fake: Array) -> Metrics:
    """Returns metrics of the logits [b ...] of real and of fake examples.

    Their means are "disc/real" and "disc/fake"; monitors are the difference, "gap", and the shares of real logits above
    and of fake logits below the midpoint of the two means, "real_accuracy" and "fake_accuracy". The midpoint is used
    because 0 means nothing for a Wasserstein critic or a relativistic D.
    """
    # One reduction for both means, one for both accuracies: over devices each reduction is a message.
    real_mean, fake_mean = _means(real, fake)
    middle = (real_mean + fake_mean) / 2
    real_accuracy, fake_accuracy = _means((real > middle).astype(middle.dtype), (fake < middle).astype(middle.dtype))
    return {
        "disc/real": real_mean,
        "disc/fake": fake_mean,
        "monitor/disc/gap": real_mean - fake_mean,
        "monitor/disc/real_accuracy": real_accuracy,
        "monitor/disc/fake_accuracy": fake_accuracy,
    }


def diversity(real: Array, fake: Array) -> Metrics:
    """Returns the variance of the fakes' entries over that of the real examples, each [b ...] and estimated from pairs
    of rows.
    """
    real_spread, fake_spread = _means(_spread(real), _spread(fake))
    return {"monitor/gen/diversity": fake_spread / jnp.maximum(real_spread, 2e-12)}


def interleave(x: Array, y: Array) -> jax.Array:
    """Joins [b ...] and [b ...] to [2b ...], row by row, so that rows split over devices stay where they are."""
    return jnp.stack([x, y], 1).reshape(-1, *x.shape[1:])


def _spread(x: Array) -> jax.Array:
    """[b ...] -> mean squared differences [b/2] of neighbouring rows, which are on one device; 1 for a single row."""
    pairs = x.shape[0] // 2
    if not pairs:
        return jnp.ones(1, x.dtype)
    x = x[: 2 * pairs].reshape(pairs, 2, -1)  # [b ...] -> [b/2 2 n]
    return jnp.mean((x[:, 0] - x[:, 1]) ** 2, axis=1)


def _means(a: Array, b: Array) -> jax.Array:
    """[b ...] and [b ...] -> their means [2]"""
    return at_least_float32(jnp.stack([a.reshape(-1), b.reshape(-1)], axis=1)).mean(axis=0)

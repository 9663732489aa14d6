"""What games are made of: a linen module as a pure function of its parameters, and what is told of logits and samples."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.games.microbatch import in_parts
from gan_jax.types import Array, Key, Metrics, PyTree, at_least_float32


def network(module: nn.Module, parts: int = 1) -> Callable[..., tuple[Any, PyTree]]:
    """`apply(params, stats, key, *rows) -> (out, stats)`: the module in training mode, called with the rows, each [b ...] or
    None, and the statistics after it. `key` is for dropout. The module is run on `parts` equal parts of the rows one after
    another (`microbatch.in_parts`).
    """

    def apply(params: PyTree, stats: PyTree, key: Key, *rows: Any) -> tuple[Any, PyTree]:
        def one(rows: tuple, key: Key) -> Any:
            variables = {"params": params, **stats}
            return module.apply(variables, *rows, train=True, mutable=list(stats), rngs={"dropout": key})

        return in_parts(one, parts, rows, key)

    return apply


def batch_normed(variables: PyTree) -> bool:
    """Whether a network with these variables has batch norm. (Spectral norm keeps its vectors in the same collection, and
    leaves the rows alone.)
    """
    return any("BatchNorm" in str(path) for path, _ in jax.tree.leaves_with_path(variables))


def couples_rows(module: nn.Module, variables: PyTree) -> bool:
    """Whether the logit of a row depends on the other rows of its batch: as the module says (`couples_rows`), or, where it
    says nothing, whether it has batch norm.
    """
    said = getattr(module, "couples_rows", None)
    return batch_normed(variables) if said is None else bool(said)


def logit_metrics(real: Array, fake: Array) -> Metrics:
    """Of logits [b ...] of real and of fake examples: their means, "disc/real" and "disc/fake", and as monitors their
    difference, "gap", and the shares of real ones above and of fake ones below the middle of the two means, "real_accuracy"
    and "fake_accuracy", since the zero of a Wasserstein critic or a relativistic D means nothing.
    """
    # One sum for both, and one for both accuracies: over devices each is a message of its own.
    real_mean, fake_mean = _means(real, fake)
    middle = (real_mean + fake_mean) / 2
    real_accuracy, fake_accuracy = _means(real > middle, fake < middle)
    return {
        "disc/real": real_mean,
        "disc/fake": fake_mean,
        "monitor/disc/gap": real_mean - fake_mean,
        "monitor/disc/real_accuracy": real_accuracy,
        "monitor/disc/fake_accuracy": fake_accuracy,
    }


def diversity(real: Array, fake: Array) -> Metrics:
    """The variance of the fakes' entries, taken from pairs of rows, beside that of the real examples, each [b ...]."""
    real_spread, fake_spread = _means(_spread(real), _spread(fake))
    return {"monitor/gen/diversity": fake_spread / jnp.maximum(real_spread, 2e-12)}


def interleave(x: Array, y: Array) -> jax.Array:
    """[b ...] and [b ...] -> [2b ...], row by row, so that rows which are split over devices stay where they are."""
    return jnp.stack([x, y], 1).reshape(-1, *x.shape[1:])


def _spread(x: Array) -> jax.Array:
    """[b ...] -> the mean squared distances [b/2] of rows that stand side by side, on one device; 1 of a single row."""
    pairs = x.shape[0] // 2
    x = x[: 2 * pairs].reshape(pairs, 2, -1)  # [b ...] -> [b/2 2 n]
    return jnp.mean((x[:, 0] - x[:, 1]) ** 2, axis=1) if pairs else jnp.ones(1)


def _means(a: Array, b: Array) -> jax.Array:
    """[b ...] and [b ...] -> their means [2]"""
    return at_least_float32(jnp.stack([a.reshape(-1), b.reshape(-1)], axis=1)).mean(axis=0)

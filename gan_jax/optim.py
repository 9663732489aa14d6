"""Optimiser components for GANs that optax lacks, as optax transforms, so that the update step has no special cases."""

from collections.abc import Collection

import jax
import jax.numpy as jnp
import optax


def clip_weights(limit: float | jax.Array) -> optax.GradientTransformation:
    """Keeps every parameter in [-limit, limit]; it must be the last transform of an `optax.chain`.

    u <- clip(p + u, -limit, limit) - p, so that p + u is in the range up to rounding. Raises ValueError where `limit`
    is not positive, and in an update without the parameters. Arjovsky et al. 2017, arXiv:1701.07875, algorithm 1, line
    7 (limit 0.01).
    """
    if not isinstance(limit, jax.Array) and not limit > 0:  # an array is a value of a sweep
        raise ValueError(f"limit must be positive, got {limit}; the paper's is 0.01")

    def update(
        updates: optax.Updates, state: optax.EmptyState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.EmptyState]:
        if params is None:
            raise ValueError("clip_weights needs the parameters: tx.update(updates, state, params)")
        return jax.tree.map(lambda u, p: jnp.clip(p + u, -limit, limit) - p, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def frozen(tx: optax.GradientTransformation, layers: Collection[str]) -> optax.GradientTransformation:
    """Returns `tx` with no update of the parameters under these names of the first level; its state is that of `tx`.

    For D's first layers it is FreezeD: Mo et al. 2020, arXiv:2002.10964, section 3.
    """

    def update(updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None) -> tuple:
        moved, state = tx.update(updates, state, params)
        still = {name: jax.tree.map(jnp.zeros_like, x) if name in layers else x for name, x in moved.items()}
        return still, state

    return optax.GradientTransformation(tx.init, update)

"""Optimiser components for GANs that optax lacks, as optax transforms, so that the update step has no special cases."""

from collections.abc import Collection
from typing import Any, NamedTuple

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


class HistoricalState(NamedTuple):
    """The running mean of the parameters, and of how many rounds it is."""

    rounds: jax.Array
    mean: optax.Params


def historical_averaging(weight: float | jax.Array) -> optax.GradientTransformation:
    """Adds the gradient of weight |p - m|^2, with m the mean of the parameters of all rounds so far, this one included;
    it must be the first transform of an `optax.chain`, before the optimiser.

    g <- g + 2 weight (p - m), with m a constant. m is the mean itself, not one that starts at zero: parameters that never
    move have no gradient. Raises ValueError in an update without the parameters. Salimans et al. 2016,
    arXiv:1606.03498, section 3.3, which prints no weight.
    """

    def init(params: optax.Params) -> HistoricalState:
        return HistoricalState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params))

    def update(
        updates: optax.Updates, state: HistoricalState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, HistoricalState]:
        if params is None:
            raise ValueError("historical_averaging needs the parameters: tx.update(updates, state, params)")
        rounds = state.rounds + 1
        mean = jax.tree.map(lambda m, p: m + (p - m) / rounds.astype(p.dtype), state.mean, params)
        updates = jax.tree.map(lambda u, p, m: u + 2 * weight * (p - m), updates, params, mean)
        return updates, HistoricalState(rounds, mean)

    return optax.GradientTransformation(init, update)


def orthogonal_regularisation(weight: float | jax.Array, without: Collection[str] = ()) -> optax.GradientTransformation:
    """Adds the gradient of weight/2 |W W^T o (1 - I)|_F^2 for the matrix W [outputs inputs] of every kernel; it must be the
    first transform of an `optax.chain`, before the optimiser.

    g <- g + 2 weight (W W^T o (1 - I)) W: filters are made orthogonal, and their lengths left alone. Kernels [.. i o] have
    a row for each of their outputs; vectors, and what lies under a name in `without` (embeddings), are left out. Raises
    ValueError in an update without the parameters. Brock et al. 2019, arXiv:1809.11096, equation 3, with 1e-4 and the
    authors' factor.
    """

    def update(
        updates: optax.Updates, state: optax.EmptyState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.EmptyState]:
        if params is None:
            raise ValueError("orthogonal_regularisation needs the parameters: tx.update(updates, state, params)")

        def add(path: tuple, u: Any, p: Any) -> Any:
            if p.ndim < 2 or any(getattr(key, "key", None) in without for key in path):
                return u
            w = p.reshape(-1, p.shape[-1])  # [i o]
            other = w.T @ w
            return u + 2 * weight * (w @ (other - jnp.diag(jnp.diag(other)))).reshape(p.shape)

        return jax.tree_util.tree_map_with_path(add, updates, params), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


class RestartedState(NamedTuple):
    """How many rounds were played, and the state of the optimiser that begins anew."""

    rounds: jax.Array
    inner: optax.OptState


def restarted(tx: optax.GradientTransformation, at: Collection[int]) -> optax.GradientTransformation:
    """Returns `tx`, whose state is as at its beginning before each of these steps, counted from 0.

    Progressive growing begins anew with each level (Karras et al. 2018, arXiv:1710.10196, appendix A.1): Adam's first
    step of parameters that had no gradient for long would be up to (1 - b1) / sqrt(1 - b2) learning rates.
    """

    def init(params: optax.Params) -> RestartedState:
        return RestartedState(jnp.zeros((), jnp.int32), tx.init(params))

    def update(updates: optax.Updates, state: RestartedState, params: optax.Params | None = None) -> tuple:
        if params is None:
            raise ValueError("restarted needs the parameters: tx.update(updates, state, params)")
        due = jnp.isin(state.rounds, jnp.asarray(sorted(at), jnp.int32))
        inner = jax.tree.map(lambda fresh, now: jnp.where(due, fresh, now), tx.init(params), state.inner)
        updates, inner = tx.update(updates, inner, params)
        return updates, RestartedState(state.rounds + 1, inner)

    return optax.GradientTransformation(init, update)


def constant_then_linear(rate: float | jax.Array, steps: int) -> optax.Schedule:
    """Returns step -> `rate` in the first half of `steps`, and then along a line to 0 at their end, as pix2pix, CycleGAN and CUT
    train (Zhu et al. 2017, arXiv:1703.10593, section 4), there in epochs.
    """
    half = steps // 2
    falling = optax.linear_schedule(rate, 0, max(1, steps - half))
    return optax.join_schedules([optax.constant_schedule(rate), falling], [half])


def frozen(tx: optax.GradientTransformation, layers: Collection[str]) -> optax.GradientTransformation:
    """Returns `tx` with no update of the parameters under these names of the first level; its state is that of `tx`.

    For D's first layers it is FreezeD: Mo et al. 2020, arXiv:2002.10964, section 3.
    """

    def update(updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None) -> tuple:
        moved, state = tx.update(updates, state, params)
        still = {name: jax.tree.map(jnp.zeros_like, x) if name in layers else x for name, x in moved.items()}
        return still, state

    return optax.GradientTransformation(tx.init, update)

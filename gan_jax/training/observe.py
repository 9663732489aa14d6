"""Observation of a round inside the compiled program: norms for the log, and whether every value is finite."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from gan_jax.game import Step
from gan_jax.training.monitors import PREFIX
from gan_jax.types import Metrics, PyTree

# Prefixes of the names of the values in each tree of `finite`, in the order in which they are computed: metrics,
# gradients and new parameters of D, then of G.
CHECKED = ("", "the gradient of disc/", "disc/", "", "the gradient of gen/", "gen/")


def norms(steps: list[Step], step: jax.Array, every: int) -> Metrics:
    """Returns the Euclidean norms of the gradient and of the new parameters in the last D step and the G step, and the
    largest sigma of spectral norm, where a network has it.

    The norms are computed in every `every`-th round only; in the other rounds they are NaN.
    """
    norm: Any = optax.tree.norm
    metrics: dict[str, jax.Array] = {}
    for side, _, grads, player in steps[-2:]:
        trees = (grads, player.params)
        shapes = [jax.eval_shape(norm, tree) for tree in trees]
        grad_norm, param_norm = jax.lax.cond(
            (step + 1) % every == 0,
            lambda trees: [norm(tree) for tree in trees],
            lambda trees, shapes=shapes: [jnp.full(x.shape, jnp.nan, x.dtype) for x in shapes],
            trees,
        )
        metrics |= {f"{PREFIX}{side}/grad_norm": grad_norm, f"{PREFIX}{side}/param_norm": param_norm}
        if sigmas := [x for path, x in jax.tree.leaves_with_path(player.stats) if "sigma" in str(path[-1])]:
            metrics[f"{PREFIX}{side}/sigma"] = jnp.stack([jnp.max(x) for x in sigmas]).max()
    return metrics


def finite(steps: list[Step]) -> tuple[PyTree, ...]:
    """Returns for every value of the round whether it is finite: trees of boolean scalars, in the order of CHECKED.

    Of several D steps only the first with a value that is not finite counts: all values of the steps after it, which
    follow from that one, are taken as finite.
    """
    *disc, gen = steps
    flags = _finite(disc[0])
    for step in disc[1:]:
        all_finite = jnp.stack(jax.tree.leaves(flags)).all()
        flags = jax.tree.map(
            lambda before, now, all_finite=all_finite: before & (now | ~all_finite), flags, _finite(step)
        )
    return (*flags, *_finite(gen))


def _finite(step: Step) -> list[PyTree]:
    """The three trees of one player's step. The gradients are checked only where a new parameter is not finite, since
    gradients that are not finite make parameters so.
    """

    def is_finite(tree: PyTree) -> PyTree:
        # A sum is infinite or NaN if one of its terms is, or if they add up to more than the type holds, which is as
        # lost. On the CPU it takes half the time of `isfinite(x).all()`.
        return jax.tree.map(lambda x: jnp.isfinite(x.sum()), tree)

    # Without the barrier XLA would fuse the optimiser's update into the sum, and compute the update a second time.
    params_finite = is_finite(jax.lax.optimization_barrier(step.player.params))
    all_finite = jnp.stack(jax.tree.leaves(params_finite)).all()
    grads_finite = jax.lax.cond(
        all_finite, lambda grads: jax.tree.map(lambda x: jnp.array(True), grads), is_finite, step.grads
    )
    return [
        is_finite({name: x for name, x in step.metrics.items() if not name.startswith(PREFIX)}),
        grads_finite,
        params_finite,
    ]

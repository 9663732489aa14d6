"""What is looked at around a round's play, inside the compiled program: norms for the log, and whether every value is
finite.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from gan_jax.game import Step
from gan_jax.training.monitors import PREFIX
from gan_jax.types import Metrics, PyTree

# What `finite` gives, in the order of play: metrics, gradients and new parameters of each side.
CHECKED = ("", "the gradient of disc/", "disc/", "", "the gradient of gen/", "gen/")


def norms(steps: list[Step], step: jax.Array, every: int) -> Metrics:
    """Euclidean norms of the gradient and of the new parameters of D's last step and of G's, in every `every`-th round; NaN
    in the others, where they are not computed; and the largest of spectral norm's sigmas.
    """
    norm: Any = optax.tree.norm
    found: dict[str, jax.Array] = {}
    for side, _, grads, player in steps[-2:]:
        trees = (grads, player.params)
        shapes = [jax.eval_shape(norm, tree) for tree in trees]
        grad_norm, param_norm = jax.lax.cond(
            (step + 1) % every == 0,
            lambda trees: [norm(tree) for tree in trees],
            lambda trees, shapes=shapes: [jnp.full(x.shape, jnp.nan, x.dtype) for x in shapes],
            trees,
        )
        found |= {f"{PREFIX}{side}/grad_norm": grad_norm, f"{PREFIX}{side}/param_norm": param_norm}
        if sigmas := [x for path, x in jax.tree.leaves_with_path(player.stats) if "sigma" in str(path[-1])]:
            found[f"{PREFIX}{side}/sigma"] = jnp.stack([jnp.max(x) for x in sigmas]).max()
    return found


def finite(steps: list[Step]) -> tuple[PyTree, ...]:
    """For every value of the round whether it is finite: trees of booleans, of what CHECKED names. Of several D steps a
    value counts as finite where an earlier step had one that was not: what follows from that is not told.
    """
    *disc, gen = steps
    flags = _finite(disc[0])
    for step in disc[1:]:
        fine = jnp.stack(jax.tree.leaves(flags)).all()
        flags = jax.tree.map(lambda before, now, fine=fine: before & (now | ~fine), flags, _finite(step))
    return (*flags, *_finite(gen))


def _finite(step: Step) -> list[PyTree]:
    """Of one player's step. The gradients are looked at where a parameter is no longer finite: what is wrong with them goes
    there.
    """

    def is_finite(tree: PyTree) -> PyTree:
        # By the sum, which one such term makes infinite or NaN: on the CPU in half the time of `isfinite(x).all()`.
        return jax.tree.map(lambda x: jnp.isfinite(x.sum()), tree)

    # Behind a barrier, or the sum would be computed from the optimiser's terms, all of them once more.
    new = is_finite(jax.lax.optimization_barrier(step.player.params))
    fine = jnp.stack(jax.tree.leaves(new)).all()
    old = jax.lax.cond(fine, lambda grads: jax.tree.map(lambda x: jnp.array(True), grads), is_finite, step.grads)
    return [is_finite({name: x for name, x in step.metrics.items() if not name.startswith(PREFIX)}), old, new]

"""StyleGAN2's game: the adversarial one, with noise and truncation as inputs, mixed styles, and path length regularisation."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.game import Game, State
from gan_jax.games.adversarial import adversarial
from gan_jax.games.network import network
from gan_jax.losses import Loss
from gan_jax.system import mesh
from gan_jax.types import Array, Batch, Key, PyTree, at_least_float32, rows_of

FOLLOW = 0.01  # of the mean path length, at each step that computes it


def style(
    gen: nn.Module,
    disc: nn.Module,
    loss: Loss,
    *,
    z_dim: int,
    noises: int,
    layers: int,
    classes: int = 0,
    mixing: float | jax.Array = 0.9,
    path: float | jax.Array = 2.0,
    every: int = 4,
    **how: Any,
) -> Game:
    """Returns the game of `adversarial` for G of `models.stylegan2`, with inputs (z, [label,] noise [b noises], psi [b]); `how`
    are the arguments of `adversarial`: penalties, augment, controls.

    What is sampled may have "z", "noise" and "psi" (1: no truncation) in its batch. In training, with probability `mixing` the
    batch has a second z, whose w is used from one of the `layers` on that is drawn uniformly after the first
    (arXiv:1812.04948, section 3.1). The views are "map", (z, [label]) -> w, and "mix", (z, other, cutoff, [label,]
    noise) -> images.

    Path length regularisation is (a - |J^T y|)^2, with y from N(0, 1) over the root of the number of pixels, J the
    derivative of an image in w, |.|^2 summed over the numbers of w and averaged over layers, a its running mean; of
    half as many rows as the batch has, without mixed styles. It is added to G's loss in every `every`-th round, times `every` and `path`
    (0: none), where the authors take a step of Adam for it alone; a is kept in aux["path_mean"], and its own gradient is
    part of that of the penalty, as theirs is. The metric "gen/path" is the value last computed. Karras et al. 2020,
    arXiv:1912.04958, section 3.2. Where the authors draw new z for each player, both have the same fakes.
    """
    base = adversarial(gen, disc, loss, z_dim=z_dim, classes=classes, **how)
    gen_apply = network(gen, how.get("accumulate", 1))
    paths = not isinstance(path, (int, float)) or path > 0

    def inputs(key: Key, batch: Batch) -> tuple:
        z_key, noise_key = jax.random.split(key)
        rows = rows_of(batch)
        z = batch.get("z", jax.random.normal(z_key, (rows, z_dim)))
        noise = batch.get("noise", jax.random.normal(noise_key, (rows, noises)))
        psi = batch.get("psi", jnp.ones((rows,), z.dtype))
        return (z, batch["label"], noise, psi) if classes else (z, noise, psi)

    def init(key: Key, batch: Batch) -> tuple[PyTree, PyTree, PyTree]:
        gen_vars, disc_vars, aux = base.init(key, batch)
        kept = {"path_mean": jnp.zeros((), jnp.float32), "path": jnp.zeros((), jnp.float32)} if paths else {}
        return gen_vars, disc_vars, {**aux, **kept}

    def fakes(params: PyTree, state: State, batch: Batch, key: Key) -> tuple[jax.Array, PyTree]:
        keys = jax.random.split(key, 5)
        rows = rows_of(batch)
        known = {"image": batch["image"], **({"label": batch["label"]} if classes else {})}
        z, *label, noise, _ = mesh.split_rows(inputs(keys[0], known))
        other = mesh.split_rows(jax.random.normal(keys[1], (rows, z_dim)))
        cutoff = jax.random.randint(keys[2], (), 1, layers)
        cutoff = jnp.where(jax.random.uniform(keys[3]) < mixing, cutoff, layers)  # from `layers` on there is none
        cutoff = mesh.split_rows(jnp.broadcast_to(cutoff, (rows,)))
        return gen_apply(params, state.gen.stats, keys[4], z, *(label or [None]), noise, None, other, cutoff)

    def lengths(params: PyTree, state: State, batch: Batch, key: Key) -> jax.Array:
        """|J^T y| of half as many rows, [b/2]."""
        z_key, y_key = jax.random.split(key)
        known = {name: batch[name] for name in ("image", "label") if name in batch}
        half = jax.tree.map(lambda x: x[::2], known)  # every second, so that rows split over devices stay
        z, *label, noise, _ = mesh.split_rows(inputs(z_key, half))
        variables = {"params": params, **state.gen.stats}
        w: Any = gen.apply(variables, z, *label, method="map")
        each = jnp.broadcast_to(w[:, None], (w.shape[0], layers, w.shape[1]))  # [b L d]
        shape = batch["image"].shape[1:]
        y = mesh.split_rows(jax.random.normal(y_key, (each.shape[0], *shape))) / (shape[0] * shape[1]) ** 0.5

        def along(each: jax.Array) -> jax.Array:
            images: Any = gen.apply(variables, each, noise, method="synthesise")
            return jnp.sum(images * y)

        slope = at_least_float32(jax.grad(along)(each))
        return jnp.sqrt(jnp.sum(slope**2, 2).mean(1))

    def gen_loss(params: PyTree, state: State, batch: Batch, key: Key, fake: jax.Array) -> tuple:
        total, (stats, aux, metrics) = base.gen_loss(params, state, batch, key, fake)
        if not paths:
            return total, (stats, aux, metrics)

        def compute() -> tuple[jax.Array, jax.Array]:
            found = lengths(params, state, batch, jax.random.fold_in(key, 1))
            mean = aux["path_mean"] + FOLLOW * (found.mean() - aux["path_mean"])
            return jnp.mean((found - mean) ** 2).astype(aux["path"].dtype), mean.astype(aux["path"].dtype)

        due = state.step % every == 0
        value, mean = jax.lax.cond(due, compute, lambda: (aux["path"], aux["path_mean"]))
        total = total + path * jnp.where(due, float(every), 0.0) * value
        kept = jax.lax.stop_gradient({"path": value, "path_mean": mean})
        return total, (stats, {**aux, **kept}, {**metrics, "gen/path": value})

    def sample(params: PyTree, stats: PyTree, z: Array, *rest: Any) -> Any:
        *label, noise, psi = rest
        return gen.apply({"params": params, **stats}, z, *(label or [None]), noise, psi, train=False)

    def mapped(state: State, z: Array, *label: Array) -> Any:
        return gen.apply({"params": state.gen.params, **state.gen.stats}, z, *label, method="map")

    def mix(state: State, z: Array, other: Array, cutoff: Array, *rest: Any) -> Any:
        *label, noise = rest
        variables = {"params": state.gen.params, **state.gen.stats}
        return gen.apply(variables, z, *(label or [None]), noise, None, other, cutoff, train=False)

    views = {**base.views, "map": mapped, "mix": mix}
    return base._replace(init=init, fakes=fakes, gen_loss=gen_loss, sample=sample, inputs=inputs, views=views)

"""InfoGAN: G gets codes beside its noise, and G and Q learn to make the codes predictable from the image."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from gan_jax.game import Game, State
from gan_jax.games.network import diversity, logit_metrics, network
from gan_jax.losses import Loss
from gan_jax.system import mesh
from gan_jax.types import Array, Batch, Key, PyTree, rows_of


def info(
    gen: nn.Module,
    disc: nn.Module,
    loss: Loss,
    *,
    z_dim: int,
    codes: int,
    continuous: int = 0,
    weight: float | jax.Array = 1.0,
    accumulate: int = 1,
) -> Game:
    """Returns the game min over G and Q, max over D, of V(D, G) - weight L(G, Q), L = E log Q(c | G(z, c)) + H(c).

    z is N(0, I), [b z_dim]; the code is uniform on 0, ..., codes - 1, [b]; each of the `continuous` codes is uniform in
    [-1, 1], [b continuous], and its density under Q is a Gaussian of variance 1 around Q's prediction. `gen(z, code,
    continuous)` returns images; `disc(x)` returns logits [b], the code's logits [b codes] and the predictions [b
    continuous]. Q's own layers are trained in D's steps, on D's fakes; the rest of the gradient is that of the paper's
    joint step.

    A batch may hold "z", "code" and "continuous" for its rows. The view "code" returns the code's logits and the
    predictions for images. The metrics "disc/information" and "gen/information" are L without the constant of the
    continuous codes: at most ln codes. Chen et al. 2016, arXiv:1606.03657, equation 6.
    """
    gen_apply, disc_apply = network(gen, accumulate), network(disc, accumulate)

    def inputs(key: Key, batch: Batch) -> tuple:
        rows = rows_of(batch)
        z_key, code_key, continuous_key = jax.random.split(key, 3)
        return (
            batch.get("z", jax.random.normal(z_key, (rows, z_dim))),
            batch.get("code", jax.random.randint(code_key, (rows,), 0, codes, jnp.int32)),
            batch.get("continuous", jax.random.uniform(continuous_key, (rows, continuous), minval=-1, maxval=1)),
        )

    def init(key: Key, batch: Batch) -> tuple[PyTree, PyTree, PyTree]:
        gen_key, disc_key, inputs_key = jax.random.split(key, 3)
        gen_vars = gen.init(gen_key, *inputs(inputs_key, batch), train=False)
        return gen_vars, disc.init(disc_key, batch["image"], train=False), {}

    def fakes(params: PyTree, state: State, batch: Batch, key: Key) -> tuple[PyTree, PyTree]:
        inputs_key, net_key = jax.random.split(key)
        z, code, continuous_codes = mesh.split_rows(inputs(inputs_key, {"image": batch["image"]}))
        images, stats = gen_apply(params, state.gen.stats, net_key, z, code, continuous_codes)
        return {"image": images, "code": code, "continuous": continuous_codes}, stats

    def information(code_logits: Array, means: Array, fake: PyTree) -> jax.Array:
        """log Q(c | x) + H(c) of the code, minus half the squared error of the continuous codes."""
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels(code_logits, fake["code"]).mean()
        return jnp.log(codes) - cross_entropy - ((means - fake["continuous"]) ** 2).sum(1).mean() / 2

    def disc_loss(params: PyTree, state: State, batch: Batch, key: Key, fake: PyTree) -> tuple:
        real_pass, fake_pass = jax.random.split(key)
        (real_logits, _, _), stats = disc_apply(params, state.disc.stats, real_pass, batch["image"])
        (fake_logits, code_logits, means), stats = disc_apply(params, stats, fake_pass, fake["image"])
        total, bound = loss.disc(real=real_logits, fake=fake_logits), information(code_logits, means, fake)
        metrics = {"disc/loss": total, "disc/information": bound}
        metrics |= {**logit_metrics(real_logits, fake_logits), **diversity(batch["image"], fake["image"])}
        return total - weight * bound, (stats, state.aux, metrics)

    def gen_loss(params: PyTree, state: State, batch: Batch, key: Key, fake: PyTree) -> tuple:
        real_pass, fake_pass = jax.random.split(key)
        disc = state.disc
        (fake_logits, code_logits, means), _ = disc_apply(disc.params, disc.stats, fake_pass, fake["image"])
        (real_logits, _, _), _ = disc_apply(disc.params, disc.stats, real_pass, batch["image"])
        total, bound = loss.gen(real=real_logits, fake=fake_logits), information(code_logits, means, fake)
        metrics = {"gen/loss": total, "gen/information": bound}
        return total - weight * bound, (state.gen.stats, state.aux, metrics)

    def sample(params: PyTree, stats: PyTree, z: Array, code: Array, continuous_codes: Array) -> Any:
        return gen.apply({"params": params, **stats}, z, code, continuous_codes, train=False)

    def code(state: State, images: Array) -> tuple[Any, Any]:
        _, code_logits, means = disc.apply({"params": state.disc.params, **state.disc.stats}, images, train=False)  # type: ignore[misc]
        return code_logits, means

    return Game(init, disc_loss, gen_loss, sample, fakes, inputs, views={"code": code}, parts=accumulate)

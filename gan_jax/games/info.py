"""InfoGAN: G is given codes beside its noise, and both players make them readable from the image."""

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
    """min over G and Q, max over D, of V(D, G) - weight L(G, Q), with L = E log Q(c | G(z, c)) + H(c).

    z is N(0, I) [b z_dim], the code one of `codes`, all as often [b], each of the `continuous` codes uniform in [-1, 1],
    [b continuous], and Q's density of it a Gaussian of variance 1 around what it guesses. `gen(z, code, continuous)` makes
    images; `disc(x)` gives logits [b], the code's logits [b codes] and the guesses [b continuous]. Q's own layers are D's to
    learn, on D's fakes; the rest of the gradient is that of the paper's joint step.

    A batch may say "z", "code" and "continuous" of its rows. The view "code" gives the code's logits and the guesses of
    images. The metrics "disc/information" and "gen/information" are L without the constant of the continuous codes: at
    most ln codes. Chen et al. 2016, arXiv:1606.03657, equation 6.
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
        z, code, slow = mesh.split_rows(inputs(inputs_key, {"image": batch["image"]}))
        images, stats = gen_apply(params, state.gen.stats, net_key, z, code, slow)
        return {"image": images, "code": code, "continuous": slow}, stats

    def information(guess: Array, means: Array, fake: PyTree) -> jax.Array:
        """log Q(c | x) + H(c) of the code, and of the continuous codes minus half the squared error."""
        known = optax.softmax_cross_entropy_with_integer_labels(guess, fake["code"]).mean()
        return jnp.log(codes) - known - ((means - fake["continuous"]) ** 2).sum(1).mean() / 2

    def disc_loss(params: PyTree, state: State, batch: Batch, key: Key, fake: PyTree) -> tuple:
        real_pass, fake_pass = jax.random.split(key)
        (real, _, _), stats = disc_apply(params, state.disc.stats, real_pass, batch["image"])
        (made, guess, means), stats = disc_apply(params, stats, fake_pass, fake["image"])
        total, readable = loss.disc(real=real, fake=made), information(guess, means, fake)
        metrics = {"disc/loss": total, "disc/information": readable}
        metrics |= {**logit_metrics(real, made), **diversity(batch["image"], fake["image"])}
        return total - weight * readable, (stats, state.aux, metrics)

    def gen_loss(params: PyTree, state: State, batch: Batch, key: Key, fake: PyTree) -> tuple:
        real_pass, fake_pass = jax.random.split(key)
        disc = state.disc
        (made, guess, means), _ = disc_apply(disc.params, disc.stats, fake_pass, fake["image"])
        (real, _, _), _ = disc_apply(disc.params, disc.stats, real_pass, batch["image"])
        total, readable = loss.gen(real=real, fake=made), information(guess, means, fake)
        metrics = {"gen/loss": total, "gen/information": readable}
        return total - weight * readable, (state.gen.stats, state.aux, metrics)

    def sample(params: PyTree, stats: PyTree, z: Array, code: Array, slow: Array) -> Any:
        return gen.apply({"params": params, **stats}, z, code, slow, train=False)

    def code(state: State, images: Array) -> tuple[Any, Any]:
        _, guess, means = disc.apply({"params": state.disc.params, **state.disc.stats}, images, train=False)  # type: ignore[misc]
        return guess, means

    return Game(init, disc_loss, gen_loss, sample, fakes, inputs, views={"code": code}, parts=accumulate)

"""CycleGAN: two domains without pairs, one translator in each direction, and a loss on the difference after going there
and back.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.game import Game, State
from gan_jax.games.network import diversity, logit_metrics, network
from gan_jax.games.paired import l1
from gan_jax.losses import Loss
from gan_jax.types import Array, Batch, Key, PyTree


class Pair(nn.Module):
    """Two networks as one player of a game: (x, y) -> first(x), second(y)."""

    first: nn.Module
    second: nn.Module

    def __call__(self, x: Array, y: Array, *, train: bool) -> tuple[Any, Any]:
        return self.one(x, train=train), self.other(y, train=train)

    def one(self, x: Array, *, train: bool) -> Any:
        return self.first(x, train=train)

    def other(self, y: Array, *, train: bool) -> Any:
        return self.second(y, train=train)


def cycle(
    gen: Pair,
    disc: Pair,
    loss: Loss,
    *,
    weight: float | jax.Array = 10.0,
    identity: float | jax.Array = 0.0,
    pool: int = 50,
    distance: Callable[[Array, Array], Any] = l1,
    accumulate: int = 1,
) -> Game:
    """Returns the game of L(to_b, D_b) + L(to_a, D_a) + weight (d(to_a(to_b(a)), a) + d(to_b(to_a(b)), b)), plus
    `identity` times d(to_b(b), b) + d(to_a(a), a), with the `distance` d(fake, real), by default E |fake - real|.

    `gen` is Pair(to_b, to_a), `disc` Pair(D_a, D_b), of images or of patches; a batch has "a" and "b" [b h w c], as
    from `data.together(a=..., b=...)`. D's loss is half the sum of both. D sees each new fake or, with probability 1/2
    once the pool is full, one of `pool` earlier ones instead (0: only new ones). D plays before G; in the authors' code
    G plays first, a difference of one step.

    `sample` translates a to b, the view "to_a" b to a. The metric "gen/cycle" is the unweighted loss of going there and
    back. Zhu et al. 2017, arXiv:1703.10593, equation 3; the same game
    with squares and another loss is DiscoGAN (Kim et al. 2017, arXiv:1703.05192, equation 5), with the Wasserstein loss DualGAN
    (Yi et al. 2017, arXiv:1704.02510, equation 3); the pool is of section 4, after Shrivastava et al. 2017,
    arXiv:1612.07828.
    """
    gen_apply, disc_apply = network(gen, accumulate), network(disc, accumulate)

    def init(key: Key, batch: Batch) -> tuple[PyTree, PyTree, PyTree]:
        gen_key, disc_key = jax.random.split(key)
        a, b = batch["a"], batch["b"]
        images = {name: jnp.zeros((pool, *x.shape[1:]), x.dtype) for name, x in (("a", a), ("b", b))}
        aux = {"pool": images, "filled": jnp.int32(0)} if pool else {}
        return gen.init(gen_key, a, b, train=False), disc.init(disc_key, a, b, train=False), aux

    def inputs(key: Key, batch: Batch) -> tuple:
        return (batch["a"],)

    def fakes(params: PyTree, state: State, batch: Batch, key: Key) -> tuple[PyTree, PyTree]:
        (b, a), stats = gen_apply(params, state.gen.stats, key, batch["a"], batch["b"])
        return {"a": a, "b": b}, stats

    def disc_loss(params: PyTree, state: State, batch: Batch, key: Key, fake: PyTree) -> tuple:
        real_pass, fake_pass, pool_key = jax.random.split(key, 3)
        seen, aux = _pooled(state.aux, fake, pool_key) if pool else (fake, state.aux)
        real_logits, stats = disc_apply(params, state.disc.stats, real_pass, batch["a"], batch["b"])
        fake_logits, stats = disc_apply(params, stats, fake_pass, seen["a"], seen["b"])
        total = sum(loss.disc(real=x, fake=y) for x, y in zip(real_logits, fake_logits, strict=True)) / 2
        metrics = {"disc/loss": total, **logit_metrics(jnp.stack(real_logits), jnp.stack(fake_logits))}
        return total, (stats, aux, {**metrics, **diversity(batch["b"], fake["b"])})

    def gen_loss(params: PyTree, state: State, batch: Batch, key: Key, fake: PyTree) -> tuple:
        real_pass, fake_pass, back_key, same_key = jax.random.split(key, 4)
        a, b, disc = batch["a"], batch["b"], state.disc
        fake_logits, _ = disc_apply(disc.params, disc.stats, fake_pass, fake["a"], fake["b"])
        real_logits, _ = disc_apply(disc.params, disc.stats, real_pass, a, b)
        total = sum(loss.gen(real=x, fake=y) for x, y in zip(real_logits, fake_logits, strict=True))
        (b_back, a_back), _ = gen_apply(params, state.gen.stats, back_key, fake["a"], fake["b"])
        cycle_loss = distance(a_back, a) + distance(b_back, b)
        metrics = {"gen/loss": total, "gen/cycle": cycle_loss}
        total = total + weight * cycle_loss
        if isinstance(identity, jax.Array) or identity:
            (b_same, a_same), _ = gen_apply(params, state.gen.stats, same_key, b, a)
            metrics["gen/identity"] = distance(b_same, b) + distance(a_same, a)
            total = total + identity * metrics["gen/identity"]
        return total, (state.gen.stats, state.aux, metrics)

    def sample(params: PyTree, stats: PyTree, a: Array) -> Any:
        return gen.apply({"params": params, **stats}, a, train=False, method="one")

    def to_a(state: State, b: Array) -> Any:
        return gen.apply({"params": state.gen.params, **state.gen.stats}, b, train=False, method="other")

    return Game(init, disc_loss, gen_loss, sample, fakes, inputs, views={"to_a": to_a}, parts=accumulate)


def _pooled(aux: PyTree, fake: PyTree, key: Key) -> tuple[PyTree, PyTree]:
    """What D sees of the fakes {name: [b ...]}, row by row, and the pool after them. While the pool fills, D sees each
    fake, which is stored; then with probability 1/2 an image of the pool instead, which the fake replaces.
    """
    size = jax.tree.leaves(aux["pool"])[0].shape[0]

    def one(carry: tuple, row: tuple) -> tuple:
        (pool, filled), (new, key) = carry, row
        swap_key, place_key = jax.random.split(key)
        filling = filled < size
        place = jnp.where(filling, filled, jax.random.randint(place_key, (), 0, size))
        swap = ~filling & jax.random.bernoulli(swap_key)
        shown = jax.tree.map(lambda slots, x: jnp.where(swap, slots[place], x), pool, new)
        store = filling | swap
        pool = jax.tree.map(lambda slots, x: slots.at[place].set(jnp.where(store, x, slots[place])), pool, new)
        return (pool, filled + filling), shown

    keys = jax.random.split(key, jax.tree.leaves(fake)[0].shape[0])
    shown: PyTree
    (pool, filled), shown = jax.lax.scan(one, (aux["pool"], aux["filled"]), (fake, keys))
    return shown, {"pool": pool, "filled": filled}

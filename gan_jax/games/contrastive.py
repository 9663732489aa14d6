"""CUT: one translator between two domains without pairs, whose patches must be told again among those of their image."""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float

from gan_jax.game import Game, State
from gan_jax.games.network import diversity, logit_metrics, network
from gan_jax.losses import Loss
from gan_jax.types import Array, Batch, Key, PyTree, at_least_float32


class Heads(nn.Module):
    """Features [b p c] of some layers -> [b p features], by two dense layers for each, and of length 1."""

    features: int = 256

    @nn.compact
    def __call__(self, layers: Sequence[Array]) -> list[jax.Array]:
        start = nn.initializers.normal(0.02)
        out = []
        for x in layers:
            x = jnp.asarray(x)
            dense = functools.partial(nn.Dense, self.features, kernel_init=start, dtype=x.dtype, param_dtype=x.dtype)
            x = dense()(nn.relu(dense()(x)))
            out.append(x / (jnp.sqrt(jnp.sum(x**2, -1, keepdims=True) + 1e-14) + 1e-7))
        return out


class Contrasted(nn.Module):
    """A translator, whose features the heads compare, as one player: x -> gen(x). The translator takes `features`."""

    gen: nn.Module
    heads: Heads

    def __call__(self, x: Array, *, train: bool) -> Any:
        self.compared(x, jnp.zeros(2, jnp.uint32))  # so that its parameters are made
        return self.gen(x, train=train)

    def compared(self, x: Array, bits: Array, positions: int = 256, mirror: Any = False) -> list[jax.Array]:
        """[b p features] of each layer, at places [p] drawn by the bits of a key, the same for all rows; with `mirror` of
        the features mirrored left to right.
        """
        key, chosen = jax.random.wrap_key_data(jnp.asarray(bits)), []
        for i, layer in enumerate(self.gen(x, train=True, features=True)):
            layer = jnp.where(mirror, layer[:, :, ::-1], layer)
            b, h, w, c = layer.shape
            places = jax.random.permutation(jax.random.fold_in(key, i), h * w)[:positions]
            chosen.append(layer.reshape(b, h * w, c)[:, places])  # [b p c]
        return self.heads(chosen)


def patch_nce(query: Float[Array, "b p d"], key: Float[Array, "b p d"], temperature: float = 0.07) -> jax.Array:
    """Returns the mean over rows and places of -log softmax over q of query_p . key_q / temperature, at q = p: each patch is
    told among those of its own image. `key` gets no gradient. Park et al. 2020, arXiv:2007.15651, equation 3.
    """
    key = jax.lax.stop_gradient(key)
    logits = jnp.einsum("bpd,bqd->bpq", query, key, precision="highest") / temperature
    at = jnp.arange(logits.shape[1])
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(at_least_float32(logits), at[None]))


def contrastive(
    gen: Contrasted,
    disc: nn.Module,
    loss: Loss,
    *,
    weight: float | jax.Array = 1.0,
    identity: bool = True,
    mirror: bool = False,
    positions: int = 256,
    temperature: float = 0.07,
) -> Game:
    """Returns the game of L(D) + weight N(a, G(a)), or with `identity` of L(D) + weight (N(a, G(a)) + N(b, G(b))) / 2: N is
    the mean over layers of `patch_nce` between the features of what G makes and those of what it was given.

    A batch has "a" and "b" [b h w c], as from `data.together`; D judges images of b. With `mirror`, a batch is mirrored
    before G with probability 1/2, and the features back. CUT has weight 1 and `identity`; FastCUT has weight 10,
    `mirror`, and no identity. D's loss is half of L's. Park et al. 2020, arXiv:2007.15651, section 3; `sample` translates
    a to b.
    """
    gen_apply, disc_apply = network(gen), network(disc)

    def init(key: Key, batch: Batch) -> tuple[PyTree, PyTree, PyTree]:
        gen_key, disc_key = jax.random.split(key)
        return gen.init(gen_key, batch["a"], train=False), disc.init(disc_key, batch["b"], train=False), {}

    def inputs(key: Key, batch: Batch) -> tuple:
        return (batch["a"],)

    def fakes(params: PyTree, state: State, batch: Batch, key: Key) -> tuple[PyTree, PyTree]:
        net_key, coin_key = jax.random.split(key)
        turned = jax.random.bernoulli(coin_key) if mirror else jnp.bool_(False)
        a, b = (jnp.where(turned, x[:, :, ::-1], x) for x in (batch["a"], batch["b"]))
        made, stats = gen_apply(params, state.gen.stats, net_key, a)
        same = gen_apply(params, stats, net_key, b)[0] if identity else None
        return {"b": made, "same": same, "turned": turned}, stats

    def disc_loss(params: PyTree, state: State, batch: Batch, key: Key, fake: PyTree) -> tuple:
        real_pass, fake_pass = jax.random.split(key)
        real_logits, stats = disc_apply(params, state.disc.stats, real_pass, batch["b"])
        fake_logits, stats = disc_apply(params, stats, fake_pass, fake["b"])
        total = loss.disc(real=real_logits, fake=fake_logits) / 2
        metrics = {"disc/loss": total, **logit_metrics(real_logits, fake_logits)}
        return total, (stats, state.aux, {**metrics, **diversity(batch["b"], fake["b"])})

    def gen_loss(params: PyTree, state: State, batch: Batch, key: Key, fake: PyTree) -> tuple:
        real_pass, fake_pass, place_key, same_key = jax.random.split(key, 4)
        disc = state.disc
        fake_logits, _ = disc_apply(disc.params, disc.stats, fake_pass, fake["b"])
        real_logits, _ = disc_apply(disc.params, disc.stats, real_pass, batch["b"])
        of_loss = loss.gen(real=real_logits, fake=fake_logits)

        def told_again(made: Array, given: Array, key: Key) -> jax.Array:
            compare = functools.partial(
                gen.apply, {"params": params, **state.gen.stats}, bits=jax.random.key_data(key), positions=positions,
                method="compared",
            )  # fmt: skip
            pairs: Any = zip(compare(made, mirror=fake["turned"]), compare(given), strict=True)
            return jnp.mean(jnp.stack([patch_nce(q, k, temperature) for q, k in pairs]))

        nce = told_again(fake["b"], batch["a"], place_key)
        metrics = {"gen/loss": of_loss, "gen/nce": nce}
        if identity:
            metrics["gen/nce_same"] = told_again(fake["same"], batch["b"], same_key)
            nce = (nce + metrics["gen/nce_same"]) / 2
        return of_loss + weight * nce, (state.gen.stats, state.aux, metrics)

    def sample(params: PyTree, stats: PyTree, a: Array) -> Any:
        return gen.apply({"params": params, **stats}, a, train=False)

    return Game(init, disc_loss, gen_loss, sample, fakes, inputs)

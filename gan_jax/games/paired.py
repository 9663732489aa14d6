"""The game of given images: G makes an image of one that it is given, is told what it should be, and D judges. pix2pix,
in-painting and super-resolution are this game with other networks.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.game import Game, State
from gan_jax.games.network import diversity, logit_metrics, network
from gan_jax.losses import Loss
from gan_jax.system import mesh
from gan_jax.types import Array, Batch, Key, PyTree, at_least_float32, rows_of


class Term(NamedTuple):
    """A distance in G's loss: `distance(fake, real) -> scalar`, of images [b h w c], with a weight."""

    name: str  # of the metric, "gen/NAME", which is without the weight
    weight: float | jax.Array
    distance: Callable[[Array, Array], Any]


def l1(fake: Array, real: Array) -> jax.Array:
    """E |fake - real|, over all entries."""
    return jnp.mean(jnp.abs(at_least_float32(fake) - at_least_float32(real)))


def paired(
    gen: nn.Module,
    disc: nn.Module,
    loss: Loss,
    terms: Sequence[Term],
    *,
    given: Sequence[str] = ("a",),
    target: str = "b",
    condition: Callable[[Batch], Array] | None = lambda batch: batch["a"],
    noise: bool = False,
    weight: float | jax.Array = 1.0,
    accumulate: int = 1,
) -> Game:
    """Returns the game in which G minimises weight L(D) plus the terms, each a weight times a distance to the target.

    `gen` makes an image [b h w c] of the arrays `given` of a batch and, with `noise`, of a random number uint32 [b] for
    each row, from which it draws what it likes; batch[target] is what it should be. `disc` judges images, joined along
    the channels with what `condition` takes of the batch ([b h w d], at the same size; None: nothing). With weight 0 G
    learns by the terms alone, and D looks on.

    The metric "gen/loss" is L alone, unweighted, as the terms' are. Isola et al. 2017, arXiv:1611.07004, equation 4, with
    one term, the L1 distance, of weight 100.
    """
    gen_apply, disc_apply = network(gen, accumulate), network(disc, accumulate)

    def inputs(key: Key, batch: Batch) -> tuple:
        images = tuple(batch[name] for name in given)
        return (*images, jax.random.bits(key, (rows_of(images),), jnp.uint32)) if noise else images

    def judged(image: Array, batch: Batch) -> Array:
        return image if condition is None else jnp.concatenate([condition(batch), image], -1)

    def init(key: Key, batch: Batch) -> tuple[PyTree, PyTree, PyTree]:
        gen_key, disc_key = jax.random.split(key)
        gen_vars = gen.init(gen_key, *inputs(gen_key, batch), train=False)
        return gen_vars, disc.init(disc_key, judged(batch[target], batch), train=False), {}

    def fakes(params: PyTree, state: State, batch: Batch, key: Key) -> tuple[PyTree, PyTree]:
        noise_key, net_key = jax.random.split(key)
        return gen_apply(params, state.gen.stats, net_key, *mesh.split_rows(inputs(noise_key, batch)))

    def disc_loss(params: PyTree, state: State, batch: Batch, key: Key, fake: Array) -> tuple:
        real_pass, fake_pass = jax.random.split(key)
        real_logits, stats = disc_apply(params, state.disc.stats, real_pass, judged(batch[target], batch))
        fake_logits, stats = disc_apply(params, stats, fake_pass, judged(fake, batch))
        total = loss.disc(real=real_logits, fake=fake_logits)
        metrics = {"disc/loss": total, **logit_metrics(real_logits, fake_logits), **diversity(batch[target], fake)}
        return total, (stats, state.aux, metrics)

    def gen_loss(params: PyTree, state: State, batch: Batch, key: Key, fake: Array) -> tuple:
        real_pass, fake_pass = jax.random.split(key)
        disc = state.disc
        fake_logits, _ = disc_apply(disc.params, disc.stats, fake_pass, judged(fake, batch))
        real_logits, _ = disc_apply(disc.params, disc.stats, real_pass, judged(batch[target], batch))
        of_loss = loss.gen(real=real_logits, fake=fake_logits)
        metrics, total = {"gen/loss": of_loss}, weight * of_loss
        for term in terms:
            metrics[f"gen/{term.name}"] = term.distance(fake, batch[target])
            total = total + term.weight * metrics[f"gen/{term.name}"]
        return total, (state.gen.stats, state.aux, metrics)

    def sample(params: PyTree, stats: PyTree, *inputs: Any) -> Any:
        return gen.apply({"params": params, **stats}, *inputs, train=False)

    return Game(init, disc_loss, gen_loss, sample, fakes, inputs, parts=accumulate)

"""The game of a vocoder: G makes sounds of mels, several discriminators judge them, and G is also to give their hidden layers
and its mels the values of the true sound.
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


def vocoder(
    gen: nn.Module,
    disc: nn.Module,
    loss: Loss,
    distance: Callable[[Array, Array], Any],
    *,
    weight: float | jax.Array = 1.0,
    matching: float | jax.Array = 2.0,
    closeness: float | jax.Array = 45.0,
    accumulate: int = 1,
) -> Game:
    """Returns the game in which G minimises, over all discriminators, weight L(D_k) + matching (sum over the layers of D_k of E
    |layer(fake) - layer(real)|), plus closeness times distance(fake, real).

    `gen` makes sounds [b t 1] of "mel" [b f m], scaled to [-1, 1]; batch["image"] is what they should be. `disc` returns of sounds a list of
    (logits, hidden layers), one for each discriminator; logits count as a layer. D's loss is the sum over them. Metrics are
    unweighted: "gen/loss", "gen/features" and "gen/distance". Kong et al. 2020, arXiv:2010.05646, equations 6 and 7; their
    squares have no halves, so with `losses.least_squares` the same is weight 2.
    """
    gen_apply, disc_apply = network(gen, accumulate), network(disc, accumulate)

    def inputs(key: Key, batch: Batch) -> tuple:
        return (batch["mel"],)

    def init(key: Key, batch: Batch) -> tuple[PyTree, PyTree, PyTree]:
        gen_key, disc_key = jax.random.split(key)
        return gen.init(gen_key, batch["mel"], train=False), disc.init(disc_key, batch["image"], train=False), {}

    def fakes(params: PyTree, state: State, batch: Batch, key: Key) -> tuple[PyTree, PyTree]:
        return gen_apply(params, state.gen.stats, key, batch["mel"])

    def disc_loss(params: PyTree, state: State, batch: Batch, key: Key, fake: Array) -> tuple:
        real_pass, fake_pass = jax.random.split(key)
        real, stats = disc_apply(params, state.disc.stats, real_pass, batch["image"])
        found, stats = disc_apply(params, stats, fake_pass, fake)
        total = sum(loss.disc(real=a, fake=b) for (a, _), (b, _) in zip(real, found, strict=True))
        # All that is said of a sound in one row, so that rows that are split over devices stay where they are.
        rows = batch["image"].shape[0]
        ends = [jnp.concatenate([logits.reshape(rows, -1) for logits, _ in one], 1) for one in (real, found)]
        metrics = {"disc/loss": total, **logit_metrics(*ends), **diversity(batch["image"], fake)}
        return total, (stats, state.aux, metrics)

    def gen_loss(params: PyTree, state: State, batch: Batch, key: Key, fake: Array) -> tuple:
        real_pass, fake_pass = jax.random.split(key)
        disc = state.disc
        found, _ = disc_apply(disc.params, disc.stats, fake_pass, fake)
        real, _ = disc_apply(disc.params, disc.stats, real_pass, batch["image"])
        of_loss, features = jnp.zeros(()), jnp.zeros(())
        for (a, true), (b, made) in zip(real, found, strict=True):
            of_loss = of_loss + loss.gen(real=a, fake=b)
            features = features + l1(b, a) + sum(l1(y, x) for x, y in zip(true, made, strict=True))
        metrics = {"gen/loss": of_loss, "gen/features": features, "gen/distance": distance(fake, batch["image"])}
        total = weight * of_loss + matching * features + closeness * metrics["gen/distance"]
        return total, (state.gen.stats, state.aux, metrics)

    def sample(params: PyTree, stats: PyTree, mel: Array) -> Any:
        return gen.apply({"params": params, **stats}, mel, train=False)

    return Game(init, disc_loss, gen_loss, sample, fakes, inputs, parts=accumulate)

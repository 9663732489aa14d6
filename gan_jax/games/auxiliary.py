"""The conditional game with an auxiliary classifier: D also tells the classes of images apart, and G is to be told right.

D's second output, of its last features, is what its head makes of them (`models.heads`); a `Criterion` is the loss of
that output and its reading. The classifier learns from real images only, and G from it on fakes: as AC-GAN is trained
today, since with fakes too, as first published (Odena et al. 2017, arXiv:1610.09585), it rewards fakes that are easy to
tell apart, and collapses with many classes.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.game import Game, State
from gan_jax.games.network import couples_rows, diversity, interleave, logit_metrics, network
from gan_jax.games.semisupervised import labelled
from gan_jax.losses import Loss
from gan_jax.system import mesh
from gan_jax.types import Array, Batch, Key, PyTree, at_least_float32, rows_of


class Criterion(NamedTuple):
    """Of the head's output: its loss with labels [b], a scalar, and the logits of the classes, [b n]."""

    loss: Callable[[PyTree, Array], Array]
    logits: Callable[[PyTree], Array]


def cross_entropy() -> Criterion:
    """AC-GAN's: the cross entropy of `heads.Classes`."""
    return Criterion(labelled, lambda logits: logits)


def data_to_data(margin: float | jax.Array = 0.98, temperature: float | jax.Array = 0.5) -> Criterion:
    """ReACGAN's, of `heads.Proxies`: E[-q_i + log(exp q_i + sum over j of another class exp n_ij)], f and v of length 1.

    q_i = min(0, f_i . v_(y_i) - margin) / temperature: a row that lies near enough to its proxy is left alone.
    n_ij = max(0, f_i . f_j - (1 - margin)) / temperature: one that lies far enough from rows of other classes, too. With
    one class in the batch it is 0. The logits of the classes are f . v / temperature. Kang et al. 2021,
    arXiv:2111.01118, equation 7.
    """

    def loss(found: tuple[Array, Array], label: Array) -> jax.Array:
        rows, similar = map(at_least_float32, found)
        own = jnp.take_along_axis(similar, label[:, None], 1)  # [b 1]
        near = jnp.minimum(0.0, own - margin) / temperature
        far = jnp.maximum(0.0, rows @ rows.T - (1 - margin)) / temperature  # [b b]
        others = jnp.asarray(label)[:, None] != jnp.asarray(label)[None]
        terms = jnp.concatenate([near, jnp.where(others, far, -jnp.inf)], 1)  # [b 1+b]
        return jnp.mean(jax.nn.logsumexp(terms, 1) - near[:, 0])

    return Criterion(loss, lambda found: found[1] / temperature)


def auxiliary(
    gen: nn.Module,
    disc: nn.Module,
    loss: Loss,
    criterion: Criterion,
    *,
    z_dim: int,
    weight: float | jax.Array = 1.0,
    accumulate: int = 1,
) -> Game:
    """Returns the game of `gen(z, label)` and of `disc(x)`, which returns logits [b] and its head's output, with `loss`,
    to which both players add weight times the criterion: D of the real images, G of its fakes, whose labels are those of the
    real images in the same rows.

    In its own steps D processes real and fake images as one batch, so that spectral norm takes one power step in each. A
    batch may hold "z" for its rows. The view "classes" gives the logits of the classes of images. Metrics are the loss without
    the criterion, "disc/loss", and the criterion, "disc/classes" and "gen/classes". `init` raises ValueError for a D that
    couples rows.
    """
    gen_apply, disc_apply = network(gen, accumulate), network(disc, accumulate)

    def inputs(key: Key, batch: Batch) -> tuple:
        return batch.get("z", jax.random.normal(key, (rows_of(batch), z_dim))), batch["label"]

    def init(key: Key, batch: Batch) -> tuple[PyTree, PyTree, PyTree]:
        gen_key, disc_key, z_key = jax.random.split(key, 3)
        disc_vars = disc.init(disc_key, batch["image"], train=False)
        if couples_rows(disc, disc_vars):
            raise ValueError(
                "D processes real and fake images as one batch: it must not couple rows, as batch norm does"
            )
        return gen.init(gen_key, *inputs(z_key, batch), train=False), disc_vars, {}

    def fakes(params: PyTree, state: State, batch: Batch, key: Key) -> tuple[jax.Array, PyTree]:
        z_key, net_key = jax.random.split(key)
        return gen_apply(params, state.gen.stats, net_key, *mesh.split_rows(inputs(z_key, batch)))

    def both(params: PyTree, stats: PyTree, batch: Batch, key: Key, fake: jax.Array) -> tuple:
        (logits, found), stats = disc_apply(params, stats, key, interleave(batch["image"], fake))
        return logits[::2], logits[1::2], found, stats

    def disc_loss(params: PyTree, state: State, batch: Batch, key: Key, fake: jax.Array) -> tuple:
        real_logits, fake_logits, found, stats = both(params, state.disc.stats, batch, key, fake)
        total = loss.disc(real=real_logits, fake=fake_logits)
        classified = criterion.loss(jax.tree.map(lambda x: x[::2], found), batch["label"])
        metrics = {"disc/loss": total, "disc/classes": classified}
        metrics |= {**logit_metrics(real_logits, fake_logits), **diversity(batch["image"], fake)}
        return total + weight * classified, (stats, state.aux, metrics)

    def gen_loss(params: PyTree, state: State, batch: Batch, key: Key, fake: jax.Array) -> tuple:
        # D's statistics are dropped here, so two passes are the same; XLA removes that of real images for most losses.
        (fake_logits, found), _ = disc_apply(state.disc.params, state.disc.stats, key, fake)
        (real_logits, _), _ = disc_apply(state.disc.params, state.disc.stats, key, batch["image"])
        total = loss.gen(real=real_logits, fake=fake_logits)
        classified = criterion.loss(found, batch["label"])
        metrics = {"gen/loss": total, "gen/classes": classified}
        return total + weight * classified, (state.gen.stats, state.aux, metrics)

    def sample(params: PyTree, stats: PyTree, z: Array, label: Array) -> Any:
        return gen.apply({"params": params, **stats}, z, label, train=False)

    def classes(state: State, images: Array) -> Array:
        _, found = disc.apply({"params": state.disc.params, **state.disc.stats}, images, train=False)
        return criterion.logits(found)

    return Game(init, disc_loss, gen_loss, sample, fakes, inputs, views={"classes": classes}, parts=accumulate)

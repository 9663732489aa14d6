"""The plain game: one generator of noise, one discriminator of images, any loss and any penalties; with labels, the
conditional game.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.game import Game, State
from gan_jax.games.microbatch import in_parts
from gan_jax.losses import Loss
from gan_jax.penalties import Penalty
from gan_jax.system import mesh
from gan_jax.types import Array, Batch, Key, PyTree


def adversarial(
    gen: nn.Module,
    disc: nn.Module,
    loss: Loss,
    *,
    z_dim: int,
    penalties: Sequence[tuple[float | jax.Array | Callable[[jax.Array], jax.Array], Penalty]] = (),
    classes: int = 0,
    accumulate: int = 1,
    one_pass: bool = False,
) -> Game:
    """The game of `gen` and `disc` over `loss` plus the sum of weight times penalty, with z from N(0, I), [b z_dim]. A
    weight is a number or, as an optax schedule, a function of the step.

    With `classes`, both networks are given the label, real images their own and fakes that of the real image of the
    same row (Mirza and Osindero 2014, arXiv:1411.1784, equation 2). G is judged on the fakes that D has just learnt from,
    which are made once for both.

    D sees real and fake in two passes, so a batch norm in D has statistics of each alone; with `one_pass` as one batch of
    twice the rows, which is quicker, and the same where D's logit of a row does not depend on the others (ValueError for
    batch norm). Both networks are run on `accumulate` equal parts of the batch one after another, with the loss and the
    penalties over the whole batch; batch norm's statistics are then a part's own. ValueError for penalties on a D with
    batch norm: its logits are no function of one row, and every penalty means a row's own gradient (arXiv:1704.00028,
    section 4).

    The metric "disc/loss" is the loss without the penalties, each of which is a metric of its own, unweighted;
    "disc/real_accuracy" and "disc/fake_accuracy" are the shares of real logits above and of fake ones below the middle of
    their two means, since the zero of a Wasserstein critic or a relativistic D means nothing; "gen/diversity" is the
    variance of the fakes' pixels, taken from pairs of rows, beside that of the real images.
    """

    if z_dim < 1 or accumulate < 1:
        raise ValueError(f"z_dim and accumulate must be at least 1; got {z_dim} and {accumulate}")

    def label_of(batch: Batch) -> jax.Array | None:
        if not classes:
            return None
        if "label" not in batch:
            raise ValueError(f"the game has classes={classes}, but the batch has no labels, only {sorted(batch)}")
        return batch["label"]

    def fakes(params: PyTree, state: State, batch: Batch, key: Key) -> tuple[jax.Array, PyTree]:
        z_key, net_key = jax.random.split(key)
        z = mesh.split_rows(jax.random.normal(z_key, (batch["image"].shape[0], z_dim)))
        return _apply(gen, params, state.gen.stats, z, label_of(batch), net_key)

    def discriminate(
        params: PyTree, stats: PyTree, x: Array, label: Array | None, key: Key
    ) -> tuple[jax.Array, PyTree]:
        return _apply(disc, params, stats, x, label, key)

    def _apply(
        net: nn.Module, params: PyTree, stats: PyTree, x: Array, label: Array | None, key: Key
    ) -> tuple[jax.Array, PyTree]:
        def apply(rows: tuple, key: Key) -> Any:
            return net.apply({"params": params, **stats}, *rows, train=True, mutable=list(stats), rngs={"dropout": key})

        return in_parts(apply, accumulate, (x, label), key)

    def init(key: Key, batch: Batch) -> tuple[PyTree, PyTree, PyTree]:
        gen_key, disc_key = jax.random.split(key)
        label = label_of(batch)
        z = jnp.zeros((batch["image"].shape[0], z_dim))
        disc_vars = disc.init(disc_key, batch["image"], label, train=False)
        # Spectral norm keeps its vectors there as well, and leaves the rows alone.
        normed = any("BatchNorm" in str(path) for path, _ in jax.tree.leaves_with_path(disc_vars))
        if one_pass and normed:
            raise ValueError("one_pass needs a discriminator without batch norm, whose logit of a row is its own")
        if penalties and normed:
            raise ValueError(
                "a gradient penalty needs a discriminator without batch norm: batch_norm=False, or another norm"
            )
        return gen.init(gen_key, z, label, train=False), disc_vars, {}

    def disc_loss(params: PyTree, state: State, batch: Batch, key: Key, fake: jax.Array) -> tuple:
        real_pass, fake_pass, penalty_key = jax.random.split(key, 3)
        real, label = batch["image"], label_of(batch)
        if one_pass:
            labels = None if label is None else interleave(label, label)
            logits, stats = discriminate(params, state.disc.stats, interleave(real, fake), labels, real_pass)
            real_logits, fake_logits = logits[::2], logits[1::2]
        else:
            real_logits, stats = discriminate(params, state.disc.stats, real, label, real_pass)
            fake_logits, stats = discriminate(params, stats, fake, label, fake_pass)
        total = loss.disc(real=real_logits, fake=fake_logits)
        # One sum for both, and one for both accuracies: over devices each is a message of its own.
        real_mean, fake_mean = _means(real_logits, fake_logits)
        middle = (real_mean + fake_mean) / 2
        real_accuracy, fake_accuracy = _means(real_logits > middle, fake_logits < middle)
        real_apart, fake_apart = _means(_apart(real), _apart(fake))
        metrics = {
            "disc/loss": total,
            "disc/real": real_mean,
            "disc/fake": fake_mean,
            "disc/gap": real_mean - fake_mean,
            "disc/real_accuracy": real_accuracy,
            "disc/fake_accuracy": fake_accuracy,
            "gen/diversity": fake_apart / jnp.maximum(real_apart, 2e-12),
        }
        for i, (weight, penalty) in enumerate(penalties):
            value = penalty(
                lambda x: discriminate(params, stats, x, label, real_pass)[0],
                real,
                fake,
                jax.random.fold_in(penalty_key, i),
            )
            metrics[f"disc/{getattr(penalty, '__name__', f'penalty_{i}')}"] = value
            total = total + (weight(state.step) if callable(weight) else weight) * value
        return total, (stats, state.aux, metrics)

    def gen_loss(params: PyTree, state: State, batch: Batch, key: Key, fake: jax.Array) -> tuple:
        real_pass, fake_pass = jax.random.split(key)
        label = label_of(batch)
        # The statistics D gathers here are dropped: D learns in its own step. XLA removes the pass over real images
        # where the loss does not use it.
        fake_logits, _ = discriminate(state.disc.params, state.disc.stats, fake, label, fake_pass)
        real_logits, _ = discriminate(state.disc.params, state.disc.stats, batch["image"], label, real_pass)
        total = loss.gen(real=real_logits, fake=fake_logits)
        return total, (state.gen.stats, state.aux, {"gen/loss": total})

    def sample(params: PyTree, stats: PyTree, z: jax.Array, label: jax.Array | None = None) -> Any:
        return gen.apply({"params": params, **stats}, z, label, train=False)

    return Game(init, disc_loss, gen_loss, sample, fakes)


def _apart(x: Array) -> jax.Array:
    """[b ...] -> the mean squared distances [b/2] of rows that stand side by side, on one device; 1 of a single row."""
    pairs = x.shape[0] // 2
    x = x[: 2 * pairs].reshape(pairs, 2, -1)  # [b ...] -> [b/2 2 n]
    return jnp.mean((x[:, 0] - x[:, 1]) ** 2, axis=1) if pairs else jnp.ones(1)


def interleave(x: Array, y: Array) -> jax.Array:
    """[b ...] and [b ...] -> [2b ...], row by row, so that rows which are split over devices stay where they are."""
    return jnp.stack([x, y], 1).reshape(-1, *x.shape[1:])


def _means(a: jax.Array, b: jax.Array) -> jax.Array:
    """[b] and [b] -> their means [2]"""
    return jnp.stack([a, b], axis=1).astype(jnp.float32).mean(axis=0)

"""The adversarial game: a generator of images from noise, a discriminator, any loss and any penalties; with labels, the
conditional game.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.game import Game, State
from gan_jax.games.controls import deceived
from gan_jax.games.network import batch_normed, couples_rows, diversity, interleave, logit_metrics, network
from gan_jax.losses import Loss, feature_matching
from gan_jax.penalties import Lazy, Penalty
from gan_jax.system import mesh
from gan_jax.types import Array, Batch, Control, Key, PyTree, UserError, rows_of

Augment = Callable[[Array, Key, float | Array], Array]  # (images, key, p) -> images


def adversarial(
    gen: nn.Module,
    disc: nn.Module,
    loss: Loss,
    *,
    z_dim: int,
    penalties: Sequence[tuple[float | jax.Array | Callable[[jax.Array], jax.Array], Penalty | Lazy]] = (),
    classes: int = 0,
    accumulate: int = 1,
    one_pass: bool = False,
    augment: Augment | None = None,
    controls: Sequence[Control] = (),
    match_features: bool = False,
) -> Game:
    """Returns the game of `gen` and `disc` with `loss`, to which each penalty is added with its weight in D's loss.

    z is drawn from N(0, I), [b z_dim], unless the batch holds "z" for its rows. A weight is a number or, like an optax
    schedule, a function of the step. With `classes`, both networks get labels: real images their own, fakes that of the real image of the same row (Mirza and
    Osindero 2014, arXiv:1411.1784, equation 2). G's loss is computed on the fakes of D's last step.

    D processes real and fake examples in two passes, so batch norm in D has statistics of each alone. With `one_pass`
    it processes them as one batch of twice the rows, which is faster, and the same where D's logit of a row does not
    depend on other rows. Both networks process `accumulate` equal parts of the batch one after another, while the loss
    and the penalties are those of the whole batch; batch norm then normalises with the statistics of one part.

    `augment(images, key, p)` is applied to all that D sees: to real and fake examples in both losses and, inside the
    critic, to the inputs of the penalties. `p` is aux["p"] where a control keeps it there, else 1.

    Each of `controls` (`types.Control`) adds a term of the logits to D's loss, and keeps values in aux: "p", and
    "deceive", the probability with which a real image is replaced by a fake (`controls.deceived`). With `match_features`
    G's loss is `losses.feature_matching` of D's features, which D returns beside its logits when it is asked for them.

    The view "logits" gives those of images in evaluation mode, without augmentation; there is none for a D with a
    `coupling`, whose logits hang on what else is asked.

    The metric "disc/loss" is the loss without the penalties, each of which is a metric by its name, unweighted. For the
    others see `network.logit_metrics` and `network.diversity`.

    Raises ValueError for `z_dim` or `accumulate` below 1. `init` raises UserError for a D that couples rows, unless by
    batch norm, with `accumulate` > 1; and ValueError for one that couples them with `one_pass`, and for penalties on a D
    with batch norm, whose logit depends on other rows: every penalty is on a row's own gradient (arXiv:1704.00028, section
    4).
    """
    if z_dim < 1 or accumulate < 1:
        raise ValueError(f"z_dim and accumulate must be at least 1; got {z_dim} and {accumulate}")
    gen_apply, disc_apply = network(gen, accumulate), network(disc, accumulate)
    with_features = network(disc, accumulate, features=True)

    def of(penalty: Penalty | Lazy) -> Penalty:
        return penalty.penalty if isinstance(penalty, Lazy) else penalty

    def name_of(i: int) -> str:
        return f"disc/{getattr(of(penalties[i][1]), '__name__', f'penalty_{i}')}"

    def label_of(batch: Batch) -> jax.Array | None:
        if not classes:
            return None
        if "label" not in batch:
            raise ValueError(f"the game has classes={classes}, but the batch has no labels, only {sorted(batch)}")
        return batch["label"]

    def inputs(key: Key, batch: Batch) -> tuple:
        z = batch.get("z", jax.random.normal(key, (rows_of(batch), z_dim)))
        return (z, label_of(batch)) if classes else (z,)

    def fakes(params: PyTree, state: State, batch: Batch, key: Key) -> tuple[jax.Array, PyTree]:
        z_key, net_key = jax.random.split(key)
        return gen_apply(params, state.gen.stats, net_key, *mesh.split_rows(inputs(z_key, batch)))

    def discriminate(
        params: PyTree, state: State, stats: PyTree, x: Array, label: Array | None, key: Key, apply: Any = disc_apply
    ) -> tuple[Any, PyTree]:
        if augment is not None:
            x = augment(x, jax.random.fold_in(key, 1), state.aux.get("p", 1.0))
        return apply(params, stats, key, x, label)

    def init(key: Key, batch: Batch) -> tuple[PyTree, PyTree, PyTree]:
        gen_key, disc_key = jax.random.split(key)
        label = label_of(batch)
        z = jnp.zeros((batch["image"].shape[0], z_dim))
        disc_vars = disc.init(disc_key, batch["image"], label, train=False)
        if one_pass and couples_rows(disc, disc_vars):
            raise ValueError("one_pass needs a discriminator without batch norm, whose logit of a row is its own")
        besides = couples_rows(disc, disc_vars) and not batch_normed(disc_vars)
        if accumulate > 1 and (besides or getattr(disc, "coupling", None) is not None):
            raise UserError(f"--accumulate {accumulate} would split rows that the discriminator couples: leave it out")
        if penalties and batch_normed(disc_vars):
            raise ValueError(
                "a gradient penalty needs a discriminator without batch norm: batch_norm=False, or another norm"
            )
        aux = {name: value for control in controls for name, value in control.init().items()}
        lazy = [name_of(i) for i, (_, one) in enumerate(penalties) if isinstance(one, Lazy)]
        aux |= {name: jnp.zeros((), jnp.float32) for name in lazy}
        return gen.init(gen_key, z, label, train=False), disc_vars, aux

    def disc_loss(params: PyTree, state: State, batch: Batch, key: Key, fake: jax.Array) -> tuple:
        real_pass, fake_pass, penalty_key = jax.random.split(key, 3)
        real, label = batch["image"], label_of(batch)
        if "deceive" in state.aux:
            real = deceived(real, fake, jax.random.fold_in(penalty_key, len(penalties)), state.aux["deceive"])
        if one_pass:
            labels = None if label is None else interleave(label, label)
            logits, stats = discriminate(params, state, state.disc.stats, interleave(real, fake), labels, real_pass)
            real_logits, fake_logits = logits[::2], logits[1::2]
        else:
            real_logits, stats = discriminate(params, state, state.disc.stats, real, label, real_pass)
            fake_logits, stats = discriminate(params, state, stats, fake, label, fake_pass)
        total = loss.disc(real=real_logits, fake=fake_logits)
        metrics = {"disc/loss": total, **logit_metrics(real_logits, fake_logits), **diversity(batch["image"], fake)}
        aux = dict(state.aux)

        def critic(x: Array, rows: slice = slice(None)) -> jax.Array:
            return discriminate(params, state, stats, x, None if label is None else label[rows], real_pass)[0]

        for i, (weight, penalty) in enumerate(penalties):
            name, factor = name_of(i), weight(state.step) if callable(weight) else weight
            compute = functools.partial(of(penalty), critic, real, fake, jax.random.fold_in(penalty_key, i))
            if isinstance(penalty, Lazy):
                due = state.step % penalty.every == 0
                factor = factor * jnp.where(due, float(penalty.every), 0.0)
                aux[name] = jax.lax.cond(due, compute, functools.partial(jnp.asarray, aux[name]))
            value = aux[name] if isinstance(penalty, Lazy) else compute()
            metrics[name] = value
            total = total + factor * value
        for control in controls:
            term, aux, told = control.step(aux, real_logits, fake_logits)
            total, metrics = total + term, {**metrics, **told}
        return total, (stats, jax.lax.stop_gradient(aux), metrics)

    def gen_loss(params: PyTree, state: State, batch: Batch, key: Key, fake: jax.Array) -> tuple:
        real_pass, fake_pass = jax.random.split(key)
        label, disc = label_of(batch), state.disc
        # D's new statistics are dropped: D changes in its own steps only.
        if match_features:
            # Together: batch norm of each alone would make their means and variances equal, which are to be matched.
            labels = None if label is None else interleave(label, label)
            both = interleave(batch["image"], fake)
            (_, found), _ = discriminate(disc.params, state, disc.stats, both, labels, real_pass, with_features)
            total = feature_matching(real=found[::2], fake=found[1::2])
            return total, (state.gen.stats, state.aux, {"gen/loss": total})
        # XLA removes the pass over real images where the loss does not use it.
        fake_logits, _ = discriminate(disc.params, state, disc.stats, fake, label, fake_pass)
        real_logits, _ = discriminate(disc.params, state, disc.stats, batch["image"], label, real_pass)
        total = loss.gen(real=real_logits, fake=fake_logits)
        return total, (state.gen.stats, state.aux, {"gen/loss": total})

    def sample(params: PyTree, stats: PyTree, z: jax.Array, label: jax.Array | None = None) -> Any:
        return gen.apply({"params": params, **stats}, z, label, train=False)

    def logits(state: State, images: Array, label: Array | None = None) -> Any:
        return disc.apply({"params": state.disc.params, **state.disc.stats}, images, label, train=False)

    # With batch norm, too, a logit is of its row alone in evaluation mode; beside a coupling it is not.
    views = {} if getattr(disc, "coupling", None) is not None else {"logits": logits}
    return Game(init, disc_loss, gen_loss, sample, fakes, inputs, views=views, parts=accumulate)

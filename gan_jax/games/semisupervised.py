"""The semi-supervised game: D tells the classes of real images apart, of which a few have labels, and fakes from all of
them (Salimans et al. 2016, arXiv:1606.03498, section 5).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from gan_jax.game import Game, State
from gan_jax.games.network import diversity, logit_metrics, network
from gan_jax.losses import feature_matching
from gan_jax.system import mesh
from gan_jax.types import Array, Batch, Key, PyTree, rows_of


def labelled(logits: Float[Array, "b n"], label: Int[Array, " b"]) -> Float[Array, ""]:
    """E[Z(x) - l_y(x)]: the cross entropy of the classes, with logits l and Z = log sum exp l."""
    right = jnp.take_along_axis(logits, label[:, None], 1)[:, 0]
    return jnp.mean(jax.nn.logsumexp(logits, 1) - right)


def unlabelled(real: Float[Array, "b n"], fake: Float[Array, "b n"]) -> Float[Array, ""]:
    """1/2 (E softplus(-Z(x)) + E softplus(Z(G(z)))), with Z = log sum exp of the logits: half the loss of a D whose
    logit is Z, and that of a softmax over the classes and one more, "fake", whose logit is 0.
    """
    real, fake = (jax.nn.logsumexp(x, 1) for x in (real, fake))
    return (jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))) / 2


def semisupervised(
    gen: nn.Module, disc: nn.Module, *, z_dim: int, average: float = 1e-4, weight: float = 1.0, accumulate: int = 1
) -> Game:
    """Returns the game of `gen`, which takes z uniform in [0, 1], [b z_dim], and `disc`, which returns the logits of the
    classes [b n] and features [b d], and has the argument `measure` for its first batch.

    Batches have "image", real images whose labels are not used, "labelled", and "labelled_label" [b]. D minimises
    `labelled` + weight `unlabelled`; G matches D's features (`losses.feature_matching`). Where the paper's code takes
    new z and new real images for G's step, here it takes those of D's step.

    The view "classes" gives the logits of images by the average of D's parameters, a <- a + average (p - a), of which
    the bias of starting at zero is divided away. aux keeps it: "average" and "share", 1 - (1 - average)^t.
    """
    gen_apply, disc_apply, rate = network(gen, accumulate), network(disc, accumulate), average

    def inputs(key: Key, batch: Batch) -> tuple:
        return (jax.random.uniform(key, (rows_of(batch), z_dim)),)

    def init(key: Key, batch: Batch) -> tuple[PyTree, PyTree, PyTree]:
        gen_key, disc_key = jax.random.split(key)
        disc_vars = disc.init(disc_key, batch["image"], train=False)
        average = jax.tree.map(jnp.zeros_like, disc_vars["params"])
        aux = {"average": average, "share": jnp.zeros((), jnp.float32)}
        return gen.init(gen_key, *inputs(gen_key, batch), train=False), disc_vars, aux

    def fakes(params: PyTree, state: State, batch: Batch, key: Key) -> tuple[jax.Array, PyTree]:
        z_key, net_key = jax.random.split(key)
        return gen_apply(params, state.gen.stats, net_key, *mesh.split_rows(inputs(z_key, batch)))

    def disc_loss(params: PyTree, state: State, batch: Batch, key: Key, fake: jax.Array) -> tuple:
        measure_key, pass_key = jax.random.split(key)

        def measured() -> PyTree:
            variables, rngs = {"params": state.disc.params, **state.disc.stats}, {"dropout": measure_key}
            _, stats = disc.apply(
                variables, batch["image"], train=True, measure=True, rngs=rngs, mutable=[*state.disc.stats]
            )
            return stats

        # Not of a D that begins with another run's constants: those belong to its weights.
        fresh = jnp.stack([jnp.all((x == 0) | (x == 1)) for x in jax.tree.leaves(state.disc.stats)]).all()
        stats = jax.lax.cond((state.step == 0) & fresh, measured, lambda: state.disc.stats)
        # One pass of three times the rows, which are interleaved so that rows that are split over devices stay there.
        three = jnp.stack([batch["labelled"], batch["image"], fake], 1)  # [b 3 ...]
        (logits, _), stats = disc_apply(params, stats, pass_key, three.reshape(-1, *fake.shape[1:]))
        known, real, made = (logits[i::3] for i in range(3))
        of_labels, of_rest = labelled(known, batch["labelled_label"]), unlabelled(real, made)
        right = jnp.mean(jnp.argmax(known, 1) == batch["labelled_label"])
        average = jax.tree.map(lambda a, p: a + rate * (p - a), state.aux["average"], params)
        aux = {"average": average, "share": state.aux["share"] + rate * (1 - state.aux["share"])}
        metrics = {"disc/loss": of_labels + weight * of_rest, "disc/labelled": of_labels, "disc/unlabelled": of_rest}
        sums = logit_metrics(jax.nn.logsumexp(real, 1), jax.nn.logsumexp(made, 1))
        metrics |= {"disc/labelled_accuracy": right, **sums, **diversity(batch["image"], fake)}
        return metrics["disc/loss"], (stats, jax.lax.stop_gradient(aux), metrics)

    def gen_loss(params: PyTree, state: State, batch: Batch, key: Key, fake: jax.Array) -> tuple:
        real_key, fake_key = jax.random.split(key)
        disc = state.disc
        (_, real), _ = disc_apply(disc.params, disc.stats, real_key, batch["image"])
        (_, made), _ = disc_apply(disc.params, disc.stats, fake_key, fake)
        total = feature_matching(real=real, fake=made)
        return total, (state.gen.stats, state.aux, {"gen/loss": total})

    def sample(params: PyTree, stats: PyTree, z: Array) -> jax.Array:
        return gen.apply({"params": params, **stats}, z, train=False)  # type: ignore[return-value]

    def classes(state: State, images: Array) -> jax.Array:
        share = jnp.maximum(state.aux["share"], 1e-12)
        params = jax.tree.map(lambda a: a / share, state.aux["average"])
        return disc.apply({"params": params, **state.disc.stats}, images, train=False)[0]

    return Game(init, disc_loss, gen_loss, sample, fakes, inputs, views={"classes": classes}, parts=accumulate)

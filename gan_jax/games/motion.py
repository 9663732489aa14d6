"""The game of clips with two discriminators: one judges a frame of each clip, the other the whole (Tulyakov et al. 2018,
arXiv:1707.04993, equation 6).
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from gan_jax.game import Game, State
from gan_jax.games.network import diversity, logit_metrics, network
from gan_jax.games.semisupervised import labelled
from gan_jax.losses import Loss
from gan_jax.system import mesh
from gan_jax.types import Array, Batch, Key, PyTree, rows_of


def motion(
    gen: nn.Module,
    disc: nn.Module,
    loss: Loss,
    *,
    content: int,
    moving: int,
    length: int,
    classes: int = 0,
    weight: float | jax.Array = 1.0,
    accumulate: int = 1,
) -> Game:
    """Returns the game of `gen(content [b c], motion [b length+1 m], label)`, which makes clips [b length h w c], and of
    `disc(clips, frames)`, which returns logits of one frame of each, of the clips, and of their classes.

    D's loss is L(frames) + L(clips) + weight CE(classes of real clips), and G's the same of fakes, whose labels are those of
    the real clips in the same rows; without `classes` both last terms are left out. The frame of each clip is drawn anew in every
    step, and is the same in the real and the fake clip of a row. All noise is from N(0, I). Metrics are without the weight:
    "disc/loss", the sum of both, "disc/frames" and "disc/clips", "disc/classes", and the same of G.
    """
    gen_apply, disc_apply = network(gen, accumulate), network(disc, accumulate)

    def inputs(key: Key, batch: Batch) -> tuple:
        keys, rows = jax.random.split(key), rows_of(batch)
        noise = (
            jax.random.normal(keys[0], (rows, content)),
            jax.random.normal(keys[1], (rows, length + 1, moving)),
        )
        return (*noise, batch["label"]) if classes else noise

    def init(key: Key, batch: Batch) -> tuple[PyTree, PyTree, PyTree]:
        gen_key, disc_key, z_key = jax.random.split(key, 3)
        clips = batch["image"]
        found = disc.init(disc_key, clips, clips[:, 0], train=False)
        return gen.init(gen_key, *inputs(z_key, batch), train=False), found, {}

    def fakes(params: PyTree, state: State, batch: Batch, key: Key) -> tuple[jax.Array, PyTree]:
        z_key, net_key = jax.random.split(key)
        return gen_apply(params, state.gen.stats, net_key, *mesh.split_rows(inputs(z_key, batch)))

    def judged(params: PyTree, stats: PyTree, key: Key, clips: Array, which: Array) -> tuple:
        # One of the frames as a sum: what a gather would scatter back in its gradient is a product here.
        frames = jnp.einsum("bt,bthwc->bhwc", which, clips)
        return disc_apply(params, stats, key, clips, frames)

    def frame_of(key: Key, batch: Batch) -> jax.Array:
        drawn = jax.random.randint(jax.random.fold_in(key, 1), (rows_of(batch),), 0, length)
        return mesh.split_rows(jax.nn.one_hot(drawn, length, dtype=batch["image"].dtype))

    def disc_loss(params: PyTree, state: State, batch: Batch, key: Key, fake: Array) -> tuple:
        real_pass, fake_pass, frame_key = jax.random.split(key, 3)
        which = frame_of(frame_key, batch)
        (real_frame, real_clip, real_class), stats = judged(params, state.disc.stats, real_pass, batch["image"], which)
        (fake_frame, fake_clip, _), stats = judged(params, stats, fake_pass, fake, which)
        metrics = {
            "disc/frames": loss.disc(real=real_frame, fake=fake_frame),
            "disc/clips": loss.disc(real=real_clip, fake=fake_clip),
            **logit_metrics(real_clip, fake_clip),
            **diversity(batch["image"], fake),
        }
        total = metrics["disc/frames"] + metrics["disc/clips"]
        metrics["disc/loss"] = total
        if classes:
            metrics["disc/classes"] = labelled(real_class, batch["label"])
            total = total + weight * metrics["disc/classes"]
        return total, (stats, state.aux, metrics)

    def gen_loss(params: PyTree, state: State, batch: Batch, key: Key, fake: Array) -> tuple:
        real_pass, fake_pass, frame_key = jax.random.split(key, 3)
        disc, which = state.disc, frame_of(frame_key, batch)
        (fake_frame, fake_clip, fake_class), _ = judged(disc.params, disc.stats, fake_pass, fake, which)
        # XLA removes the pass over real clips where the loss does not use it.
        (real_frame, real_clip, _), _ = judged(disc.params, disc.stats, real_pass, batch["image"], which)
        metrics = {
            "gen/frames": loss.gen(real=real_frame, fake=fake_frame),
            "gen/clips": loss.gen(real=real_clip, fake=fake_clip),
        }
        total = metrics["gen/frames"] + metrics["gen/clips"]
        metrics["gen/loss"] = total
        if classes:
            metrics["gen/classes"] = labelled(fake_class, batch["label"])
            total = total + weight * metrics["gen/classes"]
        return total, (state.gen.stats, state.aux, metrics)

    def sample(params: PyTree, stats: PyTree, z: Array, path: Array, label: Array | None = None) -> Any:
        return gen.apply({"params": params, **stats}, z, path, label, train=False)

    return Game(init, disc_loss, gen_loss, sample, fakes, inputs, parts=accumulate)

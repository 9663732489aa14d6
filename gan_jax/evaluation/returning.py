"""The way back: a network learns from real pairs to make what was given of what should be made, and is asked of what was
made. A translation that looks right, but is not of what was given, does not lead back to it.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from gan_jax.data import pairs as pairs_of
from gan_jax.data.pairs import Pairs
from gan_jax.evaluation.classifier import digest, in_chunks
from gan_jax.models.unet import UNet
from gan_jax.system import cache, mesh
from gan_jax.system.terminal import say
from gan_jax.types import PyTree

VERSION = 1  # of network and training, to be raised when either changes
STEPS, BATCH, WIDTH, CALL = 1_500, 16, 16, 50


def way_back(train: Pairs) -> tuple[Callable[[np.ndarray], np.ndarray], dict[str, Any]]:
    """Returns the function from images of b [n h w c] in [-1, 1] to images of a: a U-Net of width 16, learnt from the pairs by
    L1 in 1,500 steps of 16, or in 60 epochs if that is less; and its steps and a digest of its weights.

    It is kept in the user's cache. Trained anew it differs by rounding.
    """
    channels, shape = train.a.images.shape[-1], train.b.images.shape[1:]
    steps = max(1, min(STEPS, 60 * len(train.b.images) // BATCH))
    downs = next((n for n in range(6, 0, -1) if shape[0] % 2**n == 0 and shape[1] % 2**n == 0), 0)
    if not downs:
        raise ValueError(f"images of {shape[0]}x{shape[1]} cannot be halved")
    net = UNet(channels, WIDTH, downs)

    def make() -> dict[str, np.ndarray]:
        say(f"learning the way back of {train.a.name} for its metrics, {steps:,} steps, once", error=True)
        with mesh.local_mesh(1):
            return {key: np.asarray(x) for key, x in flatten_dict(_learnt(net, train, steps), sep="/").items()}

    stored = cache.arrays(f"back-{VERSION}-{train.a.digest}-{train.b.digest}-{steps}", make)
    params = unflatten_dict(stored, sep="/")
    forward = jax.jit(lambda params, rows: (net.apply({"params": params}, rows, train=False),))
    how = {"way_back": f"U-Net of width {WIDTH}, {steps} steps", "network_weights": digest(stored)}
    return lambda images: in_chunks(forward, params, np.asarray(images, np.float32), 50)[0], how


def nearest_colours(images: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Returns the index of the nearest of `colours` [k c], uint8, for each pixel of images [n h w c] in [-1, 1]."""
    palette = colours.astype(np.float32) / 127.5 - 1
    return np.stack([((image[..., None, :] - palette) ** 2).sum(-1).argmin(-1) for image in images])


def _learnt(net: UNet, train: Pairs, steps: int) -> PyTree:
    source = pairs_of.pairs(train, min(BATCH, len(train.b.images)), 0, flip=True)
    tx = optax.adam(optax.cosine_decay_schedule(1e-3, steps), b1=0.9)

    def step(number: jax.Array, state: tuple, fetched: PyTree) -> tuple:
        params, opt = state
        batch = source.batch(fetched, source.key, number)

        def loss(params: PyTree) -> jax.Array:
            made = net.apply({"params": params}, batch["b"], train=True)
            return jnp.mean(jnp.abs(made - batch["a"]))

        updates, opt = tx.update(jax.grad(loss)(params), opt, params)
        return optax.apply_updates(params, updates), opt

    @jax.jit
    def play(begin: jax.Array, end: jax.Array, state: tuple, fetched: PyTree) -> tuple:
        return jax.lax.fori_loop(begin, end, lambda number, state: step(number, state, fetched), state)

    params = net.init(jax.random.key(0), jnp.zeros((1, *train.b.images.shape[1:])), train=False)["params"]
    state, fetched = (params, tx.init(params)), jax.device_put(source.fetch(source.key, 0))
    for begin in range(0, steps, CALL):
        state = play(jnp.int32(begin), jnp.int32(min(begin + CALL, steps)), state, fetched)
    return state[0]

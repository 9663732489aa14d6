"""A classifier of a labelled image set, trained in some minutes and cached: a feature network for the domain of the
set. The Inception network, trained on photographs of ImageNet's classes, is less suited to other domains.
"""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from gan_jax.data import source
from gan_jax.evaluation.classifier_net import Classifier
from gan_jax.system import cache, mesh
from gan_jax.system.terminal import say
from gan_jax.types import Array, ImageSet, PyTree, UserError

VERSION = 2  # version of network and training, to be raised when either changes
STEPS = 5_000  # of training, for the classifiers of metrics
BATCH = 128
CALL = 50  # steps in one call of the compiled program
EVALUATED, ROWS = 500, 5_000  # images in one evaluation batch, and images in memory at a time
SHIPPED = Path(__file__).parent / "classifiers"  # classifiers of common sets


class Trained(NamedTuple):
    """A trained classifier."""

    variables: PyTree
    classes: int
    digest: str  # 16 hex digits of the SHA-256 of the variables
    steps: int

    def __call__(self, images: Array) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns features [n 128] and logits [n classes] of images [n h w c], uint8 or in [-1, 1]."""
        forward = functools.partial(_forward, classes=self.classes)
        features, logits = in_chunks(forward, self.variables, images, EVALUATED)
        return features, logits


def trained(images: ImageSet, steps: int, seed: int = 0) -> Trained:
    """Returns a classifier of the set, trained for `steps` steps of 128 images, or for 40 epochs if that is less.

    Classifiers are cached in the user's cache, by everything they depend on, in float16. Those of MNIST, Fashion-MNIST
    and the digits come with gan_jax, so that values from different machines use the same weights; weights that are
    trained anew differ, by rounding. Training minimises the cross-entropy by AdamW (weight decay 1e-4) with a learning
    rate that rises to 3e-3 and falls to 0 (Smith and Topin 2018, arXiv:1708.07120). Raises UserError for a set without
    labels.
    """
    if not images.classes:
        raise UserError(f"{images.name} has no labels: a classifier needs some")
    steps = max(1, min(steps, 40 * len(images.images) // BATCH))
    name = f"classifier-{VERSION}-{images.digest}-{images.classes}-{steps}-{seed}"

    def make() -> dict[str, np.ndarray]:
        say(f"training a classifier of {images.name} for its metrics, {steps:,} steps, once", error=True)
        with mesh.local_mesh(1):
            learnt = flatten_dict(_train(images, steps, seed), sep="/")
            return {key: np.asarray(value, np.float16) for key, value in learnt.items()}

    shipped = SHIPPED / f"{name}.npz"
    if shipped.exists():
        with np.load(shipped) as file:
            stored = {key: file[key] for key in file.files}
    else:
        stored = cache.arrays(name, make)
    flat = {key: value.astype(np.float32) for key, value in stored.items()}
    return Trained(unflatten_dict(flat, sep="/"), images.classes, digest(flat), steps)


def accuracy(classifier: Trained, images: ImageSet) -> float:
    """Returns the share of images classified correctly, in [0, 1]. Raises UserError for a set without labels."""
    if images.labels is None:
        raise UserError(f"{images.name} has no labels: no classification of it is right or wrong")
    correct = 0
    for begin in range(0, len(images.images), ROWS):  # in memory at a time
        _, logits = classifier(np.asarray(images.images[begin : begin + ROWS]))
        correct += int((np.asarray(logits).argmax(1) == images.labels[begin : begin + ROWS]).sum())
    return correct / len(images.images)


def in_chunks(
    forward: Callable[[PyTree, jax.Array], tuple[jax.Array, ...]], variables: PyTree, images: Array, size: int
) -> list[np.ndarray]:
    """Computes forward(variables, rows) for `size` rows at a time; returns each of its outputs, concatenated.

    `size` is rounded up to a multiple of the devices of this process, over which the rows of a chunk are split. The
    last chunk is filled up with copies of its first row, so that one program is compiled.
    """
    outputs = []
    with mesh.local_mesh() as grid:
        size = -(-size // grid.size) * grid.size
        variables = jax.device_put(variables, mesh.replicated(grid))
        for begin in range(0, len(images), size):
            rows = np.asarray(images[begin : begin + size])
            full = np.concatenate([rows, np.repeat(rows[:1], size - len(rows), 0)])
            parts = forward(variables, jax.device_put(full, mesh.batch_sharding(grid)))
            outputs.append([np.asarray(part)[: len(rows)] for part in parts])
    return [np.concatenate(parts) for parts in zip(*outputs, strict=True)]


@functools.partial(jax.jit, static_argnames="classes")
def _forward(variables: PyTree, rows: jax.Array, classes: int) -> tuple[jax.Array, jax.Array]:
    if rows.dtype == jnp.uint8:
        rows = rows.astype(jnp.float32) / 127.5 - 1
    return Classifier(classes).apply(variables, rows, train=False)  # type: ignore[return-value]


def _train(images: ImageSet, steps: int, seed: int) -> PyTree:
    network, batches = Classifier(images.classes), source(images, min(BATCH, len(images.images)), seed)
    tx = optax.adamw(optax.cosine_onecycle_schedule(steps, 3e-3, 0.2), weight_decay=1e-4)
    key = jax.random.key(seed)

    def step(number: jax.Array, state: tuple, fetched: PyTree) -> tuple:
        params, stats, opt = state
        batch = batches.batch(fetched, key, number)

        def loss(params: PyTree) -> tuple[jax.Array, PyTree]:
            (_, logits), new = network.apply(
                {"params": params, **stats}, batch["image"], train=True, mutable=list(stats),
                rngs={"dropout": jax.random.fold_in(key, number)},
            )  # fmt: skip
            return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean(), new

        grads, stats = jax.grad(loss, has_aux=True)(params)
        updates, opt = tx.update(grads, opt, params)
        return optax.apply_updates(params, updates), stats, opt

    @jax.jit
    def play(begin: jax.Array, end: jax.Array, state: tuple, fetched: PyTree) -> tuple:
        return jax.lax.fori_loop(begin, end, lambda number, state: step(number, state, fetched), state)

    variables = network.init(key, jnp.zeros((1, *images.spec.shape)), train=False)
    params = variables["params"]
    state = (params, {"batch_stats": variables["batch_stats"]}, tx.init(params))
    fetched = jax.device_put(batches.fetch(batches.key, 0)) if batches.resident else None
    for begin in range(0, steps, CALL if batches.resident else 1):
        end = min(begin + CALL, steps) if batches.resident else begin + 1
        state = play(
            jnp.int32(begin), jnp.int32(end), state, fetched if batches.resident else batches.fetch(batches.key, begin)
        )
    return {"params": state[0], **state[1]}


def digest(flat: dict[str, np.ndarray]) -> str:
    """Returns 16 hex digits that tell these arrays from all others."""
    sha = hashlib.sha256()
    for name in sorted(flat):
        sha.update(f"{name}{flat[name].dtype}{flat[name].shape}".encode())
        sha.update(np.ascontiguousarray(flat[name]).tobytes())
    return sha.hexdigest()[:16]

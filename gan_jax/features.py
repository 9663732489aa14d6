"""What metrics look at: functions of images to features, each with the protocol that names it."""

import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from gan_jax import cache, classify, resize, weights
from gan_jax.images import to_uint8
from gan_jax.models.inception import Inception
from gan_jax.types import Array, ImageSet, PyTree

Apply = Callable[[Array], tuple[np.ndarray, np.ndarray | None]]
ROWS = 5_000  # images that are brought to memory at a time


class Ready(NamedTuple):
    """A feature network that can be applied, and what tells it from others."""

    apply: Apply  # of uint8, or of floats in [-1, 1] as they are
    protocol: Mapping[str, Any]


class Features(NamedTuple):
    """images [n h w c], uint8 -> features [n d] float32, and a classifier's logits [n classes] or None."""

    kind: str  # one word, which metrics on it are called by: "frechet_pixels"
    ready: Callable[[], Ready]  # which may take a minute the first time: a classifier is trained
    classes: int = 0  # of the logits; 0: none

    def __call__(self, images: Array) -> tuple[np.ndarray, np.ndarray | None]:
        """Of images in any form: those in [-1, 1] are rounded to 8 bits first, as pictures are saved."""
        apply, found = self.ready().apply, []
        for begin in range(0, len(images), ROWS):
            rows = np.asarray(images[begin : begin + ROWS])
            found.append(apply(rows if rows.dtype == np.uint8 else to_uint8(rows)))
        logits = [part[1] for part in found if part[1] is not None]
        return np.concatenate([part[0] for part in found]), np.concatenate(logits) if logits else None

    def of(self, images: ImageSet, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Of some rows of a set, kept in the user's cache under all that they depend on."""
        which = hashlib.sha256(rows.astype(np.int64).tobytes()).hexdigest()
        what = {**self.ready().protocol, "data": images.digest, "rows": which}
        digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:24]

        def make() -> dict[str, np.ndarray]:
            parts = [self(np.asarray(images.images[rows[i : i + ROWS]])) for i in range(0, len(rows), ROWS)]
            logits = [part[1] for part in parts if part[1] is not None]
            found = {"features": np.concatenate([part[0] for part in parts])}
            return found | ({"logits": np.concatenate(logits)} if logits else {})

        kept = cache.arrays(f"features-{digest}", make)
        return kept["features"], kept.get("logits")


def pixels() -> Features:
    """The pixels themselves, in [-1, 1]: no perceptual features, but they need nothing."""

    def apply(images: Array) -> tuple[np.ndarray, None]:
        return _flat(images), None

    return Features("pixels", lambda: Ready(apply, {"features": "pixels in [-1, 1]"}))


def projection(dimensions: int, seed: int = 0) -> Features:
    """Random projections of the pixels onto `dimensions` directions, N(0, 1 / pixels), which keep distances on average."""

    def apply(images: Array) -> tuple[np.ndarray, None]:
        x = _flat(images)
        directions = np.random.default_rng(seed).normal(0, x.shape[1] ** -0.5, (x.shape[1], dimensions))
        return x @ directions.astype(np.float32), None

    told = {"features": f"{dimensions} random projections of the pixels, seed {seed}"}
    return Features("projection", lambda: Ready(apply, told))


def classifier(images: ImageSet, steps: int) -> Features:
    """The last layer but one of a classifier of the set (`classify.trained`), and its logits."""

    @functools.cache
    def ready() -> Ready:
        network = classify.trained(images, steps)
        told = f"classifier of {images.name}, {network.steps} steps, the layer before the logits"
        return Ready(network.__call__, {"features": told, "network_weights": network.digest, "resizer": "none"})

    return Features("classifier", ready, images.classes)


def inception(path: str = "", resizer: Callable = resize.tensorflow) -> Features:
    """The network of the Fréchet inception distance and the inception score, as published (`weights.inception`): features
    [n 2048] of its last pool and logits [n 1008] without their bias. `resizer` is one of `gan_jax.resize`, by default that
    of the original.
    """
    variables, digest = weights.inception(path)
    network = Inception(logit_bias=False)

    @jax.jit
    def forward(variables: PyTree, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        return network.apply(variables, resizer(rows))  # type: ignore[return-value]

    def apply(images: Array) -> tuple[np.ndarray, np.ndarray]:
        features, logits = classify.in_chunks(forward, variables, images, 50)
        return features, logits

    told = {
        "features": "FID Inception, 2015-12-05, last pool",
        "network_weights": digest[:16],
        "resizer": resizer.__name__,
    }
    return Features("inception", lambda: Ready(apply, told), 1_008)


def _flat(images: Array) -> np.ndarray:
    x = np.asarray(images).reshape(len(images), -1)
    return x.astype(np.float32) / 127.5 - 1 if x.dtype == np.uint8 else x

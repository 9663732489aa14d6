"""What metrics look at: functions of images to features, each with the protocol that names it."""

import functools
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from gan_jax.evaluation import inception_weights, resize
from gan_jax.evaluation.classifier import in_chunks, trained
from gan_jax.evaluation.inception_net import Inception
from gan_jax.metrics import frechet
from gan_jax.system import cache
from gan_jax.types import Array, ImageSet, PyTree
from gan_jax.workdir.pictures import to_uint8

Apply = Callable[[Array], tuple[np.ndarray, np.ndarray | None]]
ROWS, ENTRIES = 5_000, 2**26  # images, and their values, that are brought to memory at a time
FAR = 8.0  # from [-1, 1], where a generator without a last tanh may stray, and 8-bit values as floats go at once


class Ready(NamedTuple):
    """A feature network that can be applied, and what tells it from others."""

    apply: Apply  # of uint8, or of floats in [-1, 1] as they are
    protocol: Mapping[str, Any]


class Features(NamedTuple):
    """images [n h w c], uint8 -> features [n d] float32, and a classifier's logits [n classes] or None; or of other arrays
    [n ...], where nothing is rounded.
    """

    kind: str  # one word, which metrics on it are called by: "frechet_pixels"
    ready: Callable[[], Ready]  # which may take a minute the first time: a classifier is trained
    classes: int = 0  # of the logits; 0: none
    bits: int | None = 8  # to which images in [-1, 1] are rounded, as pictures are saved; None: not at all

    @property
    def protocol(self) -> dict[str, Any]:
        """The network's, and what becomes of pixels before it sees them."""
        return {**self.ready().protocol, "pixels": "not rounded" if self.bits is None else f"{self.bits} bits"}

    def __call__(self, images: Array) -> tuple[np.ndarray, np.ndarray | None]:
        """Of images in any form: those in [-1, 1] are rounded first. ValueError for values that are not finite, and for
        those of another range, such as 0 to 255.
        """
        return _joined([self._part(images[part]) for part in _parts(images.shape, len(images))])

    def rounded(self, images: Array) -> np.ndarray:
        """As the network is given them; a part at a time, since each step of it takes memory."""
        return np.concatenate([self._rounded(images[part]) for part in _parts(images.shape, len(images))])

    def _rounded(self, images: Array) -> np.ndarray:
        rows = np.asarray(images)
        if self.bits is None:
            if not np.isfinite(rows).all():
                raise ValueError(f"of what is measured {np.mean(~np.isfinite(rows)):.2%} is not finite")
            return rows
        if rows.dtype != np.uint8:
            if not np.abs(rows).max(initial=0) < FAR:  # NaN is not less either
                raise ValueError(f"images are uint8, or finite floats in [-1, 1]; got {rows.min():g} to {rows.max():g}")
            rows = to_uint8(rows)
        return rows

    def _part(self, images: Array) -> tuple[np.ndarray, np.ndarray | None]:
        return self.ready().apply(self._rounded(images))

    def batches(self, images: ImageSet, rows: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Of some rows of a set, a part at a time."""
        for part in _parts(images.spec.shape, len(rows)):
            yield self._part(np.asarray(images.images[rows[part]]))

    def name(self, images: ImageSet, rows: np.ndarray) -> str:
        """What tells features of these rows from all others: a hash of all that they depend on."""
        which = hashlib.sha256(rows.astype(np.int64).tobytes()).hexdigest()
        changed = getattr(images.images, "changed", 0)
        what = {**self.protocol, "data": images.digest, "rows": which, "changed": changed}
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:24]

    def cached(self, images: ImageSet, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Of some rows of a set, kept in the user's cache under all that they depend on."""

        def make() -> dict[str, np.ndarray]:
            features, logits = _joined(list(self.batches(images, rows)))
            return {"features": features} | ({} if logits is None else {"logits": logits})

        kept = cache.arrays(f"features-{self.name(images, rows)}", make)
        return kept["features"], kept.get("logits")

    def moments(self, images: ImageSet, rows: np.ndarray) -> frechet.Moments:
        """Of some rows of a set, whose features are never all in memory; kept in the user's cache likewise."""

        def make() -> dict[str, np.ndarray]:
            found = frechet.moments(part[0] for part in self.batches(images, rows))
            return {"n": np.array(found.n), "mean": found.mean, "scatter": found.scatter}

        kept = cache.arrays(f"moments-{self.name(images, rows)}", make)
        return frechet.Moments(int(kept["n"]), kept["mean"], kept["scatter"])


def _parts(shape: tuple[int, ...], count: int) -> list[slice]:
    """Of `count` images of this shape [h w c] as many at a time as may be in memory."""
    each = min(ROWS, max(1, ENTRIES // max(1, math.prod(shape[-3:]))))
    return [slice(begin, begin + each) for begin in range(0, count, each)]


def _joined(parts: list[tuple[np.ndarray, np.ndarray | None]]) -> tuple[np.ndarray, np.ndarray | None]:
    logits = [part[1] for part in parts if part[1] is not None]
    return np.concatenate([part[0] for part in parts]), np.concatenate(logits) if logits else None


def pixels() -> Features:
    """The pixels themselves, in [-1, 1]: no perceptual features, but they need nothing."""

    def apply(images: Array) -> tuple[np.ndarray, None]:
        return _flat(images), None

    return Features("pixels", lambda: Ready(apply, {"features": "pixels in [-1, 1]"}))


def projection(dimensions: int, seed: int = 0) -> Features:
    """Random projections of the pixels: each pixel, by a random sign, is added to one of `dimensions` sums, which keeps
    squared distances on average, in no memory of its own whatever the images' size (Charikar et al. 2002, count sketch).
    """

    def apply(images: Array) -> tuple[np.ndarray, None]:
        import scipy.sparse  # here alone

        x = _flat(images)
        rng, pixels = np.random.default_rng(seed), np.arange(x.shape[1])
        signs, places = rng.choice(np.array([-1, 1], np.float32), len(pixels)), rng.integers(0, dimensions, len(pixels))
        sums = scipy.sparse.csr_array((signs, (pixels, places)), shape=(len(pixels), dimensions))
        return np.asarray(x @ sums), None

    told = {"features": f"{dimensions} signed sums of random pixels, seed {seed}"}
    return Features("projection", lambda: Ready(apply, told))


def classifier(images: ImageSet, steps: int) -> Features:
    """The last layer but one of a classifier of the set (`classifier.trained`), and its logits."""

    @functools.cache
    def ready() -> Ready:
        network = trained(images, steps)
        told = f"classifier of {images.name}, {network.steps} steps, the layer before the logits"
        return Ready(network.__call__, {"features": told, "network_weights": network.digest, "resizer": "none"})

    return Features("classifier", ready, images.classes)


def inception(path: str = "", resizer: Callable = resize.tensorflow) -> Features:
    """The network of the Fréchet inception distance and the inception score, as published (`inception_weights.inception`): features
    [n 2048] of its last pool and logits [n 1008] without their bias. `resizer` is one of `gan_jax.evaluation.resize`, by default that
    of the original.
    """
    variables, digest = inception_weights.inception(path)
    network = Inception(logit_bias=False)

    @jax.jit
    def forward(variables: PyTree, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        return network.apply(variables, resizer(rows))  # type: ignore[return-value]

    def apply(images: Array) -> tuple[np.ndarray, np.ndarray]:
        features, logits = in_chunks(forward, variables, images, 50)
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

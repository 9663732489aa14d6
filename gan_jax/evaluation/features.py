"""Feature networks: functions from images to the features that metrics use, each with its protocol."""

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
ROWS, ENTRIES = 5_000, 2**26  # images, and values of images, in memory at a time
FAR = 8.0  # limit of |x|: a generator without a final tanh may exceed [-1, 1], values in 0..255 exceed this limit


class Ready(NamedTuple):
    """A feature network that is ready to be applied, and the fields by which protocols identify it."""

    apply: Apply  # takes uint8, or floats in [-1, 1] that it does not round
    protocol: Mapping[str, Any]


class Features(NamedTuple):
    """Function from images [n h w c] to features [n d] float32, and the logits [n classes] of a classifier or None.

    With `bits` None it takes other arrays [n ...], and rounds nothing.
    """

    kind: str  # one word, the suffix of metrics: "frechet_pixels"
    ready: Callable[[], Ready]  # may take minutes the first time, to train a classifier
    classes: int = 0  # number of logits; 0: none
    bits: int | None = 8  # to which images in [-1, 1] are rounded, as in saved pictures; None: no rounding

    @property
    def protocol(self) -> dict[str, Any]:
        """The protocol of the network, and how pixels are rounded before it."""
        return {**self.ready().protocol, "pixels": "not rounded" if self.bits is None else f"{self.bits} bits"}

    def __call__(self, images: Array) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns features and logits of images, uint8 or floats in [-1, 1], which are rounded first.

        Raises ValueError for values that are not finite, or of another range, such as floats in 0..255.
        """
        return _joined([self._part(images[part]) for part in _parts(images.shape, len(images))])

    def rounded(self, images: Array) -> np.ndarray:
        """Returns the images as the network takes them, rounded; computed a part at a time, to save memory."""
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
        """Yields features and logits of some rows of a set, a part at a time."""
        for part in _parts(images.spec.shape, len(rows)):
            yield self._part(np.asarray(images.images[rows[part]]))

    def name(self, images: ImageSet, rows: np.ndarray) -> str:
        """Returns a hash of everything that the features of these rows depend on."""
        which = hashlib.sha256(rows.astype(np.int64).tobytes()).hexdigest()
        changed = getattr(images.images, "changed", 0)
        facts = {**self.protocol, "data": images.digest, "rows": which, "changed": changed}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]

    def cached(self, images: ImageSet, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns features and logits of some rows of a set, cached in the user's cache."""

        def make() -> dict[str, np.ndarray]:
            features, logits = _joined(list(self.batches(images, rows)))
            return {"features": features} | ({} if logits is None else {"logits": logits})

        stored = cache.arrays(f"features-{self.name(images, rows)}", make)
        return stored["features"], stored.get("logits")

    def moments(self, images: ImageSet, rows: np.ndarray) -> frechet.Moments:
        """Returns the moments of the features of some rows of a set, cached, without all features in memory."""

        def make() -> dict[str, np.ndarray]:
            result = frechet.moments(part[0] for part in self.batches(images, rows))
            return {"n": np.array(result.n), "mean": result.mean, "scatter": result.scatter}

        stored = cache.arrays(f"moments-{self.name(images, rows)}", make)
        return frechet.Moments(int(stored["n"]), stored["mean"], stored["scatter"])


def _parts(shape: tuple[int, ...], count: int) -> list[slice]:
    """Slices of `count` images of this shape [... h w c], limited by ROWS images and ENTRIES values each."""
    each = min(ROWS, max(1, ENTRIES // max(1, math.prod(shape[-3:]))))
    return [slice(begin, begin + each) for begin in range(0, count, each)]


def _joined(parts: list[tuple[np.ndarray, np.ndarray | None]]) -> tuple[np.ndarray, np.ndarray | None]:
    logits = [part[1] for part in parts if part[1] is not None]
    return np.concatenate([part[0] for part in parts]), np.concatenate(logits) if logits else None


def pixels() -> Features:
    """Returns the pixels themselves, in [-1, 1], as features: not perceptual, but they need no network."""

    def apply(images: Array) -> tuple[np.ndarray, None]:
        return _flat(images), None

    return Features("pixels", lambda: Ready(apply, {"features": "pixels in [-1, 1]"}))


def projection(dimensions: int, seed: int = 0) -> Features:
    """Returns random projections of the pixels as features (count sketch, Charikar et al. 2002).

    Each pixel is multiplied by a random sign and added to one of `dimensions` sums, chosen at random. This preserves
    squared distances in expectation, and needs no projection matrix, however large the images are.
    """

    def apply(images: Array) -> tuple[np.ndarray, None]:
        import scipy.sparse  # imported only where it is needed

        x = _flat(images)
        rng, pixels = np.random.default_rng(seed), np.arange(x.shape[1])
        signs, places = rng.choice(np.array([-1, 1], np.float32), len(pixels)), rng.integers(0, dimensions, len(pixels))
        sums = scipy.sparse.csr_array((signs, (pixels, places)), shape=(len(pixels), dimensions))
        return np.asarray(x @ sums), None

    protocol = {"features": f"{dimensions} signed sums of random pixels, seed {seed}"}
    return Features("projection", lambda: Ready(apply, protocol))


def classifier(images: ImageSet, steps: int) -> Features:
    """Returns the features before the logits, and the logits, of a classifier of the set (`classifier.trained`)."""

    @functools.cache
    def ready() -> Ready:
        network = trained(images, steps)
        description = f"classifier of {images.name}, {network.steps} steps, the layer before the logits"
        return Ready(network.__call__, {"features": description, "network_weights": network.digest, "resizer": "none"})

    return Features("classifier", ready, images.classes)


def inception(path: str = "", resizer: Callable = resize.tensorflow) -> Features:
    """Returns the features of the published network of FID and Inception Score (`inception_weights.inception`).

    Features are those of the last pool [n 2048], logits [n 1008] are without bias. `resizer` is a function of
    `gan_jax.evaluation.resize`, by default that of the original. `path` names a file of weights. Raises UserError where
    the weights cannot be read.
    """
    variables, digest = inception_weights.inception(path)
    network = Inception(logit_bias=False)

    @jax.jit
    def forward(variables: PyTree, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        return network.apply(variables, resizer(rows))  # type: ignore[return-value]

    def apply(images: Array) -> tuple[np.ndarray, np.ndarray]:
        features, logits = in_chunks(forward, variables, images, 50)
        return features, logits

    protocol = {
        "features": "FID Inception, 2015-12-05, last pool",
        "network_weights": digest[:16],
        "resizer": resizer.__name__,
    }
    return Features("inception", lambda: Ready(apply, protocol), 1_008)


def _flat(images: Array) -> np.ndarray:
    x = np.asarray(images).reshape(len(images), -1)
    return x.astype(np.float32) / 127.5 - 1 if x.dtype == np.uint8 else x

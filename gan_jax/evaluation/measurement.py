"""Real images, and what is measured beside them."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from gan_jax.evaluation.features import Features
from gan_jax.metrics import frechet
from gan_jax.types import ImageSet


class Reference:
    """The real side: the images that distances are taken to, and others, not seen in training, that stand in the fakes'
    place for the floor.

    All of `real` are the reference where there are `test` images; without those `real` is halved by seed 0, and the second
    half is held out, unless `halve` is false. With `floor` false nothing is held out, and there is no floor. `train` is
    what the generator has learnt, where that is not `real`.
    """

    def __init__(
        self,
        real: ImageSet,
        features: Features,
        test: ImageSet | None,
        *,
        split: str = "train",
        train: ImageSet | None = None,
        halve: bool = True,
        floor: bool = True,
    ):
        self.real, self.features, self.test, self.train = real, features, test, train or real
        order = np.random.default_rng(0).permutation(len(real.images))
        self.held: ImageSet | None = test if floor else None
        if self.held is not None:
            self.rows, self.held_rows = order, np.random.default_rng(0).permutation(len(self.held.images))
        elif halve and floor:
            half = len(order) // 2
            self.rows, self.held, self.held_rows = order[:half], real, order[half:]
        else:
            self.rows, self.held_rows = order, order[:0]
        self._near: dict[int, np.ndarray] = {}
        self._held_out: dict[int, Candidate] = {}
        self.split = f"a half of {split}" if self.held is real else split

    def most(self, count: int) -> int:
        """As many samples as can be set beside as many real images, and have a floor of as many held-out ones."""
        return min(count, len(self.rows), *([] if self.held is None else [len(self.held_rows)]))

    @functools.cached_property
    def moments(self) -> frechet.Moments:
        return self.features.moments(self.real, self.rows)

    def near(self, count: int) -> np.ndarray:
        """Features of the first of the reference."""
        count = min(count, len(self.rows))
        if count not in self._near:
            self._near[count] = self.features.cached(self.real, self.rows[:count])[0]
        return self._near[count]

    def images(self, count: int) -> np.ndarray:
        """The first of the reference, as many as there are."""
        return np.asarray(self.real.images[self.rows[:count]])

    @property
    def labels(self) -> np.ndarray | None:
        """Of the reference."""
        return None if self.real.labels is None else self.real.labels[self.rows]

    def held_out(self, count: int) -> "Candidate | None":
        """The first of the held-out images, in the fakes' place; None where there are not so many."""
        if self.held is None or count > len(self.held_rows):
            return None
        if count not in self._held_out:
            rows, held = self.held_rows[:count], self.held
            labels = None if held.labels is None else held.labels[rows]
            found = self.features.cached(held, rows)
            self._held_out[count] = Candidate(self, lambda: np.asarray(held.images[rows]), labels, count, found=found)
        return self._held_out[count]


class Candidate:
    """What is measured: images, their labels where they have some, and their features, each computed once, when a metric
    asks for it. `sampler` is the generator's, `seed` that of what a metric draws.
    """

    def __init__(
        self,
        reference: Reference,
        images: Any,  # [n h w c], or what makes them when they are asked for
        labels: np.ndarray | None,
        count: int,  # of them
        *,
        sampler: Any = None,
        seed: int = 0,
        found: tuple[np.ndarray, np.ndarray | None] | None = None,
    ):
        self.reference, self.labels, self.count = reference, labels, count
        self.sampler, self.seed = sampler, seed
        self._images, self._found = images, found

    @functools.cached_property
    def images(self) -> np.ndarray:
        """As the feature network is given them. ValueError for pixels that are not finite."""
        given, self._images = self._images, None  # floats are four times as large
        return self.reference.features.rounded(given() if callable(given) else given)

    @functools.cached_property
    def _both(self) -> tuple[np.ndarray, np.ndarray | None]:
        return self._found if self._found is not None else self.reference.features(self.images)

    @property
    def features(self) -> np.ndarray:
        return self._both[0]

    @property
    def logits(self) -> np.ndarray | None:
        return self._both[1]


def how_read(data: ImageSet, size: int, fit: str) -> Mapping[str, Any]:
    """What a protocol says of a set: its name and digest, and how its images were brought to one size."""
    return {"data": data.name, "data_digest": data.digest, "size": size, "fit": fit if size else "none"}

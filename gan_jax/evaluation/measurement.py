"""The two sides of a measurement: real images as the reference, and the candidate that is compared with them."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gan_jax.evaluation.features import Features
from gan_jax.metrics import frechet
from gan_jax.types import ImageSet, UserError


class Reference:
    """The real images that candidates are compared with, and held-out real images, which give the floor of a metric:
    its value with them in place of the fakes.

    With `test` images these are held out, and all of `real` is the reference. Without them, `real` is split at random
    by seed 0, and its second half is held out, unless `halve` is false. With `floor` false nothing is held out, and
    there is no floor. `train` is the training set of the generator, by default `real`. `split` is the name of the split
    of `real`.
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
        self.train = train or real
        if test is not None and test.classes and self.train.classes:
            test = renumbered(test, self.train.class_names, self.train.name)
        self.real, self.features, self.test = real, features, test
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
        """Returns `count`, limited to the numbers of reference images and, where there are any, of held-out images."""
        return min(count, len(self.rows), *([] if self.held is None else [len(self.held_rows)]))

    @functools.cached_property
    def moments(self) -> frechet.Moments:
        """Moments of the features of the reference."""
        return self.features.moments(self.real, self.rows)

    def near(self, count: int) -> np.ndarray:
        """Returns features [count d] of the first images of the reference, fewer where it has fewer."""
        count = min(count, len(self.rows))
        if count not in self._near:
            self._near[count] = self.features.cached(self.real, self.rows[:count])[0]
        return self._near[count]

    def images(self, count: int) -> np.ndarray:
        """Returns the first images of the reference, [count h w c], fewer where it has fewer."""
        return np.asarray(self.real.images[self.rows[:count]])

    @property
    def labels(self) -> np.ndarray | None:
        """Labels of the reference, [n]; None where there are none."""
        return None if self.real.labels is None else self.real.labels[self.rows]

    @functools.cached_property
    def present(self) -> np.ndarray:
        """The classes that real images have, [k]. Raises ValueError for images without labels."""
        if self.labels is None:
            raise ValueError(f"{self.real.name} has no labels")
        return np.unique(self.labels)

    def turns(self, count: int) -> np.ndarray:
        """Returns labels [count]: the classes of the real images in turn."""
        return self.present[np.arange(count) % len(self.present)].astype(np.int32)

    def shares(self, count: int) -> np.ndarray:
        """Returns labels [count] in the shares of the real images: of each class the share times `count`, rounded so that
        the sum is right, spread evenly.
        """
        present = self.present  # raises for images without labels
        counts = np.bincount(np.asarray(self.labels))[present]
        exact = counts * (count / counts.sum())
        quota = np.floor(exact).astype(int)
        quota[np.argsort(quota - exact, kind="stable")[: count - quota.sum()]] += 1
        place = np.concatenate([(np.arange(n) + 0.5) / max(n, 1) for n in quota])
        return np.repeat(present, quota)[np.argsort(place, kind="stable")].astype(np.int32)

    def held_out(self, count: int) -> "Candidate | None":
        """Returns the first held-out images as a candidate; None where there are fewer than `count`."""
        if self.held is None or count > len(self.held_rows):
            return None
        if count not in self._held_out:
            rows, held = self.held_rows[:count], self.held
            labels = None if held.labels is None else held.labels[rows]
            features = self.features.cached(held, rows)
            self._held_out[count] = Candidate(
                self, lambda: np.asarray(held.images[rows]), labels, count, found=features
            )
        return self._held_out[count]


class Candidate:
    """The images that are measured, their labels or None, and their features, each computed once, when first used.

    `images` is an array [n h w c], or a function that returns it. `sampler` is that of the generator, if it is one;
    `seed` is for random choices of metrics; `found` are features and logits that have been computed before.
    """

    def __init__(
        self,
        reference: Reference,
        images: Any,  # [n h w c], or a function that returns them
        labels: np.ndarray | None,
        count: int,  # of images
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
        """The images as the feature network takes them, rounded. Raises ValueError for pixels that are not finite."""
        given, self._images = self._images, None  # frees the floats, which take four times the memory
        return self.reference.features.rounded(given() if callable(given) else given)

    @functools.cached_property
    def _both(self) -> tuple[np.ndarray, np.ndarray | None]:
        return self._found if self._found is not None else self.reference.features(self.images)

    @property
    def features(self) -> np.ndarray:
        """Features [n d]."""
        return self._both[0]

    @property
    def logits(self) -> np.ndarray | None:
        """Logits [n classes] of the feature network; None where it has none."""
        return self._both[1]


def renumbered(images: ImageSet, names: Sequence[str], other: str) -> ImageSet:
    """Returns the set with its classes numbered as in `names`, by their own names. Raises UserError where it has classes
    that are not among them, those of `other`.
    """
    if images.class_names == tuple(names):
        return images
    if unknown := [name for name in images.class_names if name not in names]:
        raise UserError(
            f"{images.name} has the classes {', '.join(unknown[:8])}, which {other} has not: it has {', '.join(names[:8])}"
        )
    places = np.array([list(names).index(name) for name in images.class_names], np.int32)
    return images._replace(labels=places[images.labels], classes=len(names), names=tuple(names))


def how_read(data: ImageSet, size: int, fit: str) -> Mapping[str, Any]:
    """Returns the fields of a protocol that describe a set: its name and digest, and how its images were resized."""
    return {"data": data.name, "data_digest": data.digest, "size": size, "fit": fit if size else "none"}

"""Sets that are larger than memory: images that are read from disk where they are indexed, and batches of them read ahead."""

import hashlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from gan_jax.data.validate import image_set
from gan_jax.types import ImageSet, PyTree, UserError

_PROCESSORS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
THREADS = min(_PROCESSORS, 8)  # small images gain nothing by more: much of their time is spent under Python's lock
AHEAD = 2 * THREADS + 2  # batches; they wait in memory
STEPS = 2**32  # a step is counted in 32 bits


class OnDisk:
    """uint8 [n h w c], indexed as an array is, along its first axis; each image is read and decoded when it is asked for.

    Args:
      read: rows in [0, n) -> their images, uint8 [m h w c]. It is called from several threads at once.
      shape: (n, h, w, c).
      changed: when what is read was last changed, in ns, where the set's digest does not see every change.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, read: Callable[[list[int]], np.ndarray], shape: Sequence[int], changed: int = 0):
        self._read, self.shape, self.changed = read, tuple(shape), changed

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """What all of it would take in memory."""
        return math.prod(self.shape)

    def __getitem__(self, index: Any) -> np.ndarray:
        """[h w c] of an integer, [m h w c] of a slice, of m integers or of n booleans. IndexError as of an array."""
        if isinstance(index, slice):
            rows = np.arange(*index.indices(len(self)))
        elif isinstance(index, tuple):
            raise IndexError(f"images on disk are indexed along their first axis, not by {index!r}")
        else:
            rows = np.asarray(index)
            if rows.dtype == bool and rows.shape == (len(self),):
                rows = np.flatnonzero(rows)
            if (rows.size and rows.dtype.kind not in "iu") or rows.ndim > 1:
                raise IndexError(f"images on disk are indexed by an integer, a slice or integers [m], not by {index!r}")
            if rows.size and (rows.min() < -len(self) or rows.max() >= len(self)):
                raise IndexError(f"index out of bounds for {len(self)} images: {rows.min()} to {rows.max()}")
        images = self._read([int(row) % len(self) for row in rows.ravel()])
        return images if rows.ndim else images[0]


def on_disk(images: OnDisk, labels: np.ndarray | None, name: str, classes: int | None, digest: str) -> ImageSet:
    """The image set; labels, which are small, are in memory and are checked as `gan_jax.data.validate.image_set` does."""
    stand_in = np.zeros((len(images), 1, 1, 1), np.uint8)  # what is compared is the count
    return image_set(stand_in, labels, name, classes)._replace(images=images, digest=digest)


def too_large(nbytes: int) -> bool:
    """Whether images of so many bytes would take more than half of the machine's memory."""
    return nbytes > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def digest_of(*facts: Any) -> str:
    """16 hex digits of the SHA-256 of numbers, strings, bytes, and lists and tuples of them."""
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def grain_module() -> ModuleType:
    """Grain, which reads ahead. UserError where it is not installed."""
    try:
        import grain
    except ImportError as error:
        raise UserError(
            "a set that stays on disk is read ahead by Grain, which is not installed: pip install gan_jax[grain]"
        ) from error
    return grain


def ahead(fetch: Callable[[int], PyTree], step: int) -> Iterator[PyTree]:
    """What `fetch(step)`, `fetch(step + 1)`, ... return, in this order, to the last step there is.

    From the first `next` on, AHEAD batches are made in advance by THREADS threads, which end with the iterator: when it is
    dropped or closed, at its end, or when `fetch` raises, which is raised here in its turn.
    """
    grain = grain_module()
    options = grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=AHEAD)
    batches = iter(grain.MapDataset.range(step, STEPS).map(fetch).to_iter_dataset(options))
    try:
        yield from batches
    finally:
        batches.close()

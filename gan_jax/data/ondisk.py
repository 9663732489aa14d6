"""Image sets that are larger than memory: images are read from disk when they are indexed, and batches read ahead."""

import hashlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from gan_jax.data.validate import digest, image_set
from gan_jax.types import Images, ImageSet, PyTree, UserError

_PROCESSORS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
THREADS = min(_PROCESSORS, 8)  # more do not help small images, which spend much of the time under Python's global lock
AHEAD = 2 * THREADS + 2  # batches read ahead, which wait in memory
STEPS = 2**32  # steps are counted in 32 bits
PIXELS = 2**28  # bytes of images up to which a set is known by its pixels, and above by its files


class OnDisk:
    """Images on disk, uint8 [n h w c], indexed like an array along the first axis; an image is read when it is indexed.

    `read` maps rows in [0, n) to their images, uint8 [m h w c]; several threads may call it at once. `shape` is
    (n, h, w, c). `changed` is the time of the last change of the files, in ns, where the digest of the set does not
    detect every change.
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
        """Bytes that all images would take in memory."""
        return math.prod(self.shape)

    def __getitem__(self, index: Any) -> np.ndarray:
        """Reads [h w c] for an integer, [m h w c] for a slice, m integers or n booleans. Raises IndexError."""
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


def on_disk(
    images: OnDisk, labels: np.ndarray | None, name: str, names: Sequence[str], files: Callable[[], str]
) -> ImageSet:
    """Returns an `ImageSet` of images on disk. Labels are in memory, and checked and named as by `validate.image_set`.

    The digest is `files()`, of a description of the files, where the images would take more than PIXELS bytes.
    """
    stand_in = np.zeros((len(images), 1, 1, 1), np.uint8)  # only the number of images is checked against the labels
    found = image_set(stand_in, labels, name, names=names)
    return found._replace(images=images, digest=digested(images, found.labels, files))


def digested(images: Images, labels: np.ndarray | None, files: Callable[[], str]) -> str:
    """Returns the digest of a set, which is the same wherever its images are kept, in memory or on disk: that of the
    pixels, or where they take more than PIXELS bytes, `files()`.
    """
    return digest(images, labels) if images.nbytes <= PIXELS else files()


def too_large(nbytes: int) -> bool:
    """Returns whether `nbytes` is more than half of the machine's memory."""
    return nbytes > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def digest_of(*facts: Any) -> str:
    """Returns 16 hex digits of the SHA-256 of numbers, strings, bytes, and lists and tuples of them."""
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def grain_module() -> ModuleType:
    """Imports and returns Grain, which reads ahead. Raises UserError where it is not installed."""
    try:
        import grain
    except ImportError as error:
        raise UserError(
            "a set that stays on disk is read ahead by Grain, which is not installed: pip install gan_jax[grain]"
        ) from error
    return grain


def ahead(fetch: Callable[[int], PyTree], step: int) -> Iterator[PyTree]:
    """Yields the results of `fetch(step)`, `fetch(step + 1)`, ..., in order, up to step STEPS - 1.

    From the first `next` on, THREADS threads fetch AHEAD batches in advance. They end with the iterator: when it is
    dropped or closed, at its end, or when `fetch` raises; that exception is raised when its batch is due.
    """
    grain = grain_module()
    options = grain.ReadOptions(num_threads=THREADS, prefetch_buffer_size=AHEAD)
    batches = iter(grain.MapDataset.range(step, STEPS).map(fetch).to_iter_dataset(options))
    try:
        yield from batches
    finally:
        batches.close()

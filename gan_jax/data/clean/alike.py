"""Finds copies: equal images by their digests, nearly equal ones by their perceptual hashes and a second look.

Two images are nearly the same where their 64 bits differ in at most `near` places, and their pixels, seen from afar, are
correlated by `alike` or more. The hash alone takes all figures on a white ground for one.

No image is compared with all others. The bits are cut into near + 1 parts. Where at most `near` bits differ, one part is
equal (the pigeonhole principle), so that only images with an equal part are compared.
"""

import itertools
from array import array
from collections.abc import Iterable, Sequence

import numpy as np

BITS = 64
MOST = 15  # bits that may differ: parts of 4 bits hardly divide a set


class Index:
    """Images by the parts of their hashes. `compared` counts the hashes that were compared."""

    def __init__(self, near: int):
        ends = [round(i * BITS / (near + 1)) for i in range(near + 2)]
        self.parts = [(low, (1 << high - low) - 1) for low, high in itertools.pairwise(ends)]  # shift and mask
        self.near, self.compared = near, 0
        self.items: array[int] = array("q")
        self.hashes: array[int] = array("Q")
        self.buckets: list[dict[int, array[int]]] = [{} for _ in self.parts]

    def add(self, item: int, bits: int) -> None:
        """Adds an image."""
        place = len(self.items)
        self.items.append(item)
        self.hashes.append(bits)
        for bucket, (shift, mask) in zip(self.buckets, self.parts, strict=True):
            bucket.setdefault(bits >> shift & mask, array("q")).append(place)

    def find(self, bits: int) -> np.ndarray:
        """Returns the images [m] whose hashes differ in at most `near` bits, in the order in which they were added."""
        found = []
        for bucket, (shift, mask) in zip(self.buckets, self.parts, strict=True):
            held = bucket.get(bits >> shift & mask)
            if held is None:
                continue
            places = np.frombuffer(held, np.int64)
            self.compared += len(places)
            differ = np.bitwise_count(np.frombuffer(self.hashes, np.uint64)[places] ^ np.uint64(bits))
            found.append(places[differ <= self.near])
        places = np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)
        return np.frombuffer(self.items, np.int64)[places] if len(places) else places


def correlations(small: np.ndarray, one: int, others: np.ndarray) -> np.ndarray:
    """Returns the correlation [m] of the pixels of one row of `small` [n d] with those of other rows; 0 without any."""
    rows = small[np.append(others, one)].astype(np.float32)
    rows -= rows.mean(1, keepdims=True)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return rows[:-1] @ rows[-1]


def first_like(index: Index, item: int, bits: int, small: np.ndarray, alike: float) -> int:
    """Returns the first image of the index that is nearly the same; -1 where there is none."""
    others = index.find(bits)
    if not len(others):
        return -1
    same = others[correlations(small, item, others) >= alike]
    return int(same[0]) if len(same) else -1


def equal(items: Iterable[int], digests: Sequence[bytes]) -> dict[int, int]:
    """Returns for each image that is equal to an earlier one the first of those."""
    first: dict[bytes, int] = {}
    kept = {item: first.setdefault(digests[item], item) for item in items}
    return {item: other for item, other in kept.items() if item != other}


def nearly(items: Iterable[int], bits: Sequence[int], small: np.ndarray, index: Index, alike: float) -> dict[int, int]:
    """Returns for each image that is nearly the same as an earlier one that is kept the first of those, and adds those
    that are kept to the index. Each image that is left out is therefore like the one that is kept, however long the
    row of copies.
    """
    found = {}
    for item in items:
        other = first_like(index, item, bits[item], small, alike)
        if other >= 0:
            found[item] = other
        else:
            index.add(item, bits[item])
    return found


def across(train: Sequence[int], test: Sequence[int], digests: Sequence[bytes], bits: Sequence[int], small: np.ndarray, index: Index, alike: float) -> dict[int, int]:  # fmt: skip
    """Returns for each test image that is in train, or nearly, the image of train. `index` is empty."""
    first: dict[bytes, int] = {}
    for item in train:
        first.setdefault(digests[item], item)
        index.add(item, bits[item])
    found = {}
    for item in test:
        other = first.get(digests[item], -1)
        other = other if other >= 0 else first_like(index, item, bits[item], small, alike)
        if other >= 0:
            found[item] = other
    return found

"""Finds copies: equal images by their digests, nearly equal ones by their perceptual hashes and a second look.

Two images are nearly the same where their 64 bits differ in at most `near` places, and their pixels, seen from afar, are
correlated by `alike` or more. The hash alone takes all figures on a white ground for one.

No image is compared with all others. The bits are cut into near + 1 parts. Where at most `near` bits differ, one part is
equal (the pigeonhole principle), so that only images with an equal part are compared.
"""

import itertools
from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple

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


class Prints(NamedTuple):
    """What copies are found by, for every image of a list."""

    digests: Sequence[bytes]
    bits: Sequence[int]
    small: np.ndarray  # uint8 [n d], pixels seen from afar
    near: int  # bits that may differ
    alike: float  # least correlation

    def first(self, item: int, index: Index) -> int:
        """Returns the first image of the index that is nearly the same; -1 where there is none."""
        others = index.find(self.bits[item])
        if not len(others):
            return -1
        same = others[correlations(self.small, item, others) >= self.alike]
        return int(same[0]) if len(same) else -1


def equal(items: Iterable[int], prints: Prints) -> dict[int, int]:
    """Returns for each image that is equal to an earlier one the first of those."""
    first: dict[bytes, int] = {}
    kept = {item: first.setdefault(prints.digests[item], item) for item in items}
    return {item: other for item, other in kept.items() if item != other}


def nearly(items: Iterable[int], prints: Prints) -> dict[int, int]:
    """Returns for each image that is nearly the same as an earlier one that is kept the first of those. So every image
    that is left out is like the one that is kept, however long the row of copies.
    """
    index, found = Index(prints.near), {}
    for item in items:
        if (other := prints.first(item, index)) >= 0:
            found[item] = other
        else:
            index.add(item, prints.bits[item])
    return found


def across(train: Iterable[int], test: Iterable[int], prints: Prints) -> dict[int, int]:
    """Returns for each test image that is in train, or nearly, the first such image of train."""
    index, first, found = Index(prints.near), dict[bytes, int](), {}
    for item in train:
        first.setdefault(prints.digests[item], item)
        index.add(item, prints.bits[item])
    for item in test:
        equal_one = first.get(prints.digests[item], -1)
        if (other := equal_one if equal_one >= 0 else prints.first(item, index)) >= 0:
            found[item] = other
    return found

"""The search for copies of images: all that comparing every two would find, without comparing every two."""

import numpy as np
import pytest

from gan_jax.data.clean import alike, checks, look


@pytest.mark.parametrize("near", [0, 1, 4, 6, 15])
def test_the_search_finds_what_all_comparisons_find(near):
    rng = np.random.default_rng(near)
    hashes = rng.integers(0, 2**64, 300, np.uint64)
    flips = [
        np.bitwise_or.reduce(np.uint64(1) << rng.choice(64, k, replace=False).astype(np.uint64)) for k in range(1, 20)
    ]
    hashes = np.concatenate([hashes, hashes[:19] ^ np.array(flips), hashes[20:25]])
    index = alike.Index(near)
    for item, bits in enumerate(hashes):
        index.add(item, int(bits))
    for bits in hashes:
        expected = np.flatnonzero(np.bitwise_count(hashes ^ bits) <= near)
        np.testing.assert_array_equal(index.find(int(bits)), expected)


def test_the_search_does_not_compare_all():
    """Of 4,000 hashes each is compared with about 7 of 512, and not with 4,000."""
    hashes = np.random.default_rng(0).integers(0, 2**64, 4_000, np.uint64).tolist()
    small = np.zeros((4_000, 3), np.uint8)
    index = alike.Index(6)
    prints = alike.Prints([b""] * 4_000, hashes, small, 6, 0.99)
    for item in range(4_000):
        assert prints.first(item, index) == -1
        index.add(item, hashes[item])
    assert index.compared < 0.02 * 4_000**2 / 2


def test_a_row_of_copies_is_not_one_group():
    """Each differs little from the next, and the last much from the first: each is like the one that is kept."""
    bits = [(1 << k) - 1 for k in range(0, 30, 3)]
    prints = alike.Prints([b""] * 10, bits, np.tile(np.arange(6, dtype=np.uint8), (10, 1)), 6, 0.99)
    assert alike.nearly(range(10), prints) == {1: 0, 2: 0, 4: 3, 5: 3, 7: 6, 8: 6}


def test_images_of_one_outline_are_told_apart_by_their_pixels():
    """The hash sees levels alone."""
    red, blue = np.full((2, 40, 40, 3), 255, np.uint8)
    red[10:30, 10:30], blue[10:30, 10:30] = (200, 0, 0), (0, 0, 200)
    hashed = look.hasher()
    seen = dict(enumerate(look.row(one, one, hashed) for one in (red, blue, np.maximum(red, 3) - 3)))
    assert (seen[0].bits ^ seen[1].bits).bit_count() <= 6 and (seen[0].bits ^ seen[2].bits).bit_count() <= 6
    prints = alike.Prints([b""] * 3, [one.bits for one in seen.values()], checks.pixels(seen, range(3)), 6, 0.99)
    assert alike.nearly(range(3), prints) == {2: 0}

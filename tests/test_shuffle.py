"""The order of the data: a permutation of every epoch, another one each, and the same whoever computes which part of
it.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from gan_jax.data.shuffle import epoch_index


def key_bits(seed, shape=()):
    return jax.random.bits(jax.random.key(seed), (*shape, 2), jnp.uint32)


def order(seed, size, count, start=0):
    position = jnp.arange(start, start + count, dtype=jnp.uint32)
    return np.asarray(jax.jit(epoch_index, static_argnums=2)(key_bits(seed), position, size))


@pytest.mark.parametrize("size", [1, 2, 3, 10, 97, 1797, 60000])
def test_every_epoch_is_a_permutation(size):
    epochs = order(0, size, 3 * size).reshape(3, size)
    assert epochs.dtype == np.int32
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(size))


@pytest.mark.parametrize("size", [1797, 60000])
def test_epochs_and_keys_are_unrelated(size):
    first, second = order(0, size, 3 * size).reshape(3, size)[:2]
    other = order(1, size, 3 * size)[:size]
    for a, b in ((first, second), (first, other), (first, np.arange(size))):
        assert abs(stats.spearmanr(a, b).statistic) < 5 / np.sqrt(size)
        assert np.count_nonzero(a == b) < 10  # Poisson with mean 1


def test_neighbours_in_an_epoch_are_unrelated():
    epoch = order(0, 60000, 3 * 60000)[:60000]
    assert abs(stats.pearsonr(epoch[:-1], epoch[1:]).statistic) < 5 / np.sqrt(60000)


@pytest.mark.parametrize("size", [3, 5, 10])
def test_over_keys_every_index_and_every_pair_is_equally_likely(size):
    """What an unshuffled or too weakly shuffled small set fails: with 8 rounds a size of 5 does."""
    keys = 20000
    position = jnp.arange(size, dtype=jnp.uint32)
    drawn = np.asarray(
        jax.jit(jax.vmap(lambda bits: epoch_index(bits, position, size)))(key_bits(3, (keys,)))
    )  # [keys size]
    for column in (0, size - 1):
        assert stats.chisquare(np.bincount(drawn[:, column], minlength=size)).pvalue > 1e-3
    pairs = np.bincount(drawn[:, 0] * size + drawn[:, 1], minlength=size**2).reshape(size, size)
    assert stats.chisquare(pairs[~np.eye(size, dtype=bool)]).pvalue > 1e-3


@pytest.mark.parametrize("rows", [60, 150])
def test_a_value_does_not_depend_on_the_batch(rows):
    whole = order(5, 97, 300)
    parts = [order(5, 97, min(rows, 300 - start), start) for start in range(0, 300, rows)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_eager_is_jitted():
    eager = epoch_index(key_bits(2), jnp.arange(40, dtype=jnp.uint32), 10)
    np.testing.assert_array_equal(eager, order(2, 10, 40))


def test_a_batch_over_two_epochs_repeats_nothing_inside_either():
    batch = order(0, 10, 8, start=6)
    assert len(set(batch[:4])) == 4 and len(set(batch[4:])) == 4
    np.testing.assert_array_equal(np.sort(np.concatenate([order(0, 10, 6), batch[:4]])), np.arange(10))


def test_far_positions_still_permute():
    """Beyond 2**31 examples, where int32 has ended."""
    start = (2**31 // 1797 + 1) * 1797
    np.testing.assert_array_equal(np.sort(order(0, 1797, 1797, start)), np.arange(1797))


@pytest.mark.parametrize("size", [0, -1, 2**31])
def test_impossible_sizes_are_refused(size):
    with pytest.raises(ValueError, match=str(size)):
        epoch_index(key_bits(0), jnp.arange(2, dtype=jnp.uint32), size)

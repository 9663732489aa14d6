"""The shuffled order of examples: a permutation for every epoch, computed only for the rows that are needed."""

import math

import jax
import jax.numpy as jnp

ROUNDS = 12  # six for each half; with 8, pairs of neighbours in an epoch of five examples are measurably not uniform


def epoch_index(bits: jax.Array, position: jax.Array, size: int) -> jax.Array:
    """Returns the index of the example, int32 [b] in [0, size), at each position of a run.

    `bits` is uint32 [2], the key of the order (`jax.random.bits`); `position` is uint32 [b], counted from the start of
    the run, and wraps at 2**32 examples; `size` is the number of examples of an epoch, 1 <= size < 2**31.

    Position p belongs to epoch p // size. Within an epoch the indices are a permutation of [0, size), a different one
    in every epoch and for every `bits`. Nothing is dropped, so a batch may span two epochs. An index depends on its own
    position only, not on the batch, process or device in which it is computed.

    The permutation is a Feistel network over the grid a x b, a = ceil(sqrt(size)), b = ceil(size / a): each of the two
    coordinates is shifted in turn by a hash of the other. A result outside [0, size), which fewer than a points of the
    grid are, is permuted again until it is inside (Black and Rogaway 2002, "Ciphers with arbitrary finite domains",
    method "cycle walking"). Raises ValueError for another size.
    """
    if not 1 <= size < 2**31:
        raise ValueError(f"size must be in [1, 2**31): {size}")
    a = math.isqrt(size - 1) + 1
    b = -(-size // a)
    position = position.astype(jnp.uint32)
    epoch = position // jnp.uint32(size)
    seed = _mix(_mix(bits[0] ^ epoch) + bits[1])  # uint32 [b], selects the hash functions of each row's epoch

    def permute(index):
        left, right = index // jnp.uint32(b), index % jnp.uint32(b)
        for i in range(0, ROUNDS, 2):
            left = (left + _hash(right, seed, i)) % jnp.uint32(a)
            right = (right + _hash(left, seed, i + 1)) % jnp.uint32(b)
        return left * jnp.uint32(b) + right

    def walk(carry):
        index, outside = carry
        index = jnp.where(outside, permute(index), index)
        return index, index >= size

    start = position % jnp.uint32(size)
    index, _ = jax.lax.while_loop(lambda carry: jnp.any(carry[1]), walk, (start, jnp.ones_like(start, bool)))
    return index.astype(jnp.int32)


def _hash(half, seed, i):
    # 31 bits, so that left + hash does not overflow 2**32: with overflow it would not be a shift modulo a.
    return _mix(half + seed + jnp.uint32(0x9E3779B9 * (i + 1) % 2**32)) >> 1


def _mix(x):
    """The 32-bit finaliser of MurmurHash3 (Appleby): every bit of x affects every bit of the result."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)

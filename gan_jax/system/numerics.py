"""JAX's settings that change the numbers of a run: 64-bit types, random numbers, the precision of matrix products."""

import contextlib
from collections.abc import Iterator

import jax

PRNG = "threefry2x32"  # JAX's usual generator of random numbers


@contextlib.contextmanager
def arithmetic(precision: str, matmul_precision: str) -> Iterator[None]:
    """Context in which JAX's 64-bit types are enabled if `precision` is "float64", and disabled otherwise, in which matrix
    products have `matmul_precision`, and random numbers and the promotion of types are JAX's usual ones. A run thus has
    the same bits, whatever these settings are outside.
    """
    with (
        jax.enable_x64(precision == "float64"),
        jax.default_matmul_precision(matmul_precision),
        jax.default_prng_impl(PRNG),
        jax.threefry_partitionable(True),
        jax.numpy_dtype_promotion("standard"),
    ):
        yield


def pin() -> None:
    """Sets the same for the whole process, whatever the environment says; a float64 run turns 64-bit types on."""
    jax.config.update("jax_enable_x64", False)
    jax.config.update("jax_default_prng_impl", PRNG)
    jax.config.update("jax_threefry_partitionable", True)
    jax.config.update("jax_numpy_dtype_promotion", "standard")

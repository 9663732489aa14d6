"""JAX's settings for the arithmetic of a run: 64-bit types, and the precision of matrix products."""

import contextlib
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def arithmetic(precision: str, matmul_precision: str) -> Iterator[None]:
    """Context in which JAX's 64-bit types are enabled if `precision` is "float64", and disabled otherwise, and in which
    matrix products have `matmul_precision`. A float32 run thus has the same bits, whatever jax_enable_x64 is outside.
    """
    with jax.enable_x64(precision == "float64"), jax.default_matmul_precision(matmul_precision):
        yield

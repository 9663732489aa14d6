"""What the process must be set to for a run's arithmetic: 64-bit numbers on or off, and how matrix products are rounded."""

import contextlib
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def arithmetic(precision: str, matmul_precision: str) -> Iterator[None]:
    """Inside, JAX's 64-bit numbers are on where `precision` is "float64" and off otherwise, and matrix products have
    `matmul_precision`. So a float32 run has the same bits, whatever jax_enable_x64 is outside.
    """
    with jax.enable_x64(precision == "float64"), jax.default_matmul_precision(matmul_precision):
        yield

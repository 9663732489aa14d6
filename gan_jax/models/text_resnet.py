"""Texts by residual convolutions, all characters at once (Gulrajani et al. 2017, arXiv:1704.00028, section 5.4 and appendix C)."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from gan_jax.models.layers import Conv, precision
from gan_jax.types import Array, at_least_float32

BLOCKS, KERNEL, SHARE = 5, 5, 0.3
# Uniform, of deviation sqrt(4 / (fan in + fan out)), as in the authors' code.
init = nn.initializers.variance_scaling(2.0, "fan_avg", "uniform")


class Block(nn.Module):
    """x + 0.3 conv(relu(conv(relu(x)))), of 5 places: [b t c] -> [b t c]."""

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv = functools.partial(Conv, x.shape[-1], (KERNEL,), kernel_init=init, **precision(self.dtype))
        return x + SHARE * conv()(nn.relu(conv()(nn.relu(x))))


class Generator(nn.Module):
    """z [b z] -> shares of symbols [b t k], each a softmax: dense, five blocks, and the symbols of each place.

    32 places of width 512 and 96 symbols have 15.3 million parameters from 128 latents. Computes in `dtype`; parameters and shares
    are float32 (float64 with dtype float64).
    """

    shape: tuple[int, ...]  # (t, k)
    width: int = 512
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Float[Array, "b z"], label: None = None, *, train: bool) -> Float[Array, "b t k"]:
        places, symbols = self.shape
        x = nn.Dense(places * self.width, kernel_init=init, **precision(self.dtype))(z)
        x = x.reshape(-1, places, self.width)
        for _ in range(BLOCKS):
            x = Block(self.dtype)(x)
        logits = Conv(symbols, (1,), kernel_init=init, **precision(self.dtype))(x)
        return jax.nn.softmax(at_least_float32(logits))


class Discriminator(nn.Module):
    """shares of symbols [b t k] -> logits [b]: to `width` channels, five blocks, dense.

    Computes in `dtype`; parameters and logits are float32 (float64 with dtype float64).
    """

    width: int = 512
    dtype: Any = jnp.float32

    couples_rows = False

    @nn.compact
    def __call__(self, x: Float[Array, "b t k"], label: None = None, *, train: bool) -> Float[Array, " b"]:
        h: Any = Conv(self.width, (1,), kernel_init=init, **precision(self.dtype))(x)
        for _ in range(BLOCKS):
            h = Block(self.dtype)(h)
        h = h.reshape(h.shape[0], -1)
        return at_least_float32(nn.Dense(1, kernel_init=init, **precision(self.dtype))(h)[:, 0])

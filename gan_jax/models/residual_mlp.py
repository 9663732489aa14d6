"""Fully connected residual networks for points: deep, without normalisation, and at initialisation like shallow ones.

A block is x + dense(act(dense(act(x)))), whose second layer is initialised to 0 (Fixup, Zhang et al. 2019,
arXiv:1901.09321, as in R3GAN, arXiv:2501.05441, section 3). Depth is what lets a continuous G leave out the points
between two modes: its slope there must be the gap between them over the width of the bridge in z, and slopes multiply
from block to block.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from gan_jax.models.layers import leaky_relu, precision, require_label
from gan_jax.types import Array, at_least_float32


class Generator(nn.Module):
    """z [b z] -> [b *shape]: a dense layer to `width`, `blocks` residual blocks with leaky ReLU 0.2, a dense layer to
    `shape`.

    Computes in `dtype`; parameters and results are float32 (float64 with dtype float64).
    """

    shape: tuple[int, ...]
    width: int = 128
    blocks: int = 6
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], label: Int[Array, " b"] | None = None, *, train: bool
    ) -> Float[Array, "b *shape"]:
        require_label(label, 0, "residual.Generator")
        x = _trunk(z, self.width, self.blocks, self.dtype)
        x = nn.Dense(math.prod(self.shape), **precision(self.dtype))(x)
        return at_least_float32(x.reshape(-1, *self.shape))  # [b d] -> [b *shape]


class Discriminator(nn.Module):
    """x [b *shape] -> logits [b]: flattened, a dense layer to `width`, `blocks` residual blocks with leaky ReLU 0.2,
    one number.

    Computes in `dtype`; parameters and logits are float32 (float64 with dtype float64).
    """

    width: int = 128
    blocks: int = 2
    dtype: Any = jnp.float32

    couples_rows = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "b *shape"], label: Int[Array, " b"] | None = None, *, train: bool
    ) -> Float[Array, " b"]:
        require_label(label, 0, "residual.Discriminator")
        x = _trunk(x.reshape(x.shape[0], -1), self.width, self.blocks, self.dtype)  # [b *shape] -> [b d]
        return at_least_float32(nn.Dense(1, **precision(self.dtype))(x)[:, 0])  # [b 1] -> [b]


def _trunk(x: Array, width: int, blocks: int, dtype: Any) -> jax.Array:
    """[b d] -> [b width]; to be called in the compact method of a module."""
    x = nn.Dense(width, **precision(dtype))(x)
    for _ in range(blocks):
        inner = nn.Dense(width, kernel_init=nn.initializers.he_normal(), **precision(dtype))(leaky_relu(x))
        x = x + nn.Dense(width, kernel_init=nn.initializers.zeros, **precision(dtype))(leaky_relu(inner))
    return leaky_relu(x)

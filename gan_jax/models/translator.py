"""Networks from images to images with even sides: a residual translator, and a discriminator of patches, both with
instance norm (Zhu et al. 2017, arXiv:1703.10593, section 4 and appendix 7, here with few layers).
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from gan_jax.models.layers import Conv, ConvTranspose, dcgan_init, leaky_relu, precision
from gan_jax.types import Array, UserError, at_least_float32


def _norm(x: jax.Array, dtype: Any) -> jax.Array:
    return nn.InstanceNorm(use_bias=False, use_scale=False, epsilon=1e-5, dtype=dtype)(x)


class Translator(nn.Module):
    """images [b h w c] -> images [b h w c] in [-1, 1]: a 3x3 convolution to `width`, one that halves, `blocks` residual
    blocks, a transposed convolution back, a 3x3 convolution and tanh; instance norm without parameters, ReLU.

    Computes in `dtype`; parameters and images are float32 (float64 with dtype float64). Raises UserError unless both
    sides are even.
    """

    width: int = 32
    blocks: int = 2
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w c"]:
        if x.shape[1] % 2 or x.shape[2] % 2:
            raise UserError(
                f"a translator halves both sides, and the images are {x.shape[1]}x{x.shape[2]}: give --size, even"
            )
        channels = x.shape[-1]
        conv = functools.partial(Conv, kernel_init=dcgan_init, **precision(self.dtype))
        x = nn.relu(_norm(conv(self.width, (3, 3))(x), self.dtype))
        x = nn.relu(_norm(conv(2 * self.width, (3, 3), (2, 2))(x), self.dtype))
        for _ in range(self.blocks):
            y = nn.relu(_norm(conv(2 * self.width, (3, 3))(x), self.dtype))
            x = x + _norm(conv(2 * self.width, (3, 3))(y), self.dtype)
        up = ConvTranspose(self.width, (4, 4), (2, 2), kernel_init=dcgan_init, **precision(self.dtype))
        x = nn.relu(_norm(up(x), self.dtype))
        return jnp.tanh(at_least_float32(conv(channels, (3, 3))(x)))


class Patches(nn.Module):
    """images [b h w c] -> logits [b h/2 w/2], one for each patch of 8x8 pixels: a convolution that halves, one that
    does not, one number; leaky ReLU 0.2, instance norm after the second.

    Computes in `dtype`; parameters and logits are float32 (float64 with dtype float64).
    """

    width: int = 32
    dtype: Any = jnp.float32

    couples_rows = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b hh ww"]:
        conv = functools.partial(Conv, kernel_init=dcgan_init, **precision(self.dtype))
        x = leaky_relu(conv(self.width, (4, 4), (2, 2))(x))
        x = leaky_relu(_norm(conv(2 * self.width, (3, 3))(x), self.dtype))
        return at_least_float32(conv(1, (1, 1))(x)[..., 0])  # [b h w 1] -> [b h w]

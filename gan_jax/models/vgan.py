"""VGAN: what moves before what stands still, by convolutions over time (Vondrick et al. 2016, arXiv:1609.02612).

Of 64x64 pixels and 32 frames all is doubled four times, from 4x4 and two frames on; smaller clips less often, with as many channels
less. Weights begin as N(0, 0.02^2), scales of batch norm as N(1, 0.02^2).
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from gan_jax.models.layers import Conv, ConvTranspose, dcgan_init, leaky_relu, precision
from gan_jax.models.mocogan import SMALLEST, batch_norm, halvings_of
from gan_jax.types import Array, UserError, at_least_float32

FIRST = 2  # frames inside the networks


def require_frames(length: int, side: int) -> None:
    """Raises UserError unless the frames are doubled as often as the pixels."""
    count = halvings_of(side)
    if length != FIRST << count:
        raise UserError(
            f"clips of {length} frames of {side} pixels: {FIRST << count} are needed: --length {FIRST << count}"
        )


class Generator(nn.Module):
    """z [b z] -> clips [b t h w c] in [-1, 1]: m f + (1 - m) s, of a foreground f and its mask m in [0, 1], both [t h w], and a
    background s [h w] that is the same in every frame.
    """

    shape: tuple[int, ...]  # (t, h, w, c)
    width: int = 64  # channels before the last layer
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Float[Array, "b z"], label: None = None, *, train: bool) -> Float[Array, "b t h w c"]:
        length, side, _, channels = self.shape
        require_frames(length, side)
        moving = self._stream(z, (FIRST, SMALLEST, SMALLEST), channels + 1, train)
        still = jnp.tanh(self._stream(z, (SMALLEST, SMALLEST), channels, train))
        mask = nn.sigmoid(moving[..., -1:])
        return at_least_float32(mask * jnp.tanh(moving[..., :-1]) + (1 - mask) * still[:, None])

    def _stream(self, z: Array, base: tuple[int, ...], channels: int, train: bool) -> jax.Array:
        count = halvings_of(self.shape[1])
        features, size = self.width << (count - 1), 1
        for n in base:
            size *= n
        dense = nn.Dense(size * features, use_bias=False, kernel_init=dcgan_init, **precision(self.dtype))
        x = dense(z).reshape(-1, *base, features)  # of one pixel a transposed convolution is a matrix
        for i in range(count):
            last = i == count - 1
            x = nn.relu(batch_norm(train, self.dtype)(x))
            layer: Any = functools.partial(
                ConvTranspose, kernel_size=(4,) * len(base), strides=(2,) * len(base), kernel_init=dcgan_init,
                use_bias=last, **precision(self.dtype),
            )  # fmt: skip
            x = layer(channels if last else features >> (i + 1))(x)
        return x


class Discriminator(nn.Module):
    """Clips [b t h w c] -> logits [b]: convolutions 4x4x4 by two, batch norm but in the first and the last."""

    width: int = 64
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"], label: None = None, *, train: bool) -> Float[Array, " b"]:
        require_frames(*x.shape[1:3])
        layer: Any = functools.partial(
            Conv, kernel_size=(4, 4, 4), strides=2, padding=1, use_bias=False, kernel_init=dcgan_init,
            **precision(self.dtype),
        )  # fmt: skip
        x = jnp.asarray(x, self.dtype)
        for i in range(halvings_of(x.shape[2])):
            x = layer(self.width << i)(x)
            x = leaky_relu(x if i == 0 else batch_norm(train, self.dtype)(x))
        x = nn.Dense(1, kernel_init=dcgan_init, **precision(self.dtype))(x.reshape(x.shape[0], -1))
        return at_least_float32(x[..., 0])

"""pix2pix's generator: a U-Net, from images to images (Isola et al. 2017, arXiv:1611.07004, appendix 6.1).

Its batches have one image in the paper, and its batch norm takes the statistics of that image when it is used, too. That
is instance norm with a gain and a bias, which is what stands here: an image's result then hangs on no other, in
batches of any size. Dropout is the only noise, also when it is used; it is drawn from a number given with each image.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, UInt32

from gan_jax.models.layers import Conv, ConvTranspose, dcgan_init, leaky_relu, precision
from gan_jax.types import Array, UserError, at_least_float32


def norm(x: jax.Array, dtype: Any, affine: bool = True) -> jax.Array:
    """Returns instance norm of x [b h w c]; a gain from N(1, 0.02^2) and a bias, with `affine`. In a compact method."""
    scale = functools.partial(_around_one, stddev=0.02)
    return nn.InstanceNorm(use_bias=affine, use_scale=affine, epsilon=1e-5, scale_init=scale, **precision(dtype))(x)


def _around_one(key: jax.Array, shape: Any, dtype: Any = jnp.float32, *, stddev: float) -> jax.Array:
    return 1 + stddev * jax.random.normal(key, shape, dtype)


def dropped(x: Float[Array, "b h w c"], noise: UInt32[Array, " b"], layer: int) -> jax.Array:
    """Returns x with half of the entries of each row 0 and the others doubled, drawn by the row's number and the layer's."""

    def keep(number: jax.Array) -> jax.Array:
        return jax.random.bernoulli(jax.random.fold_in(jax.random.key(number), layer), 0.5, x.shape[1:])

    return jnp.where(jax.vmap(keep)(jnp.asarray(noise)), 2 * x, 0)


class UNet(nn.Module):
    """images [b h w c], noise [b] -> images [b h w channels] in [-1, 1]; without noise nothing is dropped.

    `downs` 4x4 convolutions halve both sides: 8 for 256 pixels, 7 for 128, 6 for 64. They have width x (1, 2, 4, 8, 8,
    ...) channels; as many transposed ones go back, each beside what was halved there. Dropout is on the downs - 5 of them
    that follow the innermost, as in the authors' PyTorch code. 8 downs have 54,413,955 parameters from 3 to 3
    channels. Computes in `dtype`; parameters and images are float32 (float64 with dtype float64). Raises UserError
    unless both sides are multiples of 2^downs.
    """

    channels: int = 3
    width: int = 64
    downs: int = 8
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], noise: UInt32[Array, " b"] | None = None, *, train: bool
    ) -> Float[Array, "b h w d"]:
        if x.shape[1] % 2**self.downs or x.shape[2] % 2**self.downs:
            raise UserError(
                f"a U-Net that halves images {self.downs} times needs sides that are multiples of {2**self.downs}, and these are"
                f" {x.shape[1]}x{x.shape[2]}: give --size, or fewer halvings"
            )
        options = {"kernel_size": (4, 4), "strides": (2, 2), "kernel_init": dcgan_init, **precision(self.dtype)}
        down = functools.partial(Conv, padding=((1, 1), (1, 1)), use_bias=False, **options)
        up = functools.partial(ConvTranspose, **options)
        widths = [self.width * min(8, 2**i) for i in range(self.downs)]
        h, kept = jnp.asarray(x), []
        for i, width in enumerate(widths):
            h = down(width)(leaky_relu(h) if i else h)
            h = h if i in (0, self.downs - 1) else norm(h, self.dtype)
            kept.append(h)
        for i in reversed(range(self.downs - 1)):
            h = norm(up(features=widths[i], use_bias=False)(nn.relu(h)), self.dtype)
            if noise is not None and 3 < i + 1 < self.downs - 1:
                h = dropped(h, noise, i)
            h = jnp.concatenate([kept[i], h], -1)
        return jnp.tanh(at_least_float32(up(features=self.channels)(nn.relu(h))))

"""PatchGAN: a discriminator whose logits each judge a patch (Isola et al. 2017, arXiv:1611.07004, appendix 6.1.2)."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from gan_jax.models.layers import Conv, dcgan_init, leaky_relu, precision
from gan_jax.models.unet import norm
from gan_jax.types import Array, UserError, at_least_float32


def receptive_field(layers: int) -> int:
    """Returns the side of the patch that a logit judges: 1, 16, 34, 70, 142, ... pixels for 0, 1, 2, 3, 4, ... layers."""
    if not layers:
        return 1
    side = 1
    for stride in (1, 1, *[2] * layers):  # from the logit back to the image
        side = stride * (side - 1) + 4
    return side


class PatchGAN(nn.Module):
    """images [b h w c] -> logits [b h' w'], one for each patch of `receptive_field(layers)` pixels.

    `layers` 4x4 convolutions of stride 2, and two of stride 1, with width x (1, 2, 4, 8, 8, ...) channels and 1; padded
    by 1; leaky ReLU 0.2, instance norm but in the first. With 0 layers it judges pixels, by 1x1 convolutions. `affine`:
    norms with gain and bias, which are batch norms of one image; 2,768,705 parameters with 3 layers, of 6 channels.
    A pair of images is given joined along the channels. Computes in `dtype`; parameters and logits are float32
    (float64 with dtype float64). No norm couples rows. Raises UserError for images that are too small.
    """

    layers: int = 3
    width: int = 64
    affine: bool = False
    dtype: Any = jnp.float32

    couples_rows = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b hh ww"]:
        if min(x.shape[1:3]) < (least := 2**self.layers + 2 ** (self.layers + 1)) and self.layers:
            raise UserError(
                f"patches of {self.layers} layers need images of {least} pixels a side, and these are"
                f" {x.shape[1]}x{x.shape[2]}: take fewer layers"
            )
        options = {"kernel_init": dcgan_init, **precision(self.dtype)}
        if not self.layers:
            conv = functools.partial(Conv, kernel_size=(1, 1), **options)
            h = leaky_relu(conv(self.width)(x))
            h = leaky_relu(norm(conv(2 * self.width, use_bias=False)(h), self.dtype, self.affine))
            return at_least_float32(conv(1, use_bias=False)(h)[..., 0])
        conv = functools.partial(Conv, kernel_size=(4, 4), padding=((1, 1), (1, 1)), **options)
        h = leaky_relu(conv(self.width, strides=(2, 2))(x))
        for i in range(1, self.layers + 1):
            strides = (2, 2) if i < self.layers else (1, 1)
            # A bias before a norm is taken away again; the authors' code has it where the norm has no parameters.
            h = conv(self.width * min(8, 2**i), strides=strides, use_bias=not self.affine)(h)
            h = leaky_relu(norm(h, self.dtype, self.affine))
        logits: jax.Array = conv(1)(h)[..., 0]  # [b h w 1] -> [b h w]
        return at_least_float32(logits)

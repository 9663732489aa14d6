"""Layers with an equalised learning rate: kernels start as N(0, 1) and are scaled where they are used, so that Adam's
steps are as large in every layer, beside its weights (Karras et al. 2018, arXiv:1710.10196, section 4.1).
"""

import math
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from gan_jax.models.conv.convolution import channels_last, conv_general_dilated
from gan_jax.models.layers import conv_down, conv_up, precision
from gan_jax.types import Array, at_least_float32


def normalised(x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
    """Returns x / sqrt(mean of x^2 over the channels + 1e-8): "pixel norm" of features, and of latents.

    Of a row of c numbers the norm is sqrt(c). Arithmetic is in float32 or float64. arXiv:1710.10196, section 4.2.
    """
    y = at_least_float32(x)
    return (y * jax.lax.rsqrt(jnp.mean(y**2, -1, keepdims=True) + 1e-8)).astype(x.dtype)


class Dense(nn.Module):
    """x [b i] -> [b features]: x W gain rate / sqrt(i) + rate bias, with W from N(0, 1 / rate^2).

    `rate` is a factor of this layer's learning rate beside that of others (StyleGAN's mapping has 0.01), and its outputs
    do not hang on it before the first step. `bias` is that of the start, as it is used; None: there is none.
    """

    features: int
    gain: float = 1.0
    rate: float = 1.0
    bias: float | None = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b i"]) -> jax.Array:
        kind = precision(self.dtype)["param_dtype"]
        start = nn.initializers.normal(1 / self.rate)
        kernel = self.param("kernel", start, (x.shape[-1], self.features), kind)
        y = jnp.asarray(x, self.dtype) @ (kernel * (self.gain * self.rate / math.sqrt(x.shape[-1]))).astype(self.dtype)
        if self.bias is None:
            return y
        bias = self.param("bias", nn.initializers.constant(self.bias / self.rate), (self.features,), kind)
        return y + (bias * self.rate).astype(self.dtype)[None]


class Conv(nn.Module):
    """x [b h w i] -> [b h/stride w/stride features]: a convolution, zeros around, with W gain / sqrt(k^2 i), W from
    N(0, 1), and a bias that begins at 0. `padding` is that of `lax.conv_general_dilated`.

    With `resize` "up" every pixel is repeated to 2x2 before a 3x3 convolution, and with "down" the mean of every 2x2 is
    taken after it, without a pass of its own (`layers.ConvUp`, `layers.ConvDown`).
    """

    features: int
    kernel: int = 3
    stride: int = 1
    gain: float = 1.0
    use_bias: bool = True
    padding: str = "SAME"
    resize: Literal["none", "up", "down"] = "none"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w i"]) -> jax.Array:
        kind = precision(self.dtype)["param_dtype"]
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.normal(1.0), shape, kind)
        scale = self.gain / math.sqrt(math.prod(shape[:3]))
        x, kernel = jnp.asarray(x, self.dtype), (kernel * scale).astype(self.dtype)
        match self.resize:
            case "up":
                y = conv_up(x, kernel)
            case "down":
                y = conv_down(x, kernel)
            case "none":
                numbers = channels_last(2)
                y = conv_general_dilated(x, kernel, (self.stride,) * 2, self.padding, dimension_numbers=numbers)
        if not self.use_bias:
            return y
        bias = self.param("bias", nn.initializers.zeros, (self.features,), kind)
        return y + bias.astype(self.dtype).reshape(1, 1, 1, -1)

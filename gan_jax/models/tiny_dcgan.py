"""The tiny networks of stacked MNIST, to measure mode collapse: the discriminator is too weak for its generator.

Metz et al. 2017, arXiv:1611.02163, section 3.3, in the version of PacGAN's code (arXiv:1712.04086, section 4.2): 3x3
kernels, batch norm after every layer but the last of each network, with biases before it too, weights N(0, 0.02^2).
Sides are halved three times, rounded up: 28 -> 14 -> 7 -> 4.
"""

import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float, Int

from gan_jax.models.layers import Conv, ConvTranspose, dcgan_init, precision, require_label
from gan_jax.types import Array, at_least_float32

_leaky_relu = functools.partial(nn.leaky_relu, negative_slope=0.3)


def _norm(train: bool, dtype: Any) -> nn.BatchNorm:
    return nn.BatchNorm(use_running_average=not train, momentum=0.9, **precision(dtype))


class Generator(nn.Module):
    """z [b z] -> images [b h w c] in [-1, 1]: dense to 64 channels, transposed convolutions to 32, 16 and 8, and a
    convolution to c; ReLU inside, tanh at the end.

    Computes in `dtype`; parameters, statistics and images are float32 (float64 with dtype float64).
    """

    shape: tuple[int, ...]  # (h, w, c)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], label: Int[Array, " b"] | None = None, *, train: bool
    ) -> Float[Array, "b h w c"]:
        require_label(label, 0, "tiny.Generator")
        *sides, channels = self.shape
        sizes = [[-(-side // 2**halved) for side in sides] for halved in (2, 1, 0)]
        base = [-(-side // 8) for side in sides]
        x = nn.Dense(base[0] * base[1] * 64, kernel_init=dcgan_init, **precision(self.dtype))(z)
        x = nn.relu(_norm(train, self.dtype)(x.reshape(-1, *base, 64)))  # [b hw64] -> [b h w 64]
        for features, (h, w) in zip((32, 16, 8), sizes, strict=True):
            x = ConvTranspose(features, (3, 3), (2, 2), kernel_init=dcgan_init, **precision(self.dtype))(x)
            x = x[:, -h:, -w:]  # for an odd side: the transpose of the convolution that halves it, rounded up
            x = nn.relu(_norm(train, self.dtype)(x))
        x = Conv(channels, (3, 3), kernel_init=dcgan_init, **precision(self.dtype))(x)
        return jnp.tanh(at_least_float32(x))


class Discriminator(nn.Module):
    """images [b h w c] -> logits [b]: three convolutions of stride 2, to `width`, twice and four times as many
    channels, each with batch norm and leaky ReLU 0.3, and a dense layer.

    Computes in `dtype`; parameters, statistics and logits are float32 (float64 with dtype float64).
    """

    width: int = 4
    dtype: Any = jnp.float32

    couples_rows = True  # batch norm

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], label: Int[Array, " b"] | None = None, *, train: bool
    ) -> Float[Array, " b"]:
        require_label(label, 0, "tiny.Discriminator")
        for doubled in range(3):
            x = Conv(self.width << doubled, (3, 3), (2, 2), kernel_init=dcgan_init, **precision(self.dtype))(x)
            x = _leaky_relu(_norm(train, self.dtype)(x))
        x = x.reshape(x.shape[0], -1)  # [b h w c] -> [b hwc]
        return at_least_float32(nn.Dense(1, kernel_init=dcgan_init, **precision(self.dtype))(x)[:, 0])  # [b 1] -> [b]

"""Residual networks for images whose sides are multiples of 4: of WGAN-GP (Gulrajani et al. 2017, arXiv:1704.00028,
appendix F, table 3) and, with spectral norm, of SNGAN (Miyato et al. 2018, arXiv:1802.05957, appendix B.4, table 4).

Blocks are pre-activated: (norm) ReLU, 3x3, (norm) ReLU, 3x3, with a 1x1 convolution as shortcut where size or channels
change. Doubling pixels and taking means of 2x2 commute with a 1x1 convolution, and are one with a 3x3 convolution
(`layers.ConvUp`, `layers.ConvDown`), so each is done where it costs least.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from gan_jax.models.layers import Conv, ConvDown, ConvUp, halvings, require_label
from gan_jax.types import Array, at_least_float32

he = nn.initializers.variance_scaling(2.0, "fan_avg", "uniform")
glorot = nn.initializers.glorot_uniform()


def _double(x: jax.Array) -> jax.Array:
    return x.repeat(2, axis=1).repeat(2, axis=2)  # [b h w c] -> [b 2h 2w c]


def _halve(x: jax.Array) -> jax.Array:
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))


class UpBlock(nn.Module):
    """[b h w i] -> [b 2h 2w width], with batch norm."""

    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        norm = functools.partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, dtype=self.dtype)
        options = {"use_bias": False, "dtype": self.dtype}  # the next norm, or the last one, would take a bias away
        y = ConvUp(self.width, kernel_init=he, **options)(nn.relu(norm()(x)))
        y = Conv(self.width, (3, 3), kernel_init=he, **options)(nn.relu(norm()(y)))
        return y + _double(Conv(self.width, (1, 1), kernel_init=glorot, **options)(x))


class DownBlock(nn.Module):
    """[b h w i] -> [b h/2 w/2 width], or of the same size without `down`; the `first` starts with its convolution."""

    width: int
    down: bool
    first: bool = False
    spectral_norm: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        def apply(layer: nn.Module, x: jax.Array) -> jax.Array:
            return nn.SpectralNorm(layer)(x, update_stats=train) if self.spectral_norm else layer(x)

        options = {"kernel_init": he, "dtype": self.dtype}
        y = apply(Conv(self.width, (3, 3), **options), x if self.first else nn.relu(x))
        y = apply(ConvDown(self.width, **options) if self.down else Conv(self.width, (3, 3), **options), nn.relu(y))
        if self.down or x.shape[-1] != self.width:
            x = apply(Conv(self.width, (1, 1), kernel_init=glorot, dtype=self.dtype), _halve(x) if self.down else x)
        return y + x


class Generator(nn.Module):
    """z [b z] -> images [b h w c] in [-1, 1]: dense to the smallest size, a block a doubling, batch norm, ReLU, a 3x3
    convolution, tanh.

    `width` is 128 in WGAN-GP and 256 in SNGAN. It computes in `dtype`; parameters, statistics and images are float32.
    With `remat` a block's activations are computed again for its gradient instead of kept.
    """

    shape: tuple[int, ...]  # (h, w, c)
    width: int = 128
    dtype: Any = jnp.float32
    remat: bool = False

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], label: Int[Array, " b"] | None = None, *, train: bool
    ) -> Float[Array, "b h w c"]:
        require_label(label, 0, "resnet.Generator")
        height, width, channels = self.shape
        ups = halvings(height, width, "the ResNet")
        block = _block(UpBlock, self.remat)
        base = (height >> ups, width >> ups, self.width)
        x = nn.Dense(base[0] * base[1] * base[2], kernel_init=glorot, dtype=self.dtype)(z).reshape(-1, *base)
        for up in range(ups):
            x = block(self.width, self.dtype, name=f"block_{up}")(x, train)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9, dtype=self.dtype)(x))
        return jnp.tanh(at_least_float32(Conv(channels, (3, 3), kernel_init=glorot, dtype=self.dtype)(x)))


class Discriminator(nn.Module):
    """images [b h w c] -> logits [b]: two blocks that halve, two that do not, ReLU, pooling over all pixels, one dense
    layer.

    The pooling is the mean, and with `spectral_norm`, which then is on every layer, the sum, each as in its paper. It has
    no other norm, so a row's logit is its own. It computes in `dtype`; parameters and logits are float32. `remat` as in
    `Generator`.
    """

    width: int = 128
    spectral_norm: bool = False
    dtype: Any = jnp.float32
    remat: bool = False

    couples_rows = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], label: Int[Array, " b"] | None = None, *, train: bool
    ) -> Float[Array, " b"]:
        require_label(label, 0, "resnet.Discriminator")
        halvings(x.shape[1], x.shape[2], "the ResNet")
        block = _block(DownBlock, self.remat)
        for i in range(4):
            x = block(self.width, i < 2, i == 0, self.spectral_norm, self.dtype, name=f"block_{i}")(x, train)
        x = at_least_float32(nn.relu(x))
        x = x.sum((1, 2)) if self.spectral_norm else x.mean((1, 2))  # [b h w c] -> [b c]
        dense = nn.Dense(1, kernel_init=glorot)
        x = nn.SpectralNorm(dense)(x, update_stats=train) if self.spectral_norm else dense(x)
        return x[:, 0]  # [b 1] -> [b]


def _block(block: type[nn.Module], remat: bool) -> Any:
    return nn.remat(block, static_argnums=(2,)) if remat else block  # argument 2 is `train`

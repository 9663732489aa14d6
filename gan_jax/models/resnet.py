"""Residual networks for images whose sides are multiples of 4: those of WGAN-GP (Gulrajani et al. 2017,
arXiv:1704.00028, appendix F, table 3) and, with spectral norm, of SNGAN (Miyato et al. 2018, arXiv:1802.05957, appendix
B.4, table 4).

Blocks have activations first: (norm) ReLU, 3x3, (norm) ReLU, 3x3, with a 1x1 convolution as shortcut where size or
channels change. Doubling pixels and averaging 2x2 of them commute with a 1x1 convolution, and combine with a 3x3
convolution into one (`layers.ConvUp`, `layers.ConvDown`), so each is done where it costs least.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from gan_jax.models.layers import Conv, ConvDown, ConvUp, double, halve, halvings, precision, require_label, spectral
from gan_jax.types import Array, at_least_float32

he = nn.initializers.variance_scaling(2.0, "fan_avg", "uniform")
glorot = nn.initializers.glorot_uniform()


class UpBlock(nn.Module):
    """[b h w i] -> [b 2h 2w width], with batch norm."""

    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        norm = functools.partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, **precision(self.dtype))
        # Without biases: the next norm, or the last one, would cancel them.
        options = {"use_bias": False, **precision(self.dtype)}
        y = ConvUp(self.width, kernel_init=he, **options)(nn.relu(norm()(x)))
        y = Conv(self.width, (3, 3), kernel_init=he, **options)(nn.relu(norm()(y)))
        return y + double(Conv(self.width, (1, 1), kernel_init=glorot, **options)(x))


class DownBlock(nn.Module):
    """[b h w i] -> [b h/2 w/2 width], or at the same size without `down`; with `first`, there is no ReLU before its
    first convolution.
    """

    width: int
    down: bool
    first: bool = False
    spectral_norm: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        def apply(layer: Any, x: jax.Array) -> jax.Array:
            return spectral(layer, x, train) if self.spectral_norm else layer(x)

        options = {"kernel_init": he, **precision(self.dtype)}
        y = apply(Conv(self.width, (3, 3), **options), x if self.first else nn.relu(x))
        y = apply(ConvDown(self.width, **options) if self.down else Conv(self.width, (3, 3), **options), nn.relu(y))
        if self.down or x.shape[-1] != self.width:
            x = apply(
                Conv(self.width, (1, 1), kernel_init=glorot, **precision(self.dtype)), halve(x) if self.down else x
            )
        return y + x


class Generator(nn.Module):
    """z [b z] -> images [b h w c] in [-1, 1]: dense to the smallest size, a block per doubling, batch norm, ReLU, a 3x3
    convolution, tanh.

    `width` is 128 in WGAN-GP and 256 in SNGAN. Computes in `dtype`; parameters, statistics and images are float32
    (float64 with dtype float64). With `remat` the activations of a block are computed again for its gradient instead of
    being stored.
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
        x = nn.Dense(base[0] * base[1] * base[2], kernel_init=glorot, **precision(self.dtype))(z).reshape(-1, *base)
        for up in range(ups):
            x = block(self.width, self.dtype, name=f"block_{up}")(x, train)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9, **precision(self.dtype))(x))
        return jnp.tanh(at_least_float32(Conv(channels, (3, 3), kernel_init=glorot, **precision(self.dtype))(x)))


class Discriminator(nn.Module):
    """images [b h w c] -> logits [b]: two blocks that halve, two that do not, ReLU, pooling over all pixels, one dense
    layer.

    The pooling is the mean or, with `spectral_norm`, which is then on every layer, the sum, each as in its paper. There
    is no other norm, so a row's logit depends on that row only. Computes in `dtype`; parameters, statistics and logits
    are float32 (float64 with dtype float64). `remat` is as in `Generator`.
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
        dense = nn.Dense(1, kernel_init=glorot, param_dtype=precision(self.dtype)["param_dtype"])
        x = spectral(dense, x, train) if self.spectral_norm else dense(x)
        return x[:, 0]  # [b 1] -> [b]


def _block(block: type[nn.Module], remat: bool) -> Any:
    return nn.remat(block, static_argnums=(2,)) if remat else block  # argument 2 is `train`

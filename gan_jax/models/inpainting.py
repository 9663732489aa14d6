"""Networks that fill what is missing of images, (images [b h w c], masks [b h w 1]) -> images: what is known is copied.

A mask is 1 where a pixel is missing. No network sees these pixels, whatever they hold.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from gan_jax.models.layers import Conv, ConvTranspose, dcgan_init, leaky_relu, precision
from gan_jax.models.unet import norm
from gan_jax.types import Array, UserError, at_least_float32


class Filled(nn.Module):
    """known + mask * net(known and mask, joined along the channels): pixels that are known are copied bit for bit.

    With `partial` the network takes (known, mask) instead, as `PartialUNet` does.
    """

    net: nn.Module
    partial: bool = False

    def __call__(self, image: Float[Array, "b h w c"], mask: Float[Array, "b h w 1"], *, train: bool) -> Any:
        image, mask = jnp.asarray(image), jnp.asarray(mask)
        known = jnp.where(mask > 0, 0, image)
        made: Any = (
            self.net(known, mask, train=train)
            if self.partial
            else self.net(jnp.concatenate([known, mask.astype(known.dtype)], -1), train=train)
        )
        return jnp.where(mask > 0, made, known)


class ContextEncoder(nn.Module):
    """images [b h w d] -> images [b h w channels]: halved to a side of 4 or less, made one vector of `bottleneck` numbers, and
    back; no other way around it.

    4x4 convolutions of width x (1, 1, 2, 4, 8, 8, ...) channels, batch norm but in the first. Pathak et al. 2016,
    arXiv:1604.07379, whose network makes the central quarter alone. Raises UserError unless the sides are equal, 4 or
    7 times a power of 2.
    """

    channels: int = 3
    width: int = 64
    bottleneck: int = 4_000
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w d"], *, train: bool) -> Float[Array, "b h w c"]:
        side = x.shape[1]
        downs = next((i for i in range(1, 9) if side == 4 << i or side == 7 << i), 0)
        if not downs or x.shape[2] != side:
            raise UserError(
                f"a context encoder takes square images of 4 or 7 times a power of 2 pixels, and these are {side}x{x.shape[2]}: give --size"
            )
        options = {"kernel_init": dcgan_init, **precision(self.dtype)}
        batch_norm = functools.partial(nn.BatchNorm, not train, momentum=0.9, **precision(self.dtype))
        halving = functools.partial(Conv, kernel_size=(4, 4), strides=(2, 2), **options)
        doubling = functools.partial(ConvTranspose, kernel_size=(4, 4), strides=(2, 2), **options)
        widths = [self.width * min(8, max(1, 2 ** (i - 1))) for i in range(downs)]
        h: Any = leaky_relu(halving(widths[0])(x))
        for features in widths[1:]:
            h = leaky_relu(batch_norm()(halving(features)(h)))
        base = h.shape[1:]
        h = leaky_relu(batch_norm()(nn.Dense(self.bottleneck, **options)(h.reshape(len(h), -1))))  # [b n]
        h = nn.relu(batch_norm()(nn.Dense(base[0] * base[1] * base[2], **options)(h))).reshape(-1, *base)
        for features in reversed(widths[:-1]):
            h = nn.relu(batch_norm()(doubling(features=features)(h)))
        return jnp.tanh(at_least_float32(doubling(features=self.channels)(h)))


class PartialConv(nn.Module):
    """(x [b h w c], known [b h w 1]) -> (y, known): y = W * (x known) k^2 / sum(known) + b where any pixel under the kernel is
    known, and 0 elsewhere; it is known there. Beyond the border nothing is known. Liu et al. 2018, arXiv:1804.07723,
    equations 1 and 2.
    """

    features: int
    kernel: int = 3
    stride: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], known: Float[Array, "b h w 1"]) -> tuple[Any, Any]:
        size, strides = (self.kernel, self.kernel), (self.stride, self.stride)
        conv = Conv(self.features, size, strides, use_bias=False, kernel_init=dcgan_init, **precision(self.dtype))
        bias = self.param("bias", nn.initializers.zeros, (self.features,), precision(self.dtype)["param_dtype"])
        known = jnp.asarray(known)
        y = conv(x * known.astype(x.dtype))
        counted = nn.avg_pool(known, size, strides, "SAME", count_include_pad=True)  # the share that is known
        found = counted > 0.5 / self.kernel**2
        scaled = y / jnp.where(found, counted, 1).astype(y.dtype) + bias.astype(y.dtype)[None, None, None]
        return jnp.where(found, scaled, 0), found.astype(known.dtype)


class PartialUNet(nn.Module):
    """(images [b h w c], masks [b h w 1]) -> images: a U-Net of partial convolutions, which never mix what is missing into what
    they make.

    `downs` halvings of width x (1, 2, 4, 8, 8, ...) channels, and back by repeated pixels beside what was halved;
    instance norm. Liu et al. 2018, arXiv:1804.07723, section 3.2, with batch norm there. Raises UserError unless both
    sides are multiples of 2^downs.
    """

    channels: int = 3
    width: int = 64
    downs: int = 5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], mask: Float[Array, "b h w 1"], *, train: bool) -> Any:
        if x.shape[1] % 2**self.downs or x.shape[2] % 2**self.downs:
            raise UserError(
                f"a network that halves images {self.downs} times needs sides that are multiples of {2**self.downs}, and these are"
                f" {x.shape[1]}x{x.shape[2]}: give --size, or fewer halvings"
            )
        conv: Callable = functools.partial(PartialConv, dtype=self.dtype)
        h, known = jnp.asarray(x), 1 - jnp.asarray(mask)
        kept = [(h, known)]
        for i in range(self.downs):
            h, known = conv(self.width * min(8, 2**i), 4 if i else 6, 2)(h, known)
            h = nn.relu(norm(h, self.dtype) if i else h)
            kept.append((h, known))
        for i in reversed(range(self.downs)):
            h, known = (jnp.repeat(jnp.repeat(z, 2, 1), 2, 2) for z in (h, known))
            beside, there = kept[i]
            # Each part is what it knows: the other's is 0, not missing.
            h = jnp.concatenate([h * known.astype(h.dtype), beside * there.astype(h.dtype)], -1)
            known = jnp.maximum(known, there)
            h, known = conv(self.channels if i == 0 else self.width * min(8, 2 ** (i - 1)))(h, known)
            h = leaky_relu(norm(h, self.dtype)) if i else h
        return jnp.tanh(at_least_float32(h))

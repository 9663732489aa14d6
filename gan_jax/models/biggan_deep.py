"""BigGAN-deep (Brock et al. 2019, arXiv:1809.11096, appendix B and figure 16): blocks with a bottleneck, two for each size.

G's block is norm, ReLU, 1x1 to a quarter, norm, ReLU, (double) 3x3, norm, ReLU, 3x3, norm, ReLU, 1x1; its shortcut are
the first of its input's channels (doubled). D's is ReLU, 1x1 to a quarter, ReLU, 3x3, ReLU, 3x3, ReLU, (halve) 1x1; its
shortcut is its input (halved), and where there are to be more channels, these by a 1x1 convolution. Everything else is
as in `biggan`, but for z: all of it, beside the class's embedding, is the condition of every norm, and of the first
layer.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float, Int

from gan_jax.models.attention import SelfAttention
from gan_jax.models.biggan import EPSILON, ConditionalBatchNorm, orthogonal, require_halved
from gan_jax.models.layers import Conv, ConvUp, double, halve, precision, require_label, spectral
from gan_jax.types import Array, at_least_float32


class UpBlock(nn.Module):
    """[b h w i] -> [b h w width], or with `up` [b 2h 2w width]; `width` is at most i."""

    width: int
    up: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Any, condition: Any, train: bool) -> Any:
        options = {"kernel_init": orthogonal, **precision(self.dtype)}
        inner = x.shape[-1] // 4
        larger: Any = ConvUp(inner, **options) if self.up else Conv(inner, (3, 3), **options)
        layers = [Conv(inner, (1, 1), **options), larger, Conv(inner, (3, 3), **options)]
        y = x
        for layer in (*layers, Conv(self.width, (1, 1), **options)):
            y = nn.relu(ConditionalBatchNorm(self.dtype)(y, condition, train))
            y = spectral(layer, y, train, EPSILON)
        x = x[..., : self.width]
        return y + (double(x) if self.up else x)


class DownBlock(nn.Module):
    """[b h w i] -> [b h w width], or with `down` [b h/2 w/2 width]; `width` is at least i."""

    width: int
    down: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Any, train: bool) -> Any:
        options = {"kernel_init": orthogonal, **precision(self.dtype)}
        y = x
        for side in (1, 3, 3):
            y = spectral(Conv(self.width // 4, (side, side), **options), nn.relu(y), train, EPSILON)
        y = nn.relu(y)
        x, y = (halve(x), halve(y)) if self.down else (x, y)
        y = spectral(Conv(self.width, (1, 1), **options), y, train, EPSILON)
        if more := self.width - x.shape[-1]:
            x = jnp.concatenate([x, spectral(Conv(more, (1, 1), **options), x, train, EPSILON)], -1)
        return y + x


class Generator(nn.Module):
    """z [b z], label [b] -> images [b h w c] in [-1, 1].

    `widths` are the channels of the smallest size and after each that follows: 128 x (16, 16, 8, 4, 2, 1) for 128x128.
    `attend` are the doublings after which there is attention, from 0. For the rest see `biggan.Generator`.
    """

    shape: tuple[int, ...]  # (h, w, c)
    widths: tuple[int, ...]
    classes: int = 0
    embedding: int = 128
    attend: tuple[int, ...] = ()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], label: Int[Array, " b"] | None = None, *, train: bool
    ) -> Float[Array, "b h w c"]:
        require_label(label, self.classes, "biggan_deep.Generator")
        height, width, channels = self.shape
        ups = len(self.widths) - 1
        require_halved(height, width, ups)
        condition: Any = z
        if label is not None:
            embedded = nn.Embed(self.classes, self.embedding, embedding_init=orthogonal, **precision(self.dtype))(label)
            condition = jnp.concatenate([embedded, jnp.asarray(z, embedded.dtype)], -1)
        options = {"kernel_init": orthogonal, **precision(self.dtype)}
        base = (height >> ups, width >> ups, self.widths[0])
        x = spectral(nn.Dense(base[0] * base[1] * base[2], **options), condition, train, EPSILON)
        x = x.reshape(-1, *base)  # [b hwc] -> [b h w c]
        for i, features in enumerate(self.widths[1:]):
            x = UpBlock(x.shape[-1], False, self.dtype)(x, condition, train)
            x = UpBlock(features, True, self.dtype)(x, condition, train)
            x = SelfAttention(self.dtype)(x, train) if i in self.attend else x
        x = nn.relu(nn.BatchNorm(not train, momentum=0.9, **precision(self.dtype))(x))
        return jnp.tanh(at_least_float32(spectral(Conv(channels, (3, 3), **options), x, train, EPSILON)))


class Discriminator(nn.Module):
    """images [b h w c], label [b] -> logits [b].

    `widths` are the channels at the size of the images and after each halving: 128 x (1, 2, 4, 8, 16, 16) for 128x128.
    `attend` are the halvings after which there is attention, from 0. For the rest see `biggan.Discriminator`.
    """

    widths: tuple[int, ...]
    classes: int = 0
    attend: tuple[int, ...] = ()
    dtype: Any = jnp.float32

    couples_rows = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], label: Int[Array, " b"] | None = None, *, train: bool
    ) -> Float[Array, " b"]:
        require_label(label, self.classes, "biggan_deep.Discriminator")
        require_halved(x.shape[1], x.shape[2], len(self.widths) - 1)
        first = Conv(self.widths[0], (3, 3), kernel_init=orthogonal, **precision(self.dtype))
        h: Any = spectral(first, x, train, EPSILON)
        for i, features in enumerate(self.widths[1:]):
            h = DownBlock(features, True, self.dtype)(h, train)
            h = DownBlock(features, False, self.dtype)(h, train)
            h = SelfAttention(self.dtype)(h, train) if i in self.attend else h
        h = at_least_float32(nn.relu(h)).sum((1, 2))  # [b h w c] -> [b c]
        options = {"param_dtype": precision(self.dtype)["param_dtype"]}
        logits = spectral(nn.Dense(1, kernel_init=orthogonal, **options), h, train, EPSILON)[:, 0]
        if label is None:
            return logits
        rows = spectral(
            nn.Embed(self.classes, h.shape[-1], embedding_init=orthogonal, **options), label, train, EPSILON
        )
        return logits + jnp.sum(rows * h, -1)

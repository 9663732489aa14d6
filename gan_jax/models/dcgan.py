"""DCGAN for images whose sides are multiples of 4 (Radford et al. 2016, arXiv:1511.06434, section 3 and figure 1).

Sides are halved twice, and then as long as the smaller one is above 4: 32 -> 16 -> 8 -> 4; 28 -> 14 -> 7 -> 4, and on
the way back 4 -> 8, which is cropped to 7; 8 -> 4 -> 2. The discriminator's channels double with every halving, from
`width`; the generator is its mirror image. Kernels are 4x4 with stride 2, weights are initialised from N(0, 0.02^2),
batch-norm scales from N(1, 0.02^2).
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from gan_jax.models.layers import Conv, ConvTranspose, dcgan_init, halvings, leaky_relu, precision, require_label
from gan_jax.types import Array, at_least_float32


def _batch_norm(train: bool, dtype: Any) -> nn.BatchNorm:
    def init_around_one(key: jax.Array, shape: Any, dtype: Any = jnp.float32) -> jax.Array:
        return 1 + dcgan_init(key, shape, dtype)

    return nn.BatchNorm(use_running_average=not train, momentum=0.9, scale_init=init_around_one, **precision(dtype))


def sides(height: int, width: int) -> list[tuple[int, int]]:
    """Returns the sizes inside the networks, from that of the images to the smallest, with halves rounded up. Raises
    UserError unless both sides are multiples of 4.
    """
    count = halvings(height, width, "DCGAN")
    sizes = [(height >> i, width >> i) for i in range(count + 1)]
    while min(sizes[-1]) > 4:
        sizes.append((-(-sizes[-1][0] // 2), -(-sizes[-1][1] // 2)))
    return sizes


class Generator(nn.Module):
    """z [b z] -> images [b h w c] in [-1, 1]: dense to the smallest size, a transposed convolution per doubling; ReLU
    inside, tanh at the end.

    With `classes`, an embedding of the label, as wide as z, is appended to z. Computes in `dtype`; parameters,
    statistics and images are float32 (float64 with dtype float64).
    """

    shape: tuple[int, ...]  # (h, w, c)
    width: int = 64  # channels before the last layer
    batch_norm: bool = True
    classes: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], label: Int[Array, " b"] | None = None, *, train: bool
    ) -> Float[Array, "b h w c"]:
        require_label(label, self.classes, "dcgan.Generator")
        height, width, channels = self.shape
        smallest, *larger = reversed(sides(height, width))
        if label is not None:
            z = jnp.concatenate(
                [z, nn.Embed(self.classes, z.shape[-1], **precision(self.dtype))(label)], axis=-1
            )  # [b 2z]
        base = (*smallest, self.width << (len(larger) - 1))
        dense: Any = functools.partial(nn.Dense, kernel_init=dcgan_init, **precision(self.dtype))
        x = dense(base[0] * base[1] * base[2], use_bias=not self.batch_norm)(z)
        x = x.reshape(-1, *base)  # [b hwc] -> [b h w c]
        for i, (high, wide) in enumerate(larger):
            last = i == len(larger) - 1
            x = nn.relu(_batch_norm(train, self.dtype)(x) if self.batch_norm else x)
            features = channels if last else self.width << (len(larger) - 2 - i)
            use_bias = not self.batch_norm or last
            x = ConvTranspose(
                features, (4, 4), (2, 2), use_bias=use_bias, kernel_init=dcgan_init, **precision(self.dtype)
            )(x)
            x = x[:, :high, :wide]  # 4 -> 8 -> 7
        return jnp.tanh(at_least_float32(x))


class Discriminator(nn.Module):
    """images [b h w c] -> logits [b]: a convolution per halving, leaky ReLU 0.2, no norm in the first layer, one dense
    layer at the end.

    With `classes`, an embedding of the label is appended as one more channel. `dropout` is the rate after each
    convolution, in training. Gradient penalties need `batch_norm` = False: with batch norm the logit of a row depends
    on the others. Computes in `dtype`; parameters, statistics and logits are float32 (float64 with dtype float64).
    """

    width: int = 64  # channels after the first layer
    batch_norm: bool = True
    dropout: float = 0.0
    classes: int = 0
    dtype: Any = jnp.float32

    @property
    def couples_rows(self) -> bool:
        return self.batch_norm

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], label: Int[Array, " b"] | None = None, *, train: bool
    ) -> Float[Array, " b"]:
        require_label(label, self.classes, "dcgan.Discriminator")
        if x.ndim != 4:
            raise ValueError(
                f"dcgan.Discriminator takes images [b h w c], and was given {x.shape}; mlp.Discriminator takes any shape"
            )
        height, width = x.shape[1:3]
        if label is not None:
            plane = nn.Embed(self.classes, height * width, **precision(self.dtype))(label)  # [b hw]
            x = jnp.concatenate([x, plane.reshape(-1, height, width, 1)], axis=-1)
        for down in range(len(sides(height, width)) - 1):
            norm = self.batch_norm and down > 0
            x = Conv(
                self.width << down, (4, 4), (2, 2), use_bias=not norm, kernel_init=dcgan_init, **precision(self.dtype)
            )(x)
            x = leaky_relu(_batch_norm(train, self.dtype)(x) if norm else x)
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = x.reshape(x.shape[0], -1)  # [b h w c] -> [b hwc]
        return at_least_float32(nn.Dense(1, kernel_init=dcgan_init, **precision(self.dtype))(x)[:, 0])  # [b 1] -> [b]

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

from gan_jax.models.layers import (
    Conv,
    ConvTranspose,
    VirtualBatchNorm,
    dcgan_init,
    halvings,
    leaky_relu,
    precision,
    require_label,
)
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

    With `classes`, an embedding of the label, as wide as z, is appended to z. With `reference` there is virtual batch
    norm in the place of batch norm (`layers.VirtualBatchNorm`): so many latents, and classes in turn, are drawn once,
    and processed beside every batch. Computes in `dtype`; parameters, statistics and images are float32 (float64 with
    dtype float64).
    """

    shape: tuple[int, ...]  # (h, w, c)
    width: int = 64  # channels before the last layer
    batch_norm: bool = True
    classes: int = 0
    reference: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], label: Int[Array, " b"] | None = None, *, train: bool
    ) -> Float[Array, "b h w c"]:
        require_label(label, self.classes, "dcgan.Generator")
        height, width, channels = self.shape
        smallest, *larger = reversed(sides(height, width))
        rows = z.shape[0]
        if self.reference:
            z, label = self._with_reference(jnp.asarray(z), label)
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
            if self.reference:
                x = VirtualBatchNorm(self.reference, dtype=self.dtype)(x)
            elif self.batch_norm:
                x = _batch_norm(train, self.dtype)(x)
            x = nn.relu(x)
            features = channels if last else self.width << (len(larger) - 2 - i)
            use_bias = not self.batch_norm or last
            x = ConvTranspose(
                features, (4, 4), (2, 2), use_bias=use_bias, kernel_init=dcgan_init, **precision(self.dtype)
            )(x)
            x = x[:, :high, :wide]  # 4 -> 8 -> 7
        return jnp.tanh(at_least_float32(x[:rows]))

    def _with_reference(self, z: jax.Array, label: Array | None) -> tuple[jax.Array, Array | None]:
        """The latents, and labels, with those of the reference batch after them."""

        def drawn() -> jax.Array:
            return jax.random.normal(self.make_rng("params"), (self.reference, z.shape[-1]), z.dtype)

        z = jnp.concatenate([z, self.variable("buffers", "reference", drawn).value])  # [b z] -> [b + r z]
        if label is not None:
            label = jnp.concatenate([label, jnp.arange(self.reference, dtype=label.dtype) % self.classes])
        return z, label


class Discriminator(nn.Module):
    """images [b h w c] -> logits [b]: a convolution per halving, leaky ReLU 0.2, no norm in the first layer, one dense
    layer at the end.

    With `classes`, an embedding of the label is appended as one more channel. `dropout` is the rate after each
    convolution, in training. `coupling` is a layer before the last one that compares the rows of a batch, such as
    `layers.MinibatchStd()`. With `features`, a call also returns what the last layer is given, [b d]. Gradient penalties
    need `batch_norm` = False: with batch norm the logit of a row depends on the others. Computes in `dtype`; parameters,
    statistics and logits are float32 (float64 with dtype float64).
    """

    width: int = 64  # channels after the first layer
    batch_norm: bool = True
    dropout: float = 0.0
    classes: int = 0
    coupling: nn.Module | None = None
    dtype: Any = jnp.float32

    @property
    def couples_rows(self) -> bool:
        return self.batch_norm or self.coupling is not None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], label: Int[Array, " b"] | None = None, *, train: bool, features: bool = False
    ) -> Any:
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
        x = x if self.coupling is None else self.coupling(x)
        x = x.reshape(x.shape[0], -1)  # [b h w c] -> [b hwc]
        logits = at_least_float32(nn.Dense(1, kernel_init=dcgan_init, **precision(self.dtype))(x)[:, 0])  # [b 1] -> [b]
        return (logits, at_least_float32(x)) if features else logits

"""R3GAN (Huang et al. 2024, arXiv:2501.05441, section 3): residual networks without normalisation, for the relativistic
loss with R1 and R2.

Stages of one size each, from the smallest on; in G each but the first begins by doubling the sides, in D each but the
last ends by halving them, by [1, 3, 3, 1] (`conv.fir`), with a 1x1 convolution at the smaller size where the channels
change. A block is x + W3 a(G2 a(W1 x)), with a the leaky ReLU 0.2 of a sum with a bias: W1 1x1 to twice the
channels, G2 3x3 in groups, W3 1x1 back. W3 begins at 0, so at the start blocks are identities, G is linear in z, and D in
its images; W1 and G2 begin as He's, times L^(-1/4) for L blocks in the network (Fixup, arXiv:1901.09321). Widths,
groups and initialisation are those of the authors' code (brownvc/R3GAN). 3x3 convolutions in groups are slow in XLA on
the CPU: `models.conv` has them one by one.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float, Int

from gan_jax.models.conv.fir import downsample, upsample
from gan_jax.models.layers import Conv, leaky_relu, precision, require_label
from gan_jax.types import Array, UserError, at_least_float32


def _normal(gain: float = 1.0) -> Any:
    """N(0, gain^2 / fan_in), the inputs of one group counted."""
    return nn.initializers.variance_scaling(gain**2, "fan_in", "normal")


class Block(nn.Module):
    """x [b h w c] -> the same shape: x itself at the start. `depth` is the number of blocks in the network."""

    depth: int
    group: int = 16  # channels of one group
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        width = x.shape[-1]
        inner = {"kernel_init": _normal((2 / (1 + 0.2**2)) ** 0.5 * self.depth**-0.25), **precision(self.dtype)}
        y = leaky_relu(Conv(2 * width, (1, 1), **inner)(x))
        y = leaky_relu(Conv(2 * width, (3, 3), feature_group_count=2 * width // self.group, **inner)(y))
        last = nn.initializers.zeros
        return x + Conv(width, (1, 1), use_bias=False, kernel_init=last, **precision(self.dtype))(y)


def smallest(shape: tuple[int, ...], widths: tuple[int, ...]) -> tuple[int, int]:
    """Returns the sides of the first stage. Raises UserError unless they can be doubled to those of the images."""
    times = 2 ** (len(widths) - 1)
    if shape[0] % times or shape[1] % times:
        raise UserError(
            f"R3GAN of {len(widths)} stages needs sides that are multiples of {times}, and the images are"
            f" {shape[0]}x{shape[1]}; a folder of images can be resized by --size"
        )
    return shape[0] // times, shape[1] // times


def require_groups(widths: tuple[int, ...], group: int) -> None:
    """Raises UserError unless the inner channels of every stage can be put into groups of so many."""
    if not widths or group < 1 or any(width < 1 or 2 * width % group for width in widths):
        raise UserError(f"R3GAN's widths are multiples of half a group of {group} channels; got {widths}")


class Generator(nn.Module):
    """z [b z] -> images [b h w c]: learnt maps of the smallest size, each times a linear function of z, then stages of
    `blocks` blocks with these widths, and a 1x1 convolution; nothing keeps values in [-1, 1].

    With `classes`, an embedding of the label, as wide as z, is appended to z. Published: CIFAR-10 (768,) * 4; FFHQ-256
    (768, 768, 768, 768, 384, 192, 96); 2 blocks. Computes in `dtype`; parameters and images are float32 (float64 with
    dtype float64).
    """

    shape: tuple[int, ...]  # (h, w, c)
    widths: tuple[int, ...] = (64, 64, 64)
    blocks: int = 1
    group: int = 16
    classes: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], label: Int[Array, " b"] | None = None, *, train: bool
    ) -> Float[Array, "b h w c"]:
        require_label(label, self.classes, "r3gan.Generator")
        require_groups(self.widths, self.group)
        sides, width = smallest(self.shape, self.widths), self.widths[0]
        options = {"use_bias": False, "kernel_init": _normal(), **precision(self.dtype)}
        if label is not None:
            rows = nn.initializers.normal(self.classes**-0.5)
            embed = nn.Embed(self.classes, z.shape[-1], embedding_init=rows, **precision(self.dtype))
            z = jnp.concatenate([z, embed(label)], -1)  # [b 2z]
        maps = self.param("maps", nn.initializers.normal(1.0), (*sides, width), precision(self.dtype)["param_dtype"])
        scale = nn.Dense(width, **options)(z)
        x: Any = maps.astype(self.dtype)[None] * scale[:, None, None]  # [b h w c]
        for i, width in enumerate(self.widths):
            if i:
                x = x if width == x.shape[-1] else Conv(width, (1, 1), **options)(x)
                x = upsample(x)
            for _ in range(self.blocks):
                x = Block(self.blocks * len(self.widths), self.group, self.dtype)(x)
        return at_least_float32(Conv(self.shape[-1], (1, 1), **options)(x))


class Discriminator(nn.Module):
    """images [b h w c] -> logits [b]: a 1x1 convolution, the stages of G backwards (`widths` are given as G's), at
    the smallest size one learnt map a channel, and a linear function of what is left.

    With `classes` that is c numbers, and their product with a linear function of the class. At the start D is linear in
    its images. Computes in `dtype`; parameters and logits are float32 (float64 with dtype float64).
    """

    widths: tuple[int, ...] = (64, 64, 64)
    blocks: int = 1
    group: int = 16
    classes: int = 0
    dtype: Any = jnp.float32

    couples_rows = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], label: Int[Array, " b"] | None = None, *, train: bool
    ) -> Float[Array, " b"]:
        require_label(label, self.classes, "r3gan.Discriminator")
        require_groups(self.widths, self.group)
        smallest(x.shape[1:], self.widths)
        options = {"use_bias": False, "kernel_init": _normal(), **precision(self.dtype)}
        x = jnp.asarray(Conv(self.widths[-1], (1, 1), **options)(x))
        for i, width in enumerate(reversed(self.widths)):
            if i:
                x = downsample(x)
                x = x if width == x.shape[-1] else Conv(width, (1, 1), **options)(x)
            for _ in range(self.blocks):
                x = Block(self.blocks * len(self.widths), self.group, self.dtype)(x)
        _, high, wide, width = x.shape
        start = nn.initializers.normal((high * wide) ** -0.5)
        maps = self.param("maps", start, (high, wide, width), precision(self.dtype)["param_dtype"])
        x = jnp.sum(x * maps.astype(self.dtype)[None], (1, 2))  # [b h w c] -> [b c]
        x = nn.Dense(width if self.classes else 1, **options)(x)
        if label is None:
            return at_least_float32(x[:, 0])  # [b 1] -> [b]
        rows = nn.initializers.normal((self.classes * width) ** -0.5)
        embed = nn.Embed(self.classes, width, embedding_init=rows, **precision(self.dtype))
        return jnp.sum(at_least_float32(x) * at_least_float32(embed(label)), -1)

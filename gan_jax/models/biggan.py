"""BigGAN (Brock et al. 2019, arXiv:1809.11096, appendix B, and the authors' code): residual blocks with conditional batch
norm, spectral norm in every layer of both networks, attention, and a projection of the class (1802.05637).

G's block is norm, ReLU, double, 3x3, norm, ReLU, 3x3, with a shortcut of doubling and a 1x1 convolution. The gain of a norm
is 1 plus a linear function of [embedding of the class, a part of z], its bias another one: z is split into equal
parts, one for the first layer and one for each block. D's block is ReLU (not in the first), 3x3, ReLU, 3x3, halve. Doubling
and halving are joined with the 3x3 convolution next to them (`layers.ConvUp`, `layers.ConvDown`): the products are
fewer, and the kernel is the same. All matrices begin as orthogonal.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from gan_jax.models.attention import SelfAttention
from gan_jax.models.layers import Conv, ConvDown, ConvUp, double, halve, precision, require_label, spectral
from gan_jax.types import Array, UserError, at_least_float32

orthogonal = nn.initializers.orthogonal()
EPSILON = 1e-6  # of spectral norm


class ConditionalBatchNorm(nn.Module):
    """x [b h w c], condition [b d] -> batch norm of x, times 1 + A condition, plus B condition: at A = B = 0 a plain one.

    A and B are matrices without bias, with spectral norm. De Vries et al. 2017, arXiv:1707.00683; as in BigGAN.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], condition: Float[Array, "b d"], train: bool) -> jax.Array:
        def linear(name: str) -> Any:
            layer = nn.Dense(x.shape[-1], use_bias=False, kernel_init=orthogonal, name=name, **precision(self.dtype))
            return spectral(layer, condition, train, EPSILON)[:, None, None]  # [b c] -> [b 1 1 c]

        plain = nn.BatchNorm(not train, momentum=0.9, use_bias=False, use_scale=False, **precision(self.dtype))
        return plain(x) * (1 + linear("gain")) + linear("bias")


class UpBlock(nn.Module):
    """[b h w i] -> [b 2h 2w width]"""

    width: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Any, condition: Any, train: bool) -> Any:
        options = {"kernel_init": orthogonal, **precision(self.dtype)}
        y = nn.relu(ConditionalBatchNorm(self.dtype)(x, condition, train))
        y = spectral(ConvUp(self.width, **options), y, train, EPSILON)
        y = nn.relu(ConditionalBatchNorm(self.dtype)(y, condition, train))
        y = spectral(Conv(self.width, (3, 3), **options), y, train, EPSILON)
        return y + double(spectral(Conv(self.width, (1, 1), **options), x, train, EPSILON))


class DownBlock(nn.Module):
    """[b h w i] -> [b h/2 w/2 width], or at the same size without `down`."""

    width: int
    down: bool
    first: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Any, train: bool) -> Any:
        options = {"kernel_init": orthogonal, **precision(self.dtype)}
        y = spectral(Conv(self.width, (3, 3), **options), x if self.first else nn.relu(x), train, EPSILON)
        last: Any = ConvDown(self.width, **options) if self.down else Conv(self.width, (3, 3), **options)
        y = spectral(last, nn.relu(y), train, EPSILON)
        if self.down or x.shape[-1] != self.width:
            # The mean of 2x2 pixels and a 1x1 convolution commute: first what makes the other cheaper.
            x = halve(x) if self.down else x
            x = spectral(Conv(self.width, (1, 1), **options), x, train, EPSILON)
        return y + x


class Generator(nn.Module):
    """z [b z], label [b] -> images [b h w c] in [-1, 1].

    `widths` are the channels of the smallest size and after each block: BigGAN-128 has 96 x (16, 16, 8, 4, 2, 1), BigGAN
    on CIFAR-10 96 x (4, 4, 4, 4). `attend` are the blocks after which there is attention, from 0. Without `classes` a norm's
    condition is its part of z. Computes in `dtype`; parameters, statistics and images are float32 (float64 with dtype
    float64). Raises UserError for images that are not halved so often, and for z that cannot be split so.
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
        require_label(label, self.classes, "biggan.Generator")
        height, width, channels = self.shape
        blocks = len(self.widths) - 1
        require_halved(height, width, blocks)
        if z.shape[-1] % (blocks + 1):
            count = blocks + 1
            nearest = max(1, round(z.shape[-1] / count)) * count
            raise UserError(
                f"BigGAN of {blocks} blocks splits z into {count} parts; it has {z.shape[-1]} numbers: try {nearest}"
            )
        first, *parts = jnp.split(jnp.asarray(z), blocks + 1, -1)
        if label is not None:
            embedded = nn.Embed(self.classes, self.embedding, embedding_init=orthogonal, **precision(self.dtype))(label)
            parts = [jnp.concatenate([embedded, part.astype(embedded.dtype)], -1) for part in parts]
        options = {"kernel_init": orthogonal, **precision(self.dtype)}
        base = (height >> blocks, width >> blocks, self.widths[0])
        x = spectral(nn.Dense(base[0] * base[1] * base[2], **options), first, train, EPSILON)
        x = x.reshape(-1, *base)  # [b hwc] -> [b h w c]
        for i, (features, part) in enumerate(zip(self.widths[1:], parts, strict=True)):
            x = UpBlock(features, self.dtype)(x, part, train)
            x = SelfAttention(self.dtype)(x, train) if i in self.attend else x
        x = nn.relu(nn.BatchNorm(not train, momentum=0.9, **precision(self.dtype))(x))
        return jnp.tanh(at_least_float32(spectral(Conv(channels, (3, 3), **options), x, train, EPSILON)))


class Discriminator(nn.Module):
    """images [b h w c], label [b] -> logits [b]: w . h(x) + v_label . h(x), with h the sum over all pixels of what the
    blocks make.

    `widths` are the channels after each block, of which the first `downs` halve the sides: BigGAN-128 has 96 x (1, 2, 4,
    8, 16, 16) and 5, on CIFAR-10 96 x (2, 2, 2, 2) and 2. `attend` are the blocks after which there is attention. The rows
    v have spectral norm; there are none without `classes`. With a `head`, no label is taken, and a call also returns
    what the head makes of h, [b d]: classes (`games.auxiliary`). Computes in `dtype`; parameters, statistics and logits
    are float32 (float64 with dtype float64). No norm couples rows.
    """

    widths: tuple[int, ...]
    downs: int
    classes: int = 0
    attend: tuple[int, ...] = ()
    head: nn.Module | None = None
    dtype: Any = jnp.float32

    couples_rows = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], label: Int[Array, " b"] | None = None, *, train: bool) -> Any:
        require_label(label, self.classes, "biggan.Discriminator")
        require_halved(x.shape[1], x.shape[2], self.downs)
        h: Any = jnp.asarray(x)
        for i, features in enumerate(self.widths):
            h = DownBlock(features, i < self.downs, i == 0, self.dtype)(h, train)
            h = SelfAttention(self.dtype)(h, train) if i in self.attend else h
        h = at_least_float32(nn.relu(h)).sum((1, 2))  # [b h w c] -> [b c]
        options = {"param_dtype": precision(self.dtype)["param_dtype"]}
        logits = spectral(nn.Dense(1, kernel_init=orthogonal, **options), h, train, EPSILON)[:, 0]
        if label is not None:
            rows = spectral(
                nn.Embed(self.classes, h.shape[-1], embedding_init=orthogonal, **options), label, train, EPSILON
            )
            logits = logits + jnp.sum(rows * h, -1)
        return logits if self.head is None else (logits, self.head(h, train))


def require_halved(height: int, width: int, times: int) -> None:
    """Raises UserError unless both sides can be halved so often."""
    if height % 2**times or width % 2**times:
        raise UserError(
            f"a network that halves images {times} times needs sides that are multiples of {2**times}, and they are"
            f" {height}x{width}; a folder of images can be resized by --size"
        )

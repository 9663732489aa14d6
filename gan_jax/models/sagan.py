"""SAGAN's generator (Zhang et al. 2019, arXiv:1805.08318): BigGAN's blocks, without what BigGAN added to them.

All of z enters at the first layer, and a norm's gain and bias are one row of a table for each class. Its discriminator is
`biggan.Discriminator`, with equal widths: 4 x 128 and 2 halvings for CIFAR-10, attention after the first block.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from gan_jax.models.attention import SelfAttention
from gan_jax.models.biggan import EPSILON, UpBlock, orthogonal, require_halved
from gan_jax.models.layers import Conv, precision, require_label, spectral
from gan_jax.types import Array, at_least_float32


class Generator(nn.Module):
    """z [b z], label [b] -> images [b h w c] in [-1, 1].

    `widths` are the channels of the smallest size and after each block: 4 x 256 for CIFAR-10, 64 x (16, 16, 8, 4, 2, 1)
    for 128 pixels. `attend` are the blocks after which there is attention, from 0. Matrices begin as orthogonal, which
    their spectral norm leaves as they are. Computes in `dtype`; parameters, statistics and images are float32 (float64
    with dtype float64). Raises UserError for images that are not halved so often.
    """

    shape: tuple[int, ...]  # (h, w, c)
    widths: tuple[int, ...]
    classes: int
    attend: tuple[int, ...] = ()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Float[Array, "b z"], label: Int[Array, " b"], *, train: bool) -> Float[Array, "b h w c"]:
        require_label(label, self.classes, "sagan.Generator")
        height, width, channels = self.shape
        blocks = len(self.widths) - 1
        require_halved(height, width, blocks)
        # A linear function of one class of K is a row of its matrix.
        condition = jax.nn.one_hot(label, self.classes, dtype=precision(self.dtype)["dtype"])  # [b classes]
        options = {"kernel_init": orthogonal, **precision(self.dtype)}
        base = (height >> blocks, width >> blocks, self.widths[0])
        x = spectral(nn.Dense(base[0] * base[1] * base[2], **options), z, train, EPSILON)
        x = x.reshape(-1, *base)  # [b hwc] -> [b h w c]
        for i, features in enumerate(self.widths[1:]):
            x = UpBlock(features, self.dtype)(x, condition, train)
            x = SelfAttention(self.dtype)(x, train) if i in self.attend else x
        x = nn.relu(nn.BatchNorm(not train, momentum=0.9, **precision(self.dtype))(x))
        return jnp.tanh(at_least_float32(spectral(Conv(channels, (3, 3), **options), x, train, EPSILON)))

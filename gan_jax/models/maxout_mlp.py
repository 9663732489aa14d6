"""PacGAN's networks for points in the plane (Lin et al. 2018, arXiv:1712.04086, section 4.1), which are those of ALI:
Gaussian weights, batch norm in the generator, maxout in the discriminator.
"""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float, Int

from gan_jax.models.layers import dcgan_init, precision, require_label
from gan_jax.types import Array, at_least_float32


class Generator(nn.Module):
    """z [b z] -> points [b d]: four dense layers of `width` without bias, each with batch norm and ReLU, and a linear
    one.

    Running averages have momentum 0.95. Computes in `dtype`; parameters, statistics and points are float32 (float64
    with dtype float64).
    """

    shape: tuple[int, ...]  # (d,)
    width: int = 400
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], label: Int[Array, " b"] | None = None, *, train: bool
    ) -> Float[Array, "b d"]:
        require_label(label, 0, "maxout.Generator")
        x = z
        for _ in range(4):
            x = nn.Dense(self.width, use_bias=False, kernel_init=dcgan_init, **precision(self.dtype))(x)
            x = nn.BatchNorm(use_running_average=not train, momentum=0.95, epsilon=1e-4, **precision(self.dtype))(x)
            x = nn.relu(x)
        return at_least_float32(nn.Dense(self.shape[0], kernel_init=dcgan_init, **precision(self.dtype))(x))


class Discriminator(nn.Module):
    """x [b d] -> logits [b]: three maxout layers of `width`, no norm, and a linear one.

    Computes in `dtype`; parameters and logits are float32 (float64 with dtype float64).
    """

    width: int = 200
    pieces: int = 5
    dtype: Any = jnp.float32

    couples_rows = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "b d"], label: Int[Array, " b"] | None = None, *, train: bool
    ) -> Float[Array, " b"]:
        require_label(label, 0, "maxout.Discriminator")
        for _ in range(3):
            x = Maxout(self.width, self.pieces, self.dtype)(x)
        return at_least_float32(nn.Dense(1, kernel_init=dcgan_init, **precision(self.dtype))(x)[:, 0])  # [b 1] -> [b]


class Maxout(nn.Module):
    """x [b i] -> [b features]: each is the maximum of `pieces` affine functions of x. Goodfellow et al. 2013,
    arXiv:1302.4389, section 3.
    """

    features: int
    pieces: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b i"]) -> Float[Array, "b d"]:
        x = nn.Dense(self.features * self.pieces, kernel_init=dcgan_init, **precision(self.dtype))(x)
        return jnp.max(x.reshape(-1, self.features, self.pieces), -1)  # [b features*pieces] -> [b features]

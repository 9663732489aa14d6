"""InfoGAN's networks for images whose sides are multiples of 4 (Chen et al. 2016, arXiv:1606.03657, appendix C.1): G
takes noise and codes, D also predicts the codes.
"""

import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float, Int

from gan_jax.models.layers import Conv, ConvTranspose, dcgan_init, halvings, leaky_relu, precision
from gan_jax.types import Array, at_least_float32


def _parts(train: bool, dtype: Any) -> tuple[Any, Any]:
    dense = functools.partial(nn.Dense, kernel_init=dcgan_init, **precision(dtype))
    return dense, functools.partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, **precision(dtype))


class Generator(nn.Module):
    """z [b z], code [b] in [0, codes), continuous [b k] -> images [b h w c] in [-1, 1]: dense to 16 `width`, dense to a
    quarter of the sides, two transposed convolutions; batch norm and ReLU, tanh at the end.

    The code is given one-hot. `width` is 64 in the paper. Computes in `dtype`; parameters, statistics and images are
    float32 (float64 with dtype float64).
    """

    shape: tuple[int, ...]  # (h, w, c)
    codes: int
    width: int = 64
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], code: Int[Array, " b"], continuous: Float[Array, "b k"], *, train: bool
    ) -> Float[Array, "b h w c"]:
        height, width, channels = self.shape
        halvings(height, width, "InfoGAN")
        dense, norm = _parts(train, self.dtype)
        one_hot = (code[:, None] == jnp.arange(self.codes)[None]).astype(z.dtype)  # [b codes]
        x = jnp.concatenate([z, one_hot, continuous], -1)
        x = nn.relu(norm()(dense(16 * self.width)(x)))
        x = nn.relu(norm()(dense(height // 4 * (width // 4) * 2 * self.width)(x)))
        x = x.reshape(-1, height // 4, width // 4, 2 * self.width)  # [b hwc] -> [b h w c]
        up: Any = functools.partial(ConvTranspose, kernel_init=dcgan_init, **precision(self.dtype))
        x = nn.relu(norm()(up(self.width, (4, 4), (2, 2))(x)))
        return jnp.tanh(at_least_float32(up(channels, (4, 4), (2, 2))(x)))


class Discriminator(nn.Module):
    """images [b h w c] -> logits [b], and Q's predictions: the code's logits [b codes] and the means of the continuous
    codes [b continuous].

    Two convolutions that halve, a dense layer of 16 `width`, batch norm in hidden layers but the first, leaky ReLU 0.2.
    D's head is one number; Q's head has a dense layer of 2 `width` more. Computes in `dtype`; parameters, statistics
    and results are float32 (float64 with dtype float64).
    """

    codes: int
    continuous: int = 2
    width: int = 64
    dtype: Any = jnp.float32

    couples_rows = True  # batch norm

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, " b"], Float[Array, "b codes"], Float[Array, "b k"]]:
        halvings(x.shape[1], x.shape[2], "InfoGAN")
        dense, norm = _parts(train, self.dtype)
        conv = functools.partial(Conv, kernel_init=dcgan_init, **precision(self.dtype))
        x = leaky_relu(conv(self.width, (4, 4), (2, 2))(x))
        x = leaky_relu(norm()(conv(2 * self.width, (4, 4), (2, 2))(x)))
        x = leaky_relu(norm()(dense(16 * self.width)(x.reshape(x.shape[0], -1))))  # [b h w c] -> [b hwc] -> [b d]
        q = leaky_relu(norm()(dense(2 * self.width)(x)))
        code_outputs = at_least_float32(dense(self.codes + self.continuous)(q))
        logits = at_least_float32(dense(1)(x)[:, 0])  # [b 1] -> [b]
        return logits, code_outputs[:, : self.codes], code_outputs[:, self.codes :]

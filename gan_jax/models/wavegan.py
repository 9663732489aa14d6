"""WaveGAN: raw sounds by transposed convolutions of 25 samples (Donahue et al. 2019, arXiv:1802.04208, section 3 and
appendix D).
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from gan_jax.models.layers import Conv, ConvTranspose, leaky_relu, precision, require_label
from gan_jax.types import Array, UserError, at_least_float32

FIRST, STRIDE, KERNEL = 16, 4, 25


def layers_of(samples: int) -> int:
    """Returns how many strides of 4 lead from `samples` to between 5 and 16. Raises UserError for another number."""
    for count in range(1, 9):
        if samples % STRIDE**count == 0 and 4 < samples // STRIDE**count <= FIRST:
            return count
    raise UserError(
        f"WaveGAN's sounds have 5 to 16 times a power of 4 samples, as 4,096, 8,192 or 16,384; got {samples:,}"
    )


class Generator(nn.Module):
    """z [b z] -> sounds [b t 1] in [-1, 1]: dense to `length` / 4^n places, n transposed convolutions of 25 with stride 4; ReLU
    inside, tanh at the end, no norm.

    Channels before the last one are `width`, and twice as many in each layer before. With `classes`, an embedding of the
    label, as wide as z, is appended to z. 16,384 samples and width 64 have 19,065,345 parameters from 100 latents. Computes in
    `dtype`; parameters and sounds are float32 (float64 with dtype float64).
    """

    length: int = 16_384
    width: int = 64
    classes: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], label: Int[Array, " b"] | None = None, *, train: bool
    ) -> Float[Array, "b t 1"]:
        require_label(label, self.classes, "wavegan.Generator")
        count = layers_of(self.length)
        if label is not None:
            z = jnp.concatenate([z, nn.Embed(self.classes, z.shape[-1], **precision(self.dtype))(label)], -1)
        init = nn.initializers.glorot_uniform()
        widths = [self.width << i for i in reversed(range(count))]
        x: Any = nn.Dense(self.length // STRIDE**count * widths[0], kernel_init=init, **precision(self.dtype))(z)
        x = nn.relu(x).reshape(z.shape[0], -1, widths[0])
        for width in (*widths[1:], 1):
            x = ConvTranspose(width, (KERNEL,), (STRIDE,), kernel_init=init, **precision(self.dtype))(x)
            x = nn.relu(x) if width > 1 else x
        return jnp.tanh(at_least_float32(x))


class Discriminator(nn.Module):
    """sounds [b t 1] -> logits [b]: n convolutions of 25 with stride 4, of `width` channels and twice as many in each next one;
    leaky ReLU 0.2, no norm; in training phase shuffle by up to `shuffle` samples after each but the last; dense.

    With `classes` an embedding of the label is projected on the last features (arXiv:1802.05637). Its draws are of the rng
    "dropout". Computes in `dtype`; parameters and logits are float32 (float64 with dtype float64).
    """

    width: int = 64
    shuffle: int = 2
    classes: int = 0
    dtype: Any = jnp.float32

    couples_rows = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "b t 1"], label: Int[Array, " b"] | None = None, *, train: bool
    ) -> Float[Array, " b"]:
        require_label(label, self.classes, "wavegan.Discriminator")
        init = nn.initializers.glorot_uniform()
        count = layers_of(x.shape[1])
        h: Any = x
        for i in range(count):
            conv = Conv(self.width << i, (KERNEL,), (STRIDE,), kernel_init=init, **precision(self.dtype))
            h = leaky_relu(conv(h))
            if train and self.shuffle and i < count - 1:
                h = phase_shuffle(h, self.make_rng("dropout"), self.shuffle)
        h = h.reshape(h.shape[0], -1)
        logits = nn.Dense(1, kernel_init=init, **precision(self.dtype))(h)[:, 0]
        if label is not None:
            embedded = nn.Embed(
                self.classes, h.shape[-1], embedding_init=nn.initializers.zeros, **precision(self.dtype)
            )(label)
            logits = logits + (embedded * h).sum(-1)
        return at_least_float32(logits)


def phase_shuffle(x: Float[Array, "b t c"], key: jax.Array, most: int) -> Float[Array, "b t c"]:
    """Returns y[t] = x[t - k], all rows and channels by one k that is drawn from {-most, .., most}; what comes in is mirrored,
    without repeating the edge. Donahue et al. 2019, section 3.3; one draw for a batch as in the authors' code.
    """
    by = jax.random.randint(key, (), 0, 2 * most + 1)  # most - k
    mirrored = jnp.pad(x, ((0, 0), (most, most), (0, 0)), mode="reflect")
    return jax.lax.dynamic_slice_in_dim(mirrored, by, x.shape[1], 1)

"""MoCoGAN: one content and a path of motion make the frames of a clip, and two discriminators judge frames and clips (Tulyakov
et al. 2018, arXiv:1707.04993).

Layers as in the authors' code, whose 64x64 pixels are four halvings: with 32x32 there are three, with as many channels less.
Weights begin as N(0, 0.02^2), scales of batch norm as N(1, 0.02^2).
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from gan_jax.models.layers import Conv, ConvTranspose, dcgan_init, leaky_relu, precision, require_label
from gan_jax.types import Array, UserError, at_least_float32

SMALLEST = 4  # pixels of the sides inside the networks
TAPS = 4  # frames, rows and columns of a kernel


def halvings_of(side: int) -> int:
    """Returns how often a side is halved until it is SMALLEST. Raises UserError for sides that are not 16, 32, 64 .."""
    count = (side // SMALLEST).bit_length() - 1
    if count < 2 or SMALLEST << count != side:
        raise UserError(f"frames of {side} pixels: 16, 32, 64 or twice as many again are needed: --size 32")
    return count


def require_frames(length: int, side: int) -> None:
    """Raises UserError for clips with fewer frames than the discriminator's kernels take."""
    least = (TAPS - 1) * (halvings_of(side) + 1) + 1
    if length < least:
        raise UserError(f"clips of {length} frames of {side} pixels: {least} or more are needed: --length {least}")


def batch_norm(train: bool, dtype: Any) -> nn.BatchNorm:
    def around_one(key: jax.Array, shape: Any, dtype: Any = jnp.float32) -> jax.Array:
        return 1 + dcgan_init(key, shape, dtype)

    return nn.BatchNorm(use_running_average=not train, momentum=0.9, scale_init=around_one, **precision(dtype))


class Frames(nn.Module):
    """z [b z] -> images [b side side c] in [-1, 1]: transposed convolutions 4x4, from one pixel on; ReLU inside, tanh at the end."""

    side: int
    channels: int
    width: int = 64  # channels before the last layer
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Float[Array, "b z"], *, train: bool) -> Float[Array, "b h w c"]:
        layer: Any = functools.partial(
            ConvTranspose, kernel_size=(4, 4), strides=(2, 2), use_bias=False, kernel_init=dcgan_init,
            **precision(self.dtype),
        )  # fmt: skip
        count = halvings_of(self.side)
        features = self.width << (count - 1)
        dense = nn.Dense(SMALLEST**2 * features, use_bias=False, kernel_init=dcgan_init, **precision(self.dtype))
        x = dense(z).reshape(-1, SMALLEST, SMALLEST, features)  # of one pixel a transposed convolution is a matrix
        for i in range(count):
            x = nn.relu(batch_norm(train, self.dtype)(x))
            x = layer(self.channels if i == count - 1 else features >> (i + 1))(x)
        return at_least_float32(jnp.tanh(x))


class Generator(nn.Module):
    """content [b c], motion [b t+1 m], label [b] -> clips [b t h w c] in [-1, 1].

    A GRU goes from its first state, motion[:, 0], through the noises motion[:, 1:], and its states are the motion of the frames.
    Each frame is made of content, motion and, with `classes`, one of the classes as ones and zeros.
    """

    shape: tuple[int, ...]  # (t, h, w, c)
    width: int = 64
    classes: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, content: Float[Array, "b z"], motion: Float[Array, "b s m"], label: Int[Array, " b"] | None = None,
        *, train: bool,
    ) -> Float[Array, "b t h w c"]:  # fmt: skip
        require_label(label, self.classes, "mocogan.Generator")
        length, side, _, channels = self.shape
        noise = jnp.asarray(motion)[:, 1 : length + 1]
        cell = nn.GRUCell(motion.shape[-1], **precision(self.dtype))
        path: Any = nn.RNN(cell)(noise, initial_carry=jnp.asarray(motion, self.dtype)[:, 0])  # [b t m]
        same = [jnp.asarray(content)] + ([] if label is None else [jax.nn.one_hot(label, self.classes)])
        kept = jnp.concatenate(same, -1).astype(self.dtype)
        kept = jnp.broadcast_to(kept[:, None], (*path.shape[:2], kept.shape[-1]))
        z = jnp.concatenate([kept, path], -1).reshape(-1, kept.shape[-1] + path.shape[-1])  # [bt z]
        images = Frames(side, channels, self.width, self.dtype)(z, train=train)
        return images.reshape(-1, *self.shape)


class _Noisy(nn.Module):
    """Normal noise of a standard deviation is added in training, for which the stream "dropout" is."""

    std: float | jax.Array

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        if not train or (isinstance(self.std, (int, float)) and not self.std):  # an array is a value of a sweep
            return x
        return x + self.std * jax.random.normal(self.make_rng("dropout"), x.shape, x.dtype)


class ImageDiscriminator(nn.Module):
    """Images [b h w c] -> logits [b p] of overlapping squares: convolutions 4x4 by two, batch norm but in the first and the last."""

    width: int = 64
    noise: float | jax.Array = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b p"]:
        layer: Any = functools.partial(
            Conv, kernel_size=(4, 4), strides=(2, 2), padding=1, use_bias=False, kernel_init=dcgan_init,
            **precision(self.dtype),
        )  # fmt: skip
        count = halvings_of(x.shape[1]) - 1
        x = jnp.asarray(x, self.dtype)
        for i in range(count):
            x = layer(self.width << i)(_Noisy(self.noise)(x, train))
            x = leaky_relu(x if i == 0 else batch_norm(train, self.dtype)(x))
        x = layer(1)(_Noisy(self.noise)(x, train))
        return at_least_float32(x.reshape(x.shape[0], -1))


class VideoDiscriminator(nn.Module):
    """Clips [b t h w c] -> logits [b p] of overlapping stretches of time, and of the classes [b n], their mean.

    Convolutions 4x4x4, by two in space; of 16 frames 13, 10, 7 and in the end 4 are left, with 64x64 pixels one.
    """

    width: int = 64
    classes: int = 0
    noise: float | jax.Array = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b t h w c"], *, train: bool) -> tuple[jax.Array, jax.Array]:
        require_frames(*x.shape[1:3])
        layer: Any = functools.partial(
            Conv, kernel_size=(TAPS,) * 3, use_bias=False, kernel_init=dcgan_init, **precision(self.dtype)
        )
        x = jnp.asarray(x, self.dtype)
        for i in range(halvings_of(x.shape[2])):
            x = layer(self.width << i, strides=(1, 2, 2), padding=((0, 0), (1, 1), (1, 1)))(
                _Noisy(self.noise)(x, train)
            )
            x = leaky_relu(x if i == 0 else batch_norm(train, self.dtype)(x))
        x = layer(1 + self.classes, padding="VALID")(x)
        x = at_least_float32(x.reshape(x.shape[0], -1, 1 + self.classes))  # [b p 1+n]
        return x[..., 0], x[..., 1:].mean(1)


class Discriminator(nn.Module):
    """Clips [b t h w c] and one of the frames of each [b h w c] -> logits of frames [b p], of clips [b q], and of the classes [b n]."""

    width: int = 64
    classes: int = 0
    noise: float | jax.Array = 0.0  # standard deviation of what is added before each convolution, in training
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, clips: Float[Array, "b t h w c"], frames: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        image: Any = ImageDiscriminator(self.width, self.noise, self.dtype, name="image")(frames, train=train)
        video, classes = VideoDiscriminator(self.width, self.classes, self.noise, self.dtype, name="video")(
            clips, train=train
        )
        return image, video, classes

"""Fully connected networks, for the images of classic tutorials and for points in the plane."""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float, Int

from gan_jax.models.layers import precision, require_label
from gan_jax.types import Array, at_least_float32


class Generator(nn.Module):
    """z [b z] -> [b *shape]: a dense layer and `activation` for each of `widths`, then a dense layer to `shape` and
    `last`.

    With `classes`, an embedding of the label, as wide as z, is appended to z (Mirza and Osindero 2014, arXiv:1411.1784,
    section 3). With `batch_norm` it is between each hidden layer and its activation. Values are in [-1, 1] with `last`
    = tanh, unbounded with `last` = None. Computes in `dtype`; parameters, statistics and results are float32 (float64
    with dtype float64).
    """

    shape: tuple[int, ...]
    widths: tuple[int, ...] = (256, 512, 1024)
    activation: Callable = nn.relu
    last: Callable | None = jnp.tanh
    batch_norm: bool = False
    classes: int = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], label: Int[Array, " b"] | None = None, *, train: bool
    ) -> Float[Array, "b *shape"]:
        require_label(label, self.classes, "mlp.Generator")
        x = z
        if label is not None:
            x = jnp.concatenate(
                [z, nn.Embed(self.classes, z.shape[-1], **precision(self.dtype))(label)], axis=-1
            )  # [b 2z]
        for width in self.widths:
            x = nn.Dense(width, use_bias=not self.batch_norm, **precision(self.dtype))(x)
            if self.batch_norm:
                x = nn.BatchNorm(use_running_average=not train, **precision(self.dtype))(x)
            x = self.activation(x)
        x = at_least_float32(nn.Dense(math.prod(self.shape), **precision(self.dtype))(x))
        x = x.reshape(-1, *self.shape)  # [b d] -> [b *shape]
        return self.last(x) if self.last else x


class Discriminator(nn.Module):
    """x [b *shape] -> logits [b]: flattened, a dense layer and `activation` for each of `widths`, then one number.

    With `classes`, an embedding of the label, 64 wide, is appended to the input. `dropout` is the rate after each
    hidden layer, in training. Computes in `dtype`; parameters and logits are float32 (float64 with dtype float64).
    """

    widths: tuple[int, ...] = (1024, 512, 256)
    activation: Callable = nn.relu
    dropout: float = 0.0
    classes: int = 0
    dtype: Any = jnp.float32

    couples_rows = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "b *shape"], label: Int[Array, " b"] | None = None, *, train: bool
    ) -> Float[Array, " b"]:
        require_label(label, self.classes, "mlp.Discriminator")
        x = x.reshape(x.shape[0], -1)  # [b *shape] -> [b d]
        if label is not None:
            x = jnp.concatenate([x, nn.Embed(self.classes, 64, **precision(self.dtype))(label)], axis=-1)
        for width in self.widths:
            x = self.activation(nn.Dense(width, **precision(self.dtype))(x))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return at_least_float32(nn.Dense(1, **precision(self.dtype))(x)[:, 0])  # [b 1] -> [b]

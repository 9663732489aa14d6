"""Heads of discriminators: what an auxiliary classifier reads, linear in D's last features (`games.auxiliary`)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from gan_jax.models.layers import precision, spectral
from gan_jax.types import Array


class Classes(nn.Module):
    """h [b d] -> logits of the classes [b classes], linear, with spectral norm."""

    classes: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, h: Float[Array, "b d"], train: bool) -> Any:
        kind = precision(self.dtype)["param_dtype"]
        return spectral(nn.Dense(self.classes, kernel_init=nn.initializers.orthogonal(), param_dtype=kind), h, train)


class Proxies(nn.Module):
    """h [b d] -> f [b features], and f . v [b classes], with f linear in h and v a row of a table for each class, both with
    spectral norm, and then of length 1.
    """

    classes: int
    features: int = 512
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, h: Float[Array, "b d"], train: bool) -> tuple[Any, Any]:
        start, kind = nn.initializers.orthogonal(), precision(self.dtype)["param_dtype"]
        rows = _unit(spectral(nn.Dense(self.features, kernel_init=start, param_dtype=kind), h, train))
        table = nn.Embed(self.classes, self.features, embedding_init=start, param_dtype=kind)
        return rows, rows @ _unit(spectral(table, jnp.arange(self.classes), train)).T


def _unit(x: jax.Array) -> jax.Array:
    return x / jnp.sqrt(jnp.sum(x**2, -1, keepdims=True) + 1e-12)

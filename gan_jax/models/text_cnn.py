"""A discriminator of sequences of symbols by convolutions of many lengths, each at its largest value over time (Yu et al. 2017,
arXiv:1609.05473, section 3.2; the classifier is Kim's, 2014, arXiv:1408.5882).
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from gan_jax.models.layers import Conv, precision
from gan_jax.types import Array, at_least_float32

# Length of a convolution and number of its channels, of the paper's table for 20 symbols.
PUBLISHED = (
    *((1, 100), (2, 200), (3, 200), (4, 200), (5, 200), (6, 100), (7, 100), (8, 100), (9, 100), (10, 100)),
    *((15, 160), (20, 160)),
)


def _evenly(key: jax.Array, shape: Sequence[int], dtype: Any) -> jax.Array:
    return jax.random.uniform(key, shape, dtype, -1, 1)


class Discriminator(nn.Module):
    """tokens [b t] int32, or shares of symbols [b t k] -> logits [b]; with `outputs` > 1 [b outputs].

    An embedding (of shares their mean), convolutions without padding, ReLU, the largest value over time, one highway layer
    x + g(x) (relu(f(x)) - x), dropout, and dense. Lengths above t are left out. Computes in `dtype`; parameters and logits are
    float32 (float64 with dtype float64).
    """

    symbols: int
    filters: Sequence[tuple[int, int]] = PUBLISHED
    embedding: int = 64
    dropout: float = 0.25
    outputs: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Array, label: None = None, *, train: bool) -> Float[Array, "b ..."]:
        kind: Any = precision(self.dtype)
        table = self.param("embedding", _evenly, (self.symbols, self.embedding), kind["param_dtype"])
        table = jnp.asarray(table, self.dtype)
        x = table[x] if jnp.issubdtype(x.dtype, jnp.integer) else jnp.asarray(x, self.dtype) @ table
        found = []
        for length, channels in self.filters:
            if length <= x.shape[1]:
                seen = nn.relu(Conv(channels, (length,), padding="VALID", **kind)(x))
                found.append(seen.max(1))
        y = jnp.concatenate(found, -1)
        gate = nn.sigmoid(nn.Dense(y.shape[-1], **kind)(y))
        y = y + gate * (nn.relu(nn.Dense(y.shape[-1], **kind)(y)) - y)
        y = nn.Dropout(self.dropout, deterministic=not train)(y)
        out = at_least_float32(nn.Dense(self.outputs, **kind)(y))
        return out[..., 0] if self.outputs == 1 else out

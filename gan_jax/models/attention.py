"""Self-attention over the pixels of an image (Zhang et al. 2019, arXiv:1805.08318), as in the code of SAGAN and BigGAN,
whose keys and values are pooled, where the paper's text has them at full size.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from gan_jax.models.layers import Conv, precision, spectral
from gan_jax.types import Array, UserError, at_least_float32


def attend(query: Float[Array, "b q c"], key: Float[Array, "b k c"], value: Float[Array, "b k d"]) -> jax.Array:
    """Returns [b q d]: of each query the mean of the values, weighted by softmax over the keys of query . key. There is
    no 1/sqrt(c). The softmax is in float32 or float64.
    """
    weights = jax.nn.softmax(at_least_float32(jnp.einsum("bqc,bkc->bqk", query, key)), axis=-1)
    return jnp.einsum("bqk,bkd->bqd", weights.astype(value.dtype), value)


class SelfAttention(nn.Module):
    """x [b h w c] -> x + gamma o: queries with c/8 channels at every pixel; keys with c/8 and values with c/2, the maximum
    of every 2x2 pixels; o their attention, by a 1x1 convolution back to c. gamma begins at 0.

    All four 1x1 convolutions have spectral norm and no bias. Raises UserError for odd sides, and for channels that are no
    multiple of 8.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], train: bool) -> Float[Array, "b h w c"]:
        b, h, w, c = x.shape
        if h % 2 or w % 2 or c % 8:
            raise UserError(
                f"self-attention needs even sides and multiples of 8 channels; got {h}x{w} of {c}: try {max(8, round(c / 8) * 8)}"
            )

        def by_pixel(x: Any, features: int) -> Any:
            layer = Conv(
                features, (1, 1), use_bias=False, kernel_init=nn.initializers.orthogonal(), **precision(self.dtype)
            )
            return spectral(layer, x, train)

        def pooled(x: Any) -> Any:  # [b h w c] -> [b hw/4 c]
            return nn.max_pool(x, (2, 2), (2, 2)).reshape(b, h * w // 4, -1)

        query = by_pixel(x, c // 8).reshape(b, h * w, -1)
        key, value = pooled(by_pixel(x, c // 8)), pooled(by_pixel(x, c // 2))
        out = by_pixel(attend(query, key, value).reshape(b, h, w, -1), c)
        gamma = self.param("gamma", nn.initializers.zeros, (), precision(self.dtype)["param_dtype"])
        return x + gamma.astype(out.dtype) * out

"""A small convolutional classifier of small images, the feature network for the domain of a data set."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from gan_jax.models.layers import Conv
from gan_jax.types import Array

FEATURES = 128


class Classifier(nn.Module):
    """Classifier of images [b h w c] in [-1, 1], with sides of at least 4 -> features [b 128], logits [b classes].

    Two blocks of a 3x3 convolution (32 and 64 channels), batch norm, 2x2 max pooling and ReLU; then a dense layer with
    ReLU for the features, and, after dropout, a dense layer for the logits. A modern form of LeCun et al. 1998, section
    II.
    """

    classes: int
    dropout: float = 0.5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool
    ) -> tuple[Float[Array, "b 128"], Float[Array, "b classes"]]:
        for channels in (32, 64):
            x = Conv(channels, (3, 3), use_bias=False, dtype=self.dtype)(x)
            x = nn.BatchNorm(use_running_average=not train, momentum=0.95, dtype=self.dtype)(x)
            x = nn.relu(_pool(x))
        x = x.reshape(x.shape[0], -1).astype(jnp.float32)  # [b h/4 w/4 64] -> [b hw/16*64]
        features = nn.relu(nn.Dense(FEATURES)(x))
        hidden = nn.Dropout(self.dropout, deterministic=not train)(features)
        return features, nn.Dense(self.classes)(hidden)


def _pool(x: Array) -> jax.Array:
    """2x2 max pooling, without a last odd row or column.

    Written as maxima of pairs: on the CPU the gradient of `nn.max_pool` takes ten times as long, and the gradient of
    `max` divides by the number of entries equal to the maximum, which may be 0 where the compiler computes them twice
    and rounds differently.
    """
    b, h, w, c = x.shape
    x = x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c)
    x = jnp.maximum(x[:, :, 0], x[:, :, 1])  # [b h/2 w/2 2 c]
    return jnp.maximum(x[:, :, :, 0], x[:, :, :, 1])

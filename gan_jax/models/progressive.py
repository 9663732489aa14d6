"""Progressive growing (Karras et al. 2018, arXiv:1710.10196, section 2 and appendix A): networks for images of 4, 8, 16, ...
pixels, each of which holds those of the smaller ones.

Level 0 is 4x4, and each further one doubles the sides. While a level fades in, G's image is a mean of its own and of that
of the level before, doubled, and D's features are one of its own and of those that D would read from the halved image.
`level` and `fade` are given at each call; parameters of all levels up to `levels` are there from the start. Layers have
equalised learning rates, and in G features are normalised pixel by pixel (`equalised`).
"""

import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from gan_jax.models.equalised import Conv, Dense, normalised
from gan_jax.models.layers import MinibatchStd, double, halve, leaky_relu, precision
from gan_jax.types import Array, UserError, at_least_float32

ROOT = math.sqrt(2)


def blend(before: Any, now: Any, fade: Any) -> Any:
    """(1 - fade) before + fade now"""
    fade = jnp.asarray(fade, now.dtype)
    return (1 - fade) * before + fade * now


def width(stage: int, base: int, most: int) -> int:
    """Returns the channels of a stage: min(base / 2^stage, most). Level l has those of stage l + 1. Raises UserError where
    there are none.
    """
    if base >> stage < 1:
        raise UserError(f"a base of {base} channels leaves none after {stage} halvings: take at least {1 << stage}")
    return min(base >> stage, most)


class Generator(nn.Module):
    """z [b width(0)] -> images [b s s channels] of the level's size s = 4 2^level, not bounded.

    `levels` is the last level. Published: base 8,192, most 512, and 4,096 and 128 for CIFAR-10. Computes in `dtype`;
    parameters and images are float32 (float64 with dtype float64).
    """

    levels: int
    channels: int = 3
    base: int = 512
    most: int = 64
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, z: Float[Array, "b z"], label: None = None, *, train: bool, level: int = 0, fade: Any = 1.0
    ) -> Float[Array, "b s s c"]:
        level = self.levels if self.is_initializing() else level
        features = width(1, self.base, self.most)
        start = Dense(16 * features, ROOT / 4, bias=None, dtype=self.dtype, name="start")
        x: Any = start(normalised(jnp.asarray(z))).reshape(-1, 4, 4, features)  # [b hwc] -> [b h w c]
        bias = self.param("start_bias", nn.initializers.zeros, (features,), precision(self.dtype)["param_dtype"])
        x = normalised(leaky_relu(x + bias.astype(x.dtype).reshape(1, 1, 1, -1)))

        def convolved(x: Any, features: int, name: str, **how: Any) -> Any:
            return normalised(leaky_relu(Conv(features, gain=ROOT, dtype=self.dtype, name=name, **how)(x)))

        images = [Conv(self.channels, 1, dtype=self.dtype, name=f"to_image_{i}") for i in range(level + 1)]
        x = convolved(x, features, "conv_0")
        out: Any = images[0](x) if level == 0 or self.is_initializing() else None
        for i in range(1, level + 1):
            features = width(i + 1, self.base, self.most)
            before, x = x, convolved(x, features, f"up_{i}", resize="up")
            x = convolved(x, features, f"conv_{i}")
            if i == level or self.is_initializing():
                out = blend(double(images[i - 1](before)), images[i](x), fade)
        return at_least_float32(out)


class Discriminator(nn.Module):
    """images [b s s c] -> logits [b], for the size s = 4 2^level of the level: the mirror image of `Generator`, with
    minibatch standard deviation over `group` rows at 4x4. Computes in `dtype`; parameters and logits are float32 (float64
    with dtype float64).
    """

    levels: int
    base: int = 512
    most: int = 64
    group: int = 4
    dtype: Any = jnp.float32

    couples_rows = True
    coupling = MinibatchStd  # its logits hang on what else is asked

    @nn.compact
    def __call__(
        self, x: Float[Array, "b s s c"], label: None = None, *, train: bool, level: int = 0, fade: Any = 1.0
    ) -> Float[Array, " b"]:
        level = self.levels if self.is_initializing() else level

        widths = [width(i + 1, self.base, self.most) for i in range(level + 1)]
        layers = [Conv(c, 1, gain=ROOT, dtype=self.dtype, name=f"from_image_{i}") for i, c in enumerate(widths)]

        def convolved(x: Any, features: int, name: str, **how: Any) -> Any:
            return leaky_relu(Conv(features, gain=ROOT, dtype=self.dtype, name=name, **how)(x))

        image: Any = x
        h = leaky_relu(layers[level](image))
        for i in range(level, 0, -1):
            h = convolved(h, width(i + 1, self.base, self.most), f"conv_{i}")
            h = convolved(h, width(i, self.base, self.most), f"down_{i}", resize="down")
            if i == level or self.is_initializing():
                image = halve(image)
                h = blend(leaky_relu(layers[i - 1](image)), h, fade)
        h = convolved(MinibatchStd(self.group)(h), width(1, self.base, self.most), "conv_0")
        dense = Dense(width(0, self.base, self.most), ROOT, dtype=self.dtype, name="dense")
        h = leaky_relu(dense(h.reshape(h.shape[0], -1)))  # [b h w c] -> [b c]
        return at_least_float32(Dense(1, dtype=self.dtype, name="logit")(h))[:, 0]  # [b 1] -> [b]

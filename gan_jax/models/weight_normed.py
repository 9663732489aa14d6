"""The networks of semi-supervised MNIST in "Improved Techniques for Training GANs" (Salimans et al. 2016,
arXiv:1606.03498, section 5.1; layers and sizes from the authors' code, openai/improved-gan).

Images are in [-1, 1] outside, and in [0, 1] inside, where the noise is added.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from gan_jax.models.layers import precision
from gan_jax.types import Array, at_least_float32


def normalised(kernel: Array, eps: float = 0.0) -> jax.Array:
    """[i o] -> [i o]: every output's weights with Euclidean norm 1."""
    return jnp.asarray(kernel) / jnp.sqrt(jnp.sum(kernel**2, axis=0, keepdims=True) + eps)


class WeightNormDense(nn.Module):
    """x [b i] -> [b features]: s x W / |W| + t + bias, with the norm of each output's weights (Salimans and Kingma 2016,
    arXiv:1602.07868).

    s and t are constants of the data: a call with `measure` sets them such that its outputs have mean 0 and variance 1
    (arXiv:1602.07868, equation 6); until then they are 1 and 0. With `learn_scale`, s is multiplied by a parameter.
    """

    features: int
    learn_scale: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b i"], *, measure: bool = False) -> Float[Array, "b features"]:
        kind = precision(self.dtype)["param_dtype"]
        kernel = self.param("kernel", nn.initializers.normal(0.1), (x.shape[-1], self.features), kind)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), kind)
        scale = self.variable("buffers", "scale", jnp.ones, (self.features,), kind)
        shift = self.variable("buffers", "shift", jnp.zeros, (self.features,), kind)
        x = x.astype(self.dtype) @ normalised(kernel).astype(self.dtype)
        if measure and not self.is_initializing():
            mean, std = jnp.mean(x, 0), jnp.std(x, 0) + 1e-6
            scale.value, shift.value = (1 / std).astype(kind), (-mean / std).astype(kind)
        s = scale.value
        if self.learn_scale:
            s = s * self.param("scale", nn.initializers.ones, (self.features,), kind)
        return x * s[None] + (shift.value + bias)[None]


class Classifier(nn.Module):
    """x [b *shape] -> the logits of the classes [b classes], and the features of the last hidden layer [b d].

    A weight-normalised dense layer and ReLU for each of `widths`. In training, Gaussian noise is added to the input
    (standard deviation `noise[0]`) and to every hidden layer (`noise[1]`). `measure` is for the first batch: see
    `WeightNormDense`.
    """

    classes: int = 10
    widths: tuple[int, ...] = (1000, 500, 250, 250, 250)
    noise: tuple[float, float] = (0.3, 0.5)
    dtype: Any = jnp.float32

    couples_rows = False

    @nn.compact
    def __call__(
        self, x: Float[Array, "b *shape"], *, train: bool, measure: bool = False
    ) -> tuple[Float[Array, "b classes"], Float[Array, "b d"]]:
        def noisy(x: jax.Array, std: float) -> jax.Array:
            return x + std * jax.random.normal(self.make_rng("dropout"), x.shape, x.dtype) if train else x

        x = noisy((jnp.reshape(x, (x.shape[0], -1)) + 1) / 2, self.noise[0])  # [b *shape] -> [b i], in [0, 1]
        features = x
        for width in self.widths:
            features = nn.relu(WeightNormDense(width, dtype=self.dtype)(x, measure=measure))
            x = noisy(features, self.noise[1])
        logits = WeightNormDense(self.classes, learn_scale=True, dtype=self.dtype)(x, measure=measure)
        return at_least_float32(logits), at_least_float32(features)


class Generator(nn.Module):
    """z [b z], uniform in [0, 1] -> images [b *shape] in [-1, 1].

    A dense layer, batch norm without a gain and softplus for each of `widths`; then a dense layer whose outputs' weights
    have norm 1 times a learnt scale, and a sigmoid.
    """

    shape: tuple[int, ...]
    widths: tuple[int, ...] = (500, 500)
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: Float[Array, "b z"], *, train: bool) -> Float[Array, "b *shape"]:
        kinds = precision(self.dtype)
        for width in self.widths:
            z = nn.Dense(width, use_bias=False, kernel_init=nn.initializers.glorot_uniform(), **kinds)(z)
            z = nn.BatchNorm(not train, momentum=0.9, epsilon=1e-6, use_scale=False, **kinds)(z)
            z = nn.softplus(z)
        size = math.prod(self.shape)
        kernel = self.param("kernel", nn.initializers.glorot_uniform(), (z.shape[-1], size), kinds["param_dtype"])
        scale = self.param("scale", nn.initializers.ones, (size,), kinds["param_dtype"])
        bias = self.param("bias", nn.initializers.zeros, (size,), kinds["param_dtype"])
        x = at_least_float32(z @ (normalised(kernel, 1e-6) * scale[None]).astype(self.dtype) + bias[None])
        return 2 * jax.nn.sigmoid(x).reshape(-1, *self.shape) - 1

"""Networks that enlarge images, [b h w c] in [-1, 1] -> [b h*scale w*scale c], of any size, without norms.

Each begins as its base, the plain enlargement that it adds to: the last convolution starts at 0 (unlike the originals'),
so that the error of the first round is that of the base. A shuffle takes s x s pixels from the channels of one, in the
order [s s c]. Widths and scales are fields; the defaults are the published sizes.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from gan_jax.models.layers import Conv, precision
from gan_jax.types import Array, UserError, at_least_float32

STEPS = {1: (), 2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}  # factors of an enlargement in several steps


SMALL = nn.initializers.variance_scaling(2.0 * 0.1**2, "fan_in", "normal")  # a tenth of Kaiming's, as BasicSR has it


def _convs(dtype: Any) -> tuple[Any, Any]:
    """3x3 convolutions without and with Kaiming's initialisation."""
    plain = functools.partial(Conv, kernel_size=(3, 3), **precision(dtype))
    return plain, functools.partial(plain, kernel_init=nn.initializers.kaiming_normal())


def shuffled(x: jax.Array, scale: int) -> jax.Array:
    """[b h w s*s*c] -> [b h*s w*s c] (Shi et al. 2016, arXiv:1609.05158; the order of channels is [s s c])."""
    b, h, w, channels = x.shape
    c = channels // scale**2
    x = x.reshape(b, h, w, scale, scale, c).transpose(0, 1, 3, 2, 4, 5)  # [b h s w s c]
    return x.reshape(b, h * scale, w * scale, c)


def steps_of(scale: int) -> tuple[int, ...]:
    """Returns the factors of an enlargement. Raises UserError for one that is not 1, 2, 3, 4 or 8."""
    if scale not in STEPS:
        raise UserError(f"scale {scale}: images are enlarged {', '.join(map(str, STEPS))} times")
    return STEPS[scale]


def _enlarged(x: jax.Array, scale: int, method: str) -> jax.Array:
    b, h, w, c = x.shape
    return jax.image.resize(x, (b, h * scale, w * scale, c), method)


class Residual(nn.Module):
    """MSRResNet: a convolution, `blocks` residual blocks of two convolutions, shuffles, two convolutions, beside the
    bilinear enlargement. Defaults: 1,517,571 parameters at scale 4. SRResNet (Ledig et al. 2017, arXiv:1609.04802)
    without batch norm, as in xinntao/BasicSR.
    """

    scale: int = 4
    width: int = 64
    blocks: int = 16
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b hh ww c"]:
        given = at_least_float32(x)
        plain, conv = _convs(self.dtype)
        leaky = functools.partial(nn.leaky_relu, negative_slope=0.1)
        h = leaky(conv(self.width)(x))
        for _ in range(self.blocks):
            y = nn.relu(plain(self.width, kernel_init=SMALL)(h))
            h = h + plain(self.width, kernel_init=SMALL)(y)
        for step in steps_of(self.scale):
            h = leaky(shuffled(conv(self.width * step**2)(h), step))
        h = leaky(conv(self.width)(h))
        last = plain(given.shape[-1], kernel_init=nn.initializers.zeros)(h)
        return at_least_float32(last) + _enlarged(given, self.scale, "bilinear")


class Compact(nn.Module):
    """SRVGGNetCompact: `blocks` + 1 convolutions with PReLU and one to c s^2 channels, all of the small image, beside its
    pixels repeated. Defaults: 621,424 parameters at scale 4. Real-ESRGAN's small network (Wang et al. 2021,
    arXiv:2107.10833).
    """

    scale: int = 4
    width: int = 64
    blocks: int = 16
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b hh ww c"]:
        steps_of(self.scale)
        given, h = at_least_float32(x), x
        conv = functools.partial(Conv, kernel_size=(3, 3), **precision(self.dtype))
        for i in range(self.blocks + 1):
            y = conv(self.width, kernel_init=nn.initializers.kaiming_normal())(h)
            slope = self.param(
                f"slope_{i}", nn.initializers.constant(0.25), (self.width,), precision(self.dtype)["param_dtype"]
            )
            h = jnp.where(y > 0, y, y * slope.astype(y.dtype)[None, None, None])
        last = conv(given.shape[-1] * self.scale**2, kernel_init=nn.initializers.zeros)(h)
        repeated = jnp.repeat(jnp.repeat(given, self.scale, 1), self.scale, 2)
        return shuffled(at_least_float32(last), self.scale) + repeated


class Dense(nn.Module):
    """RRDBNet: a convolution, `blocks` residuals of residual dense blocks, pixels repeated before convolutions, beside
    the bilinear enlargement. Defaults: 16,697,987 parameters at scale 4; the original adds nothing to its output. ESRGAN
    (Wang et al. 2018, arXiv:1809.00219), as in xinntao/BasicSR.
    """

    scale: int = 4
    width: int = 64
    growth: int = 32
    blocks: int = 23
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b hh ww c"]:
        given = at_least_float32(x)
        plain, conv = _convs(self.dtype)
        leaky = functools.partial(nn.leaky_relu, negative_slope=0.2)

        def dense(x: jax.Array) -> jax.Array:
            found = [x]
            for _ in range(4):
                found.append(leaky(plain(self.growth, kernel_init=SMALL)(jnp.concatenate(found, -1))))
            return x + 0.2 * plain(self.width, kernel_init=SMALL)(jnp.concatenate(found, -1))

        first = h = conv(self.width)(x)
        for _ in range(self.blocks):
            h = h + 0.2 * dense(dense(dense(h)))
        h = first + conv(self.width)(h)
        for step in steps_of(self.scale):
            h = leaky(conv(self.width)(jnp.repeat(jnp.repeat(h, step, 1), step, 2)))
        h = leaky(conv(self.width)(h))
        last = plain(given.shape[-1], kernel_init=nn.initializers.zeros)(h)
        return at_least_float32(last) + _enlarged(given, self.scale, "bilinear")

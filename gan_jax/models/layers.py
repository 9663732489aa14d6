"""Layers that several networks share."""

import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gan_jax.models.conv.convolution import channels_last, conv_general_dilated, conv_transpose
from gan_jax.models.conv.geometry import Geometry
from gan_jax.types import Array, UserError, at_least_float32

leaky_relu = functools.partial(nn.leaky_relu, negative_slope=0.2)  # of the DCGAN paper
dcgan_init = nn.initializers.normal(0.02)  # of the DCGAN paper, arXiv:1511.06434, section 4


def precision(dtype: Any) -> dict[str, Any]:
    """Returns the arguments of a linen layer that computes in `dtype`: its parameters are float32, or float64 with it."""
    return {"dtype": dtype, "param_dtype": jnp.promote_types(dtype, jnp.float32)}


# Equal to nn.Conv in parameters, names and numerics.
Conv = functools.partial(nn.Conv, conv_general_dilated=conv_general_dilated)


def spectral(layer: nn.Module, x: Any, train: bool, epsilon: float = 1e-12) -> Any:
    """Returns `layer(x)` with its matrix divided by an estimate of its largest singular value, of which one power step
    is taken at each call in training, and kept: to be called in the compact method of a module. Miyato et al. 2018,
    arXiv:1802.05957, algorithm 1; of a convolution the matrix is [k k i, o].
    """
    kind: Any = getattr(layer, "param_dtype", jnp.float32)
    return nn.SpectralNorm(layer, epsilon=epsilon, param_dtype=kind)(x, update_stats=train)


class ConvTranspose(nn.Module):
    """`nn.ConvTranspose` with padding "SAME", equal in parameters, names and numerics: [b m.. i] -> [b m*stride..
    features].
    """

    features: int
    kernel_size: tuple[int, ...]
    strides: tuple[int, ...]
    use_bias: bool = True
    kernel_init: Callable = nn.initializers.lecun_normal()
    dtype: Any = None
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param(
            "kernel", self.kernel_init, (*self.kernel_size, x.shape[-1], self.features), self.param_dtype
        )
        x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
        if jax.default_backend() == "cpu":
            outputs = x.shape[1:-1]
            inputs = tuple(m * s for m, s in zip(outputs, self.strides, strict=True))
            # Of the k + s - 2 zeros around the dilated input, half, rounded up, are before it (k - 1 where the
            # stride is greater than k - 1).
            before = [
                k - 1 if s > k - 1 else math.ceil((k + s - 2) / 2)
                for k, s in zip(self.kernel_size, self.strides, strict=True)
            ]
            low = tuple(k - 1 - p for k, p in zip(self.kernel_size, before, strict=True))
            # The kernel of the convolution whose transpose this is.
            flipped = jnp.flip(kernel, range(x.ndim - 2)).swapaxes(-1, -2)
            geometry = Geometry(inputs, self.kernel_size, self.strides, (1,) * len(inputs), low, outputs)
            x = conv_transpose(x, flipped, geometry)
        else:
            x = lax.conv_transpose(x, kernel, self.strides, "SAME", dimension_numbers=channels_last(x.ndim - 2))
        if not self.use_bias:
            return x
        bias = self.param("bias", nn.initializers.zeros, (self.features,), self.param_dtype).astype(x.dtype)
        return x + bias.reshape((1,) * (x.ndim - 1) + (-1,))


class MinibatchStd(nn.Module):
    """x [b h w c] -> [b h w c+1]: one more channel, the standard deviation over a group of rows, sqrt(variance + 1e-8),
    averaged over all pixels and channels; the same number for all of the group.

    Groups have `group` rows (where `b` is less, all rows): of b = n `group`, row i is with i + n, i + 2n, ...; the
    variance has the group's size in its denominator. It couples rows. Raises UserError where `b` is no multiple of it.
    Karras et al. 2018, arXiv:1710.10196, section 3; groups as in the authors' code.
    """

    group: int = 4

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        rows = x.shape[0]
        group = min(self.group, rows)
        if rows % group:
            raise UserError(
                f"minibatch standard deviation takes {group} rows together, and a batch has {rows}: take a multiple of {group}"
            )
        y = at_least_float32(x).reshape(group, rows // group, -1)  # [b ...] -> [g n d]
        std = jnp.sqrt(jnp.var(y, axis=0) + 1e-8).mean(-1)  # [n]
        plane = jnp.tile(std, group).reshape(rows, *(1,) * (x.ndim - 1)).astype(x.dtype)
        return jnp.concatenate([x, jnp.broadcast_to(plane, (*x.shape[:-1], 1))], -1)


class MinibatchDiscrimination(nn.Module):
    """x [b ...] -> [b d + kernels]: beside the flattened x, how near each row is to the others, by each kernel.

    m = x T, [b kernels dims]; the features of row i are sum over j != i of exp(-|m_i - m_j|_1), plus a bias that begins
    at -1. T's columns have norm exp(s), with s learnt from `scale` on. The authors' code starts s such that the mean
    distance to the nearest row is 2 in the first batch; here it is a constant. It couples rows. Salimans et al. 2016,
    arXiv:1606.03498, section 3.2; openai/improved-gan.
    """

    kernels: int = 100
    dims: int = 5
    scale: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.reshape(x.shape[0], -1)
        shape = (x.shape[-1], self.kernels, self.dims)
        kind = precision(self.dtype)["param_dtype"]
        kernel = self.param("kernel", nn.initializers.normal(0.05), shape, kind)
        scale = self.param("scale", nn.initializers.constant(self.scale), shape[1:], kind)
        bias = self.param("bias", nn.initializers.constant(-1.0), (self.kernels,), kind)
        kernel = kernel * (jnp.exp(scale) / jnp.sqrt(jnp.sum(kernel**2, axis=0)))[None]
        m = jnp.tensordot(x.astype(self.dtype), kernel.astype(self.dtype), 1)  # [b k d]
        distances = jnp.abs(at_least_float32(m)[:, None] - at_least_float32(m)[None]).sum(-1)  # [b b k]
        near = jnp.exp(-distances) * (1 - jnp.eye(x.shape[0], dtype=distances.dtype))[..., None]  # no row counts itself
        return jnp.concatenate([x, (near.sum(1) + bias[None]).astype(x.dtype)], -1)


class VirtualBatchNorm(nn.Module):
    """x [b + r ... c] -> the same shape: normalised by the moments of the last `reference` rows, r, and of the row itself.

    The mean of x and of its square are 1/(r + 1) those of the row and r/(r + 1) those of the reference rows, which are
    normalised with each other alone; then a gain, from N(1, 0.02^2), and a bias. A row does not hang on any other but
    the reference's, in training and after it. Salimans et al. 2016, arXiv:1606.03498, section 3.5; the weights of the
    moments are those of openai/improved-gan.
    """

    reference: int
    epsilon: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def around_one(key: jax.Array, shape: Any, dtype: Any = jnp.float32) -> jax.Array:
            return 1 + dcgan_init(key, shape, dtype)

        kind, inside = precision(self.dtype)["param_dtype"], tuple(range(1, x.ndim - 1))
        gain = self.param("scale", around_one, (x.shape[-1],), kind)
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],), kind)
        y, r = at_least_float32(x), self.reference
        own = [jnp.mean(power, inside, keepdims=True) if inside else power for power in (y, y**2)]  # [b + r 1 1 c]
        share = jnp.where(jnp.arange(x.shape[0]) < x.shape[0] - r, 1 / (r + 1), 0.0)
        share = share.reshape(-1, *(1,) * (x.ndim - 1))
        mean, square = (share * each + (1 - share) * jnp.mean(each[-r:], 0, keepdims=True) for each in own)
        y = (y - mean) * jax.lax.rsqrt(jnp.maximum(square - mean**2, 0) + self.epsilon)
        along = (1,) * (x.ndim - 1) + (-1,)
        return (y * gain.reshape(along) + bias.reshape(along)).astype(x.dtype)


class _Conv3x3(nn.Module):
    """The parameters of a 3x3 `nn.Conv`, with its names and shapes."""

    features: int
    use_bias: bool = True
    kernel_init: Callable = nn.initializers.lecun_normal()
    dtype: Any = None
    param_dtype: Any = jnp.float32

    def parameters(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        kernel = self.param("kernel", self.kernel_init, (3, 3, x.shape[-1], self.features), self.param_dtype)
        bias = jnp.zeros(1, self.param_dtype)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), self.param_dtype)
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        return x, kernel, bias.reshape(1, 1, 1, -1)


class ConvDown(_Conv3x3):
    """A 3x3 convolution, padded to keep the size, then the mean of every 2x2 pixels: [b h w i] -> [b h/2 w/2 features].

    Computed as the equivalent 4x4 convolution of stride 2, with 16 products per result instead of 36; equal up to
    rounding. Raises ValueError unless `h` and `w` are even.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if any(side % 2 for side in x.shape[1:-1]):
            raise ValueError(f"ConvDown halves both sides, and the images are {x.shape[1:-1]}: they must be even")
        x, kernel, bias = self.parameters(x)
        return conv_down(x, kernel) + bias


class ConvUp(_Conv3x3):
    """Every pixel repeated to 2x2, then a 3x3 convolution, padded to keep the size: [b h w i] -> [b 2h 2w features].

    Computed as the equivalent 4x4 transposed convolution of stride 2, with 4 products per result instead of 9; equal up
    to rounding.
    """

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x, kernel, bias = self.parameters(x)
        return conv_up(x, kernel) + bias


def conv_down(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`ConvDown` with this kernel, [3 3 i o], and without a bias."""
    return conv_general_dilated(x, _doubled(kernel) / 4, (2, 2), [(1, 1)] * 2, dimension_numbers=channels_last(2))


def conv_up(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`ConvUp` with this kernel, [3 3 i o], and without a bias."""
    small = x.shape[1:-1]
    geometry = Geometry((small[0] * 2, small[1] * 2), (4, 4), (2, 2), (1, 1), (1, 1), small)
    # The kernel of the convolution whose transpose this is.
    return conv_transpose(x, _doubled(jnp.flip(kernel, (0, 1))).swapaxes(-1, -2), geometry)


def _doubled(kernel: jax.Array) -> jax.Array:
    """[3 3 i o] -> [4 4 i o]: the full convolution of its taps with 2x2 ones, as a matrix product, whose gradient is a
    matrix product too: no padding, no slices.
    """
    ones = np.eye(4, 3) + np.eye(4, 3, -1)
    spread = jnp.asarray(np.kron(ones, ones), kernel.dtype)  # [16 9]
    return jnp.matmul(spread, kernel.reshape(9, -1), precision="highest").reshape(4, 4, *kernel.shape[2:])


def double(x: Array) -> jax.Array:
    """Returns every pixel repeated to 2x2: [b h w c] -> [b 2h 2w c]."""
    return jnp.asarray(x).repeat(2, axis=1).repeat(2, axis=2)


def halve(x: Array) -> jax.Array:
    """Returns the mean of every 2x2 pixels: [b h w c] -> [b h/2 w/2 c]."""
    b, h, w, c = x.shape
    return jnp.asarray(x).reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))


def halvings(height: int, width: int, who: str) -> int:
    """Returns how often both sides are halved: twice, and then as long as they are even and above 4. Raises UserError
    unless both are multiples of 4.
    """
    if height % 4 or width % 4 or min(height, width) < 4:
        nearest = max(4, round(min(height, width) / 4) * 4)
        raise UserError(
            f"{who} needs sides that are multiples of 4, and the images are {height}x{width}; a folder of images can be resized by --size {nearest}"
        )
    count = 2
    while all(side >> count > 4 and (side >> count) % 2 == 0 for side in (height, width)):
        count += 1
    return count


def require_label(label: Array | None, classes: int, who: str) -> None:
    """Raises ValueError unless a label is given where there are classes, and none where there are none."""
    if (label is None) != (classes == 0):
        raise ValueError(
            f"{who} has classes={classes} and was given {'no label' if label is None else 'labels'}; they go together"
        )

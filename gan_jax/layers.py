"""Convolutions that are fast on the CPU, and the small pieces that several networks share.

A strided convolution, its gradient with respect to its input (the transposed convolution) and its gradient with respect
to its kernel are one closed family: each is bilinear, and the two gradients of each are the other two. XLA's CPU
backend runs some of the forms that automatic differentiation makes of them 10 to 100 times slower than others; written
out below in the forms it runs fast, every order of derivative is fast. On other backends the plain
`lax.conv_general_dilated` is used.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from gan_jax.types import Array

leaky_relu = functools.partial(nn.leaky_relu, negative_slope=0.2)  # of the DCGAN paper
dcgan_init = nn.initializers.normal(0.02)  # of the DCGAN paper, arXiv:1511.06434, section 4


class _Geometry(NamedTuple):
    """One strided convolution, dimension by dimension: n inputs, k taps, stride s, `low` zeros before them, m outputs."""

    inputs: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    low: tuple[int, ...]
    outputs: tuple[int, ...]


def _dimension_numbers(rank: int) -> tuple[str, str, str]:
    space = "HWD"[:rank]
    return f"N{space}C", f"{space}IO", f"N{space}C"


def _lax_conv(
    x: jax.Array, w: jax.Array, strides: Any, padding: Any, lhs_dilation: Any = None, rhs_dilation: Any = None
) -> jax.Array:
    return lax.conv_general_dilated(x, w, strides, padding, lhs_dilation, rhs_dilation, _dimension_numbers(x.ndim - 2))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv(x: jax.Array, w: jax.Array, g: _Geometry) -> jax.Array:
    """x [b n.. i], w [k.. i o] -> [b m.. o]."""
    high = [(m - 1) * s + k - n - low for n, k, s, low, m in zip(*g, strict=True)]
    return _lax_conv(x, w, g.strides, list(zip(g.low, high, strict=True)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv_to_input(y: jax.Array, w: jax.Array, g: _Geometry) -> jax.Array:
    """y [b m.. o], w [k.. i o] -> [b n.. i]: the transposed convolution."""
    rank = len(g.kernel)
    low = [k - 1 - low for k, low in zip(g.kernel, g.low, strict=True)]
    high = [
        n - ((m - 1) * s + 1) - lo + k - 1
        for n, k, s, lo, m in zip(g.inputs, g.kernel, g.strides, low, g.outputs, strict=True)
    ]
    turned = jnp.flip(w, range(rank)).swapaxes(-1, -2)  # [k.. o i]
    return _lax_conv(y, turned, (1,) * rank, list(zip(low, high, strict=True)), lhs_dilation=g.strides)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv_to_kernel(x: jax.Array, y: jax.Array, g: _Geometry) -> jax.Array:
    """x [b n.. i], y [b m.. o] -> [k.. i o]: channels of x as the batch, the batch as channels, y as the kernel, its
    taps `strides` apart.
    """
    rank = len(g.kernel)
    high = [k - 1 + (m - 1) * s + 1 - n - low for n, k, s, low, m in zip(*g, strict=True)]
    x = x.swapaxes(0, -1)  # [i n.. b]
    y = jnp.moveaxis(y, 0, -2)  # [m.. b o]
    w = _lax_conv(x, y, (1,) * rank, list(zip(g.low, high, strict=True)), rhs_dilation=g.strides)  # [i k.. o]
    return jnp.moveaxis(w, 0, -2)


_conv.defvjp(
    lambda x, w, g: (_conv(x, w, g), (x, w)),
    lambda g, saved, dy: (_conv_to_input(dy, saved[1], g), _conv_to_kernel(saved[0], dy, g)),
)
_conv_to_input.defvjp(
    lambda y, w, g: (_conv_to_input(y, w, g), (y, w)),
    lambda g, saved, dx: (_conv(dx, saved[1], g), _conv_to_kernel(dx, saved[0], g)),
)
_conv_to_kernel.defvjp(
    lambda x, y, g: (_conv_to_kernel(x, y, g), (x, y)),
    lambda g, saved, dw: (_conv_to_input(saved[1], dw, g), _conv(saved[0], dw, g)),
)


def conv_general_dilated(
    lhs: jax.Array, rhs: jax.Array, window_strides: Sequence[int], padding: Any, lhs_dilation: Any = None, rhs_dilation: Any = None,
    dimension_numbers: Any = None, feature_group_count: int = 1, batch_group_count: int = 1, precision: Any = None, **kwargs: Any,
) -> jax.Array:  # fmt: skip
    """`lax.conv_general_dilated`, by the fast family where it applies: on the CPU, channels last, neither dilated nor
    grouped.

    Differentiable any number of times in reverse mode; where the family applies there is no forward mode (`jax.jvp`).
    """
    rank = lhs.ndim - 2
    numbers = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    plain = all(d == 1 for d in [*(lhs_dilation or ()), *(rhs_dilation or ()), feature_group_count, batch_group_count])
    last = (
        numbers == lax.conv_dimension_numbers(lhs.shape, rhs.shape, _dimension_numbers(rank))
        if 1 <= rank <= 3
        else False
    )
    if (
        jax.default_backend() != "cpu"
        or not plain
        or not last
        or precision is not None
        or kwargs.get("preferred_element_type")
    ):
        return lax.conv_general_dilated(
            lhs,
            rhs,
            window_strides,
            padding,
            lhs_dilation,
            rhs_dilation,
            dimension_numbers,
            feature_group_count,
            batch_group_count,
            precision,
            **kwargs,
        )
    inputs, kernel = lhs.shape[1:-1], rhs.shape[:-2]
    pads = lax.padtype_to_pads(inputs, kernel, window_strides, padding) if isinstance(padding, str) else padding
    outputs = [
        (n + low + high - k) // s + 1 for n, k, s, (low, high) in zip(inputs, kernel, window_strides, pads, strict=True)
    ]
    return _conv(
        lhs, rhs, _Geometry(inputs, kernel, tuple(window_strides), tuple(low for low, _ in pads), tuple(outputs))
    )


Conv = functools.partial(
    nn.Conv, conv_general_dilated=conv_general_dilated
)  # nn.Conv in parameters, names and numerics


class ConvTranspose(nn.Module):
    """`nn.ConvTranspose` with padding "SAME" in parameters, names and numerics: [b m.. i] -> [b m*stride.. features]."""

    features: int
    kernel_size: tuple[int, ...]
    strides: tuple[int, ...]
    use_bias: bool = True
    kernel_init: Callable = nn.initializers.lecun_normal()
    dtype: Any = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", self.kernel_init, (*self.kernel_size, x.shape[-1], self.features))
        x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
        if jax.default_backend() == "cpu":
            outputs = x.shape[1:-1]
            inputs = tuple(m * s for m, s in zip(outputs, self.strides, strict=True))
            # Of the k + s - 2 zeros around the spread-out input, ceil of half stand before it (all k - 1 where the
            # stride is that long).
            before = [
                k - 1 if s > k - 1 else math.ceil((k + s - 2) / 2)
                for k, s in zip(self.kernel_size, self.strides, strict=True)
            ]
            low = tuple(k - 1 - p for k, p in zip(self.kernel_size, before, strict=True))
            # As the kernel of the convolution of which this is the transpose.
            turned = jnp.flip(kernel, range(x.ndim - 2)).swapaxes(-1, -2)
            x = _conv_to_input(x, turned, _Geometry(inputs, self.kernel_size, self.strides, low, outputs))
        else:
            x = lax.conv_transpose(x, kernel, self.strides, "SAME", dimension_numbers=_dimension_numbers(x.ndim - 2))
        if not self.use_bias:
            return x
        bias = self.param("bias", nn.initializers.zeros, (self.features,)).astype(x.dtype)
        return x + bias.reshape((1,) * (x.ndim - 1) + (-1,))


def require_label(label: Array | None, classes: int, who: str) -> None:
    """ValueError unless a label is given where there are classes, and none where there are none."""
    if (label is None) != (classes == 0):
        raise ValueError(
            f"{who} has classes={classes} and was given {'no label' if label is None else 'labels'}; they go together"
        )

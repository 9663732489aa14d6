"""Convolutions that are fast on the CPU, in every order of derivative, in loops, and under `vmap`.

A strided convolution, its gradient with respect to its input (the transposed convolution) and its gradient with respect
to its kernel are one closed family: each is bilinear, and the two gradients of each are the other two. XLA's CPU
backend runs some of the forms that automatic differentiation makes of them 10 to 100 times slower than others; written
out below in the forms it runs fast, every order of derivative is fast. Those of many channels that can be computed in
fewer products are (`winograd`). Each of the three also says what it is under
`vmap`: with one kernel for all members a larger batch, with one input more channels, and with both of each member's own
the members one after another, where XLA would make a grouped convolution of it. On other backends the plain
`lax.conv_general_dilated` is used.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from gan_jax.models.conv import winograd
from gan_jax.models.conv.geometry import Geometry

# Bytes of y that the gradient with respect to the kernel takes at a time: XLA's matrix product packs them for every
# tile of its result, so they should stay in a core's second cache. Measured from 0.25 to 8 MB: 1 is best or near it, and
# 2 in one go better than 1 twice.
PART = 2**20
# Patches of one side and one matrix product are faster than a convolution where that side has at most so many channels,
# and the other at least so many times as many. Measured at 8x8 to 64x64, 1 to 64 channels.
NARROW, TIMES = 8, 8
HELD = 2**26  # bytes that minimal filtering of the gradient with respect to the kernel may take at a time
MANY = 64  # channels of both sides from which minimal filtering is faster


def channels_last(rank: int) -> tuple[str, str, str]:
    """Channels last, the kernel's two axes of channels after its taps."""
    space = "HWD"[:rank]
    return f"N{space}C", f"{space}IO", f"N{space}C"


def _plain(x: jax.Array, w: jax.Array, strides: Any, padding: Any, lhs_dilation: Any, rhs_dilation: Any) -> jax.Array:
    numbers = channels_last(x.ndim - 2)
    return lax.conv_general_dilated(x, w, strides, list(padding), lhs_dilation, rhs_dilation, numbers)


def _fewer(x: jax.Array, channels: tuple[int, ...], g: Geometry) -> bool:
    """Whether minimal filtering is the faster way, and exact enough: on the CPU; others' own convolutions round less."""
    cpu = jax.default_backend() == "cpu"
    return cpu and min(channels) >= MANY and x.dtype == jnp.float32 and winograd.applies(g)


def _forward(x: jax.Array, w: jax.Array, g: Geometry) -> jax.Array:
    """x [b n.. i], w [k.. i o] -> [b m.. o]."""
    if g.dense:
        return x @ w.reshape(w.shape[-2:])
    if _fewer(x, w.shape[-2:], g):
        return winograd.forward(x, w, g)
    return _plain(x, w, g.strides, zip(g.low, g.high, strict=True), None, g.dilation)


def _to_input(y: jax.Array, w: jax.Array, g: Geometry) -> jax.Array:
    """y [b m.. o], w [k.. i o] -> [b n.. i]: the transposed convolution."""
    if g.dense:
        return y @ w.reshape(w.shape[-2:]).T
    if _fewer(y, w.shape[-2:], g):
        return winograd.to_input(y, w, g)
    rank = len(g.kernel)
    reach = [(k - 1) * d for k, d in zip(g.kernel, g.dilation, strict=True)]
    low = [r - low for r, low in zip(reach, g.low, strict=True)]
    high = [
        n - ((m - 1) * s + 1) - lo + r
        for n, m, s, lo, r in zip(g.inputs, g.outputs, g.strides, low, reach, strict=True)
    ]
    turned = jnp.flip(w, range(rank)).swapaxes(-1, -2)  # [k.. o i]
    return _plain(y, turned, (1,) * rank, zip(low, high, strict=True), g.strides, g.dilation)


def _to_kernel(x: jax.Array, y: jax.Array, g: Geometry) -> jax.Array:
    """x [b n.. i], y [b m.. o] -> [k.. i o], over parts of the batch, each as large as the cache wants it."""
    (b, i), o = (x.shape[0], x.shape[-1]), y.shape[-1]
    if g.dense:
        return _contract(x, y).reshape(*g.kernel, i, o)
    if i <= min(NARROW, o // TIMES):
        return _contract(_patches(x, g), y).reshape(*g.kernel, i, o)
    if o <= min(NARROW, i // TIMES) and all(s == 1 for s in g.strides):
        rank, reach = len(g.kernel), [(k - 1) * d for k, d in zip(g.kernel, g.dilation, strict=True)]
        low = tuple(r - low for r, low in zip(reach, g.low, strict=True))
        back = g._replace(inputs=g.outputs, outputs=g.inputs, low=low)
        w = _contract(_patches(y, back), x).reshape(*g.kernel, o, i)
        return jnp.flip(w, range(rank)).swapaxes(-1, -2)
    size, divisors = b * math.prod(g.outputs) * o * y.dtype.itemsize, [n for n in range(1, b + 1) if b % n == 0]
    if _fewer(x, (i, o), g):
        action, held = winograd.to_kernel, winograd.held(b, i, o, g)
        parts = next((n for n in divisors if held / n <= HELD), b)
    else:
        action = _part_to_kernel
        parts = 1 if size <= 2 * PART else min(divisors, key=lambda n: abs(math.log(size / n / PART)))
    if parts == 1:
        return action(x, y, g)
    # Interleaved: rows that are split over devices stay where they are.
    x, y = (a.reshape(b // parts, parts, *a.shape[1:]) for a in (x, y))

    def add(total: jax.Array, n: jax.Array) -> tuple[jax.Array, None]:
        part_x, part_y = (lax.dynamic_index_in_dim(a, n, axis=1, keepdims=False) for a in (x, y))
        return total + action(part_x, part_y, g), None

    zeros = jnp.zeros((*g.kernel, i, o), jnp.result_type(x, y))
    return lax.scan(add, zeros, jnp.arange(parts))[0]


def _part_to_kernel(x: jax.Array, y: jax.Array, g: Geometry) -> jax.Array:
    """As a convolution: channels of x as the batch, the batch as channels, y as the kernel, its taps `strides` apart.
    Written with explicit transposes, because XLA brings the operands of a convolution to the order its fast kernel
    wants only outside of loops.
    """
    x = x.swapaxes(0, -1)  # [i n.. b]
    y = jnp.moveaxis(y, 0, -2)  # [m.. b o]
    w = _plain(x, y, g.dilation, zip(g.low, g.high, strict=True), None, g.strides)  # [i k.. o]
    return lax.optimization_barrier(jnp.moveaxis(w, 0, -2))


def _patches(x: jax.Array, g: Geometry) -> jax.Array:
    """x [b n.. i] -> [b m.. (k.. i)]: under each output what the kernel covers."""
    x = lax.pad(
        x,
        jnp.zeros((), x.dtype),
        [(0, 0, 0), *((low, high, 0) for low, high in zip(g.low, g.high, strict=True)), (0, 0, 0)],
    )

    def along(x: jax.Array, axis: int) -> jax.Array:  # [.. n .. c] -> [.. m .. (k c)]
        k, s, d, m = (v[axis] for v in (g.kernel, g.strides, g.dilation, g.outputs))
        taps = [lax.slice_in_dim(x, t * d, t * d + (m - 1) * s + 1, s, axis + 1) for t in range(k)]
        return jnp.concatenate(taps, -1)

    for axis in reversed(range(len(g.kernel))):
        x = along(x, axis)
    return x


def _contract(x: jax.Array, y: jax.Array) -> jax.Array:
    """[.. p], [.. o] -> [p o], summed over all else. XLA transposes the first for it, so that should be the smaller."""
    rest = tuple(range(x.ndim - 1))
    return lax.dot_general(x, y, ((rest, rest), ((), ())))


def _members(action: Callable, first: tuple[int, int], second: tuple[int, int]) -> Callable:
    """`action(a, b, g)` with a rule for `vmap`. Where only one operand is of each member's own, the members are joined in
    one of its axes and stand in one of the result's: `first` and `second` are these pairs.
    """

    def call(a: jax.Array, b: jax.Array, g: Geometry) -> jax.Array:
        @jax.custom_batching.custom_vmap
        def one(a: jax.Array, b: jax.Array) -> jax.Array:
            return action(a, b, g)

        @one.def_vmap
        def many(count: int, own: Any, a: jax.Array, b: jax.Array) -> tuple[jax.Array, bool]:
            if all(own):
                return lax.map(lambda both: call(both[0], both[1], g), (a, b)), True
            if own[0]:
                return _part(call(_join(a, first[0]), b, g), first[1], count), True
            return _part(call(a, _join(b, second[0]), g), second[1], count), True

        return one(a, b)

    return call


def _join(x: jax.Array, axis: int) -> jax.Array:
    """[members ...] -> [...], `axis` of which is members times as long."""
    axis %= x.ndim - 1
    x = jnp.moveaxis(x, 0, axis)
    return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])


def _part(x: jax.Array, axis: int, count: int) -> jax.Array:
    """The inverse of `_join`."""
    axis %= x.ndim
    return jnp.moveaxis(x.reshape(*x.shape[:axis], count, -1, *x.shape[axis + 1 :]), axis, 0)


_forward_members = _members(_forward, (0, 0), (-1, -1))
_to_input_members = _members(_to_input, (0, 0), (-2, -1))
_to_kernel_members = _members(_to_kernel, (-1, -2), (-1, -1))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv(x: jax.Array, w: jax.Array, g: Geometry) -> jax.Array:
    """x [b n.. i], w [k.. i o] -> [b m.. o]: the convolution."""
    return _forward_members(x, w, g)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv_to_input(y: jax.Array, w: jax.Array, g: Geometry) -> jax.Array:
    """y [b m.. o], w [k.. i o] -> [b n.. i]: the transposed convolution."""
    return _to_input_members(y, w, g)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv_to_kernel(x: jax.Array, y: jax.Array, g: Geometry) -> jax.Array:
    """x [b n.. i], y [b m.. o] -> [k.. i o]: how the two go together at each tap."""
    return _to_kernel_members(x, y, g)


conv.defvjp(
    lambda x, w, g: (conv(x, w, g), (x, w)),
    lambda g, saved, dy: (conv_to_input(dy, saved[1], g), conv_to_kernel(saved[0], dy, g)),
)
conv_to_input.defvjp(
    lambda y, w, g: (conv_to_input(y, w, g), (y, w)),
    lambda g, saved, dx: (conv(dx, saved[1], g), conv_to_kernel(dx, saved[0], g)),
)
conv_to_kernel.defvjp(
    lambda x, y, g: (conv_to_kernel(x, y, g), (x, y)),
    lambda g, saved, dw: (conv_to_input(saved[1], dw, g), conv(saved[0], dw, g)),
)


def conv_general_dilated(
    lhs: jax.Array, rhs: jax.Array, window_strides: Sequence[int], padding: Any, lhs_dilation: Any = None, rhs_dilation: Any = None,
    dimension_numbers: Any = None, feature_group_count: int = 1, batch_group_count: int = 1, precision: Any = None, **kwargs: Any,
) -> jax.Array:  # fmt: skip
    """`lax.conv_general_dilated`, by the fast family where it applies: on the CPU, channels last, not grouped, the input
    not dilated.

    Differentiable any number of times in reverse mode; where the family applies there is no forward mode (`jax.jvp`).
    """
    rank = lhs.ndim - 2
    numbers = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    ours = (
        jax.default_backend() == "cpu"
        and 1 <= rank <= 3
        and numbers == lax.conv_dimension_numbers(lhs.shape, rhs.shape, channels_last(rank))
        and all(d == 1 for d in (*(lhs_dilation or ()), feature_group_count, batch_group_count))
        and precision is None
        and not kwargs.get("preferred_element_type")
    )
    if not ours:
        return lax.conv_general_dilated(
            lhs, rhs, window_strides, padding, lhs_dilation, rhs_dilation,
            dimension_numbers, feature_group_count, batch_group_count, precision, **kwargs,
        )  # fmt: skip
    inputs, kernel, dilation = lhs.shape[1:-1], rhs.shape[:-2], tuple(rhs_dilation or (1,) * rank)
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    pads = lax.padtype_to_pads(inputs, reach, window_strides, padding) if isinstance(padding, str) else padding
    outputs = [
        (n + low + high - r) // s + 1 for n, r, s, (low, high) in zip(inputs, reach, window_strides, pads, strict=True)
    ]
    low = tuple(low for low, _ in pads)
    return conv(lhs, rhs, Geometry(inputs, kernel, tuple(window_strides), dilation, low, tuple(outputs)))


def conv_transpose(y: jax.Array, w: jax.Array, g: Geometry) -> jax.Array:
    """y [b m.. o], w [k.. i o] -> [b n.. i]: of the convolution of which w is the kernel the transpose."""
    return conv_to_input(y, w, g) if jax.default_backend() == "cpu" else _to_input(y, w, g)

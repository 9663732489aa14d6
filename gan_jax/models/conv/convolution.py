"""Convolutions that are fast on the CPU, in every order of derivative, in loops, and under `vmap`.

A strided convolution, its gradient with respect to its input (the transposed convolution) and its gradient with respect
to its kernel are a closed family: each is bilinear, and the two gradients of each are the other two. XLA's CPU backend
runs some of the forms that automatic differentiation produces for them 10 to 100 times slower than others. Here all
three are written in forms that XLA runs fast, and so every order of derivative is fast. With many channels, those for
which an algorithm with fewer products is known use it (`winograd`).

Each of the three has a rule for `vmap`: with one kernel for all members the members make a larger batch, with one input
they make more channels, and with both different they are computed one after another, where XLA would use a grouped
convolution. Other backends use plain `lax.conv_general_dilated`.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from gan_jax.models.conv import volume, winograd
from gan_jax.models.conv.geometry import Geometry

# Bytes of y that the gradient with respect to the kernel processes at a time: XLA's matrix product packs them for every
# tile of its result, so they should fit into a core's L2 cache. Measured from 0.25 to 8 MB: 1 MB is best or close to
# it, and 2 MB at once are better than twice 1 MB.
PART = 2**20
# Patches of one operand and one matrix product are faster than a convolution where that operand has at most NARROW
# channels, and the other at least TIMES as many. Measured at 8x8 to 64x64, 1 to 64 channels.
NARROW, TIMES = 8, 8
HELD = 2**26  # bytes that minimal filtering of the gradient with respect to the kernel may use at a time
GROUPED = 8  # channels of a group from which on a convolution for each is faster than XLA's grouped one
GROUPS = 32  # number of groups up to which each has one: more make programs that take too long to compile
MANY = 64  # channels of both operands from which on minimal filtering is faster


def channels_last(rank: int) -> tuple[str, str, str]:
    """Returns dimension numbers with channels last, and the kernel's two axes of channels after its taps."""
    space = "HWD"[:rank]
    return f"N{space}C", f"{space}IO", f"N{space}C"


def _plain(x: jax.Array, w: jax.Array, strides: Any, padding: Any, lhs_dilation: Any, rhs_dilation: Any) -> jax.Array:
    numbers = channels_last(x.ndim - 2)
    return lax.conv_general_dilated(x, w, strides, list(padding), lhs_dilation, rhs_dilation, numbers)


def _fewer(x: jax.Array, channels: tuple[int, ...], g: Geometry) -> bool:
    """Whether to use minimal filtering: where it is faster and accurate enough, on the CPU. The convolutions of other
    backends have smaller rounding errors.
    """
    cpu = jax.default_backend() == "cpu"
    return cpu and min(channels) >= MANY and x.dtype == jnp.float32 and winograd.applies(g)


def _in_time(g: Geometry) -> bool:
    return len(g.kernel) == 3 and jax.default_backend() == "cpu"


def _forward(x: jax.Array, w: jax.Array, g: Geometry) -> jax.Array:
    """x [b n.. i], w [k.. i o] -> [b m.. o]."""
    if g.dense:
        return x @ w.reshape(w.shape[-2:])
    if _in_time(g):
        y = _forward(volume.to_taps(x, g), volume.kernel(w), volume.plane(g))
        return y.reshape(-1, *g.outputs, y.shape[-1])
    if _fewer(x, w.shape[-2:], g):
        return winograd.forward(x, w, g)
    return _plain(x, w, g.strides, zip(g.low, g.high, strict=True), None, g.dilation)


def _to_input(y: jax.Array, w: jax.Array, g: Geometry) -> jax.Array:
    """y [b m.. o], w [k.. i o] -> [b n.. i]: the transposed convolution."""
    if g.dense:
        return y @ w.reshape(w.shape[-2:]).T
    if _in_time(g):
        return volume.from_taps(_to_input(volume.frames(y), volume.kernel(w), volume.plane(g)), g)
    if _fewer(y, w.shape[-2:], g):
        return winograd.to_input(y, w, g)
    rank = len(g.kernel)
    if rank == 1 and g.strides[0] > 1 and g.dilation == (1,) and jax.default_backend() == "cpu":
        return _by_phases(y, w, g)
    reach = [(k - 1) * d for k, d in zip(g.kernel, g.dilation, strict=True)]
    low = [r - low for r, low in zip(reach, g.low, strict=True)]
    high = [
        n - ((m - 1) * s + 1) - lo + r
        for n, m, s, lo, r in zip(g.inputs, g.outputs, g.strides, low, reach, strict=True)
    ]
    flipped = jnp.flip(w, range(rank)).swapaxes(-1, -2)  # [k.. o i]
    return _plain(y, flipped, (1,) * rank, zip(low, high, strict=True), g.strides, g.dilation)


def _by_phases(y: jax.Array, w: jax.Array, g: Geometry) -> jax.Array:
    """`_to_input` in one dimension with a stride s: results q s + r, r < s, are a convolution without stride of as many
    channels for each r, with the taps r, r + s, .. It is 1.1 to 20 times as fast at 16 to 128 channels and strides 2 to 8.
    """
    (n,), (k,), (s,), _, (low,), (m,) = g
    i, o = w.shape[-2:]
    taps, first, last = -(-k // s), low // s, (low + n - 1) // s
    phases = jnp.pad(w, ((0, taps * s - k), (0, 0), (0, 0))).reshape(taps, s, i, o)
    phases = jnp.flip(phases, 0).transpose(0, 3, 1, 2).reshape(taps, o, s * i)
    x = _plain(y, phases, (1,), [(taps - 1 - first, last - (m - 1))], None, (1,))  # [b q si]
    x = x.reshape(x.shape[0], -1, i)  # [b q si] -> [b qs i]
    return lax.slice_in_dim(x, low - first * s, low - first * s + n, axis=1)


def _to_kernel(x: jax.Array, y: jax.Array, g: Geometry) -> jax.Array:
    """x [b n.. i], y [b m.. o] -> [k.. i o], summed over parts of the batch, each of a size that suits the cache."""
    (b, i), o = (x.shape[0], x.shape[-1]), y.shape[-1]
    if g.dense:
        return _contract(x, y).reshape(*g.kernel, i, o)
    if _in_time(g):
        return volume.from_kernel(_to_kernel(volume.to_taps(x, g), volume.frames(y), volume.plane(g)), g.kernel[0])
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
        action, nbytes = winograd.to_kernel, winograd.held(b, i, o, g)
        parts = next((n for n in divisors if nbytes / n <= HELD), b)
    else:
        action = _part_to_kernel
        parts = 1 if size <= 2 * PART else min(divisors, key=lambda n: abs(math.log(size / n / PART)))
    if parts == 1:
        return action(x, y, g)
    # Interleaved, so that rows that are split over devices stay where they are.
    x, y = (a.reshape(b // parts, parts, *a.shape[1:]) for a in (x, y))

    def add(total: jax.Array, n: jax.Array) -> tuple[jax.Array, None]:
        part_x, part_y = (lax.dynamic_index_in_dim(a, n, axis=1, keepdims=False) for a in (x, y))
        return total + action(part_x, part_y, g), None

    zeros = jnp.zeros((*g.kernel, i, o), jnp.result_type(x, y))
    return lax.scan(add, zeros, jnp.arange(parts))[0]


def _part_to_kernel(x: jax.Array, y: jax.Array, g: Geometry) -> jax.Array:
    """A convolution with the channels of x as the batch, the batch as channels, and y as the kernel, its taps `strides`
    apart. Transposes are explicit, because only outside of loops XLA brings the operands of a convolution into the
    order that its fast kernel needs.
    """
    x = x.swapaxes(0, -1)  # [i n.. b]
    y = jnp.moveaxis(y, 0, -2)  # [m.. b o]
    w = _plain(x, y, g.dilation, zip(g.low, g.high, strict=True), None, g.strides)  # [i k.. o]
    return lax.optimization_barrier(jnp.moveaxis(w, 0, -2))


def _patches(x: jax.Array, g: Geometry) -> jax.Array:
    """x [b n.. i] -> [b m.. (k.. i)]: for each output the inputs that the kernel covers."""
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
    """[.. p], [.. o] -> [p o], summed over all other axes. XLA transposes the first operand, so it should be the
    smaller one.
    """
    rest = tuple(range(x.ndim - 1))
    return lax.dot_general(x, y, ((rest, rest), ((), ())))


def _members(action: Callable, first: tuple[int, int], second: tuple[int, int]) -> Callable:
    """`action(a, b, g)` with a rule for `vmap`. Where only one operand differs between members, the members are joined
    in one of its axes, and so they are in one axis of the result: `first` and `second` are these pairs of axes, for a
    and for b.
    """

    def call(a: jax.Array, b: jax.Array, g: Geometry) -> jax.Array:
        @jax.custom_batching.custom_vmap
        def batched(a: jax.Array, b: jax.Array) -> jax.Array:
            return action(a, b, g)

        @batched.def_vmap
        def rule(count: int, in_batched: Any, a: jax.Array, b: jax.Array) -> tuple[jax.Array, bool]:
            if all(in_batched):
                return lax.map(lambda both: call(both[0], both[1], g), (a, b)), True
            if in_batched[0]:
                return _part(call(_join(a, first[0]), b, g), first[1], count), True
            return _part(call(a, _join(b, second[0]), g), second[1], count), True

        return batched(a, b)

    return call


def _join(x: jax.Array, axis: int) -> jax.Array:
    """[members ...] -> [...], with an `axis` that is members times as long."""
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
    """x [b n.. i], y [b m.. o] -> [k.. i o]: the correlation of x and y at each tap."""
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
    """`lax.conv_general_dilated`, computed by the family above where it applies: on the CPU, for channels last, an input
    without dilation, and no groups or up to `GROUPS` of at least `GROUPED` channels, which are computed one by one: XLA's
    own take 5 to 50 times as long.

    Differentiable any number of times in reverse mode; there is no forward mode (`jax.jvp`) where the family applies.
    """
    rank = lhs.ndim - 2
    numbers = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    groups = feature_group_count
    applies = (
        jax.default_backend() == "cpu"
        and 1 <= rank <= 3
        and numbers == lax.conv_dimension_numbers(lhs.shape, rhs.shape, channels_last(rank))
        and all(d == 1 for d in (*(lhs_dilation or ()), batch_group_count))
        and (groups == 1 or (groups <= GROUPS and rhs.shape[-2] >= GROUPED))
        and precision is None
        and not kwargs.get("preferred_element_type")
    )
    if not applies:
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
    geometry = Geometry(inputs, kernel, tuple(window_strides), dilation, low, tuple(outputs))
    if groups == 1:
        return conv(lhs, rhs, geometry)
    parts = (jnp.split(x, groups, -1) for x in (lhs, rhs))
    return jnp.concatenate([conv(x, w, geometry) for x, w in zip(*parts, strict=True)], -1)


def conv_transpose(y: jax.Array, w: jax.Array, g: Geometry) -> jax.Array:
    """y [b m.. o], w [k.. i o] -> [b n.. i]: the transpose of the convolution whose kernel is w."""
    return conv_to_input(y, w, g) if jax.default_backend() == "cpu" else _to_input(y, w, g)

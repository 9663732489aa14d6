"""Images at half and at double size, and between, by the filter [1, 3, 3, 1], in each direction; zeros outside.

Karras et al. 2020, arXiv:1912.04958, section 4.2 and appendix B (their `upfirdn`). The four are a closed family, as each is
linear and the transpose of another, up to a factor: of `upsample` it is 4 `downsample`, of `blur` with one zero `blur`
with two. So derivatives of all orders are the same few additions, where XLA's own (of strided and padded convolutions
with a channel a group) take 10 to 100 times as long on the CPU. There is no forward mode (`jax.jvp`).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Float

from gan_jax.types import Array


def _shifted(x: jax.Array, axis: int, by: int) -> jax.Array:
    """x moved along an axis by `by` places, zeros coming in."""
    pads = [(0, 0, 0)] * x.ndim
    pads[axis] = (by, -by, 0)
    return lax.pad(x, jnp.zeros((), x.dtype), pads)


def _doubled(x: jax.Array, axis: int) -> jax.Array:
    """[.. n ..] -> [.. 2n ..]: places 2i and 2i + 1 are 3/4 of i, and 1/4 of i - 1 and of i + 1."""
    near = 0.75 * x
    y = jnp.stack([near + 0.25 * _shifted(x, axis, 1), near + 0.25 * _shifted(x, axis, -1)], axis + 1)
    return y.reshape(*x.shape[:axis], 2 * x.shape[axis], *x.shape[axis + 1 :])


def _halved(x: jax.Array, axis: int) -> jax.Array:
    """[.. 2n ..] -> [.. n ..]: the transpose of `_doubled`."""
    y = x.reshape(*x.shape[:axis], x.shape[axis] // 2, 2, *x.shape[axis + 1 :])
    even, odd = (lax.index_in_dim(y, i, axis + 1, keepdims=False) for i in (0, 1))
    return 0.75 * (even + odd) + 0.25 * (_shifted(even, axis, -1) + _shifted(odd, axis, 1))


def _blurred(x: jax.Array, axis: int, zeros: int) -> jax.Array:
    """[.. n ..] -> [.. n + 2 zeros - 3 ..]: [1, 3, 3, 1] / 8 with so many zeros on both sides."""
    pads = [(0, 0, 0)] * x.ndim
    pads[axis] = (zeros, zeros, 0)
    x = lax.pad(x, jnp.zeros((), x.dtype), pads)
    end = x.shape[axis] - 3
    taps = [lax.slice_in_dim(x, i, end + i, axis=axis) for i in range(4)]
    return 0.125 * (taps[0] + taps[3]) + 0.375 * (taps[1] + taps[2])


def _both(along: Callable[..., jax.Array], *how: int) -> Callable[[jax.Array], jax.Array]:
    return lambda x: along(along(x, 1, *how), 2, *how)


def _pair(one: Callable, other: Callable) -> tuple[Callable, Callable]:
    """Both functions, each with the other as its pullback."""

    @jax.custom_vjp
    def forth(x: jax.Array) -> jax.Array:
        return one(x)

    @jax.custom_vjp
    def back(x: jax.Array) -> jax.Array:
        return other(x)

    forth.defvjp(lambda x: (forth(x), None), lambda _, y: (back(y),))
    back.defvjp(lambda x: (back(x), None), lambda _, y: (forth(y),))
    return forth, back


_double, _halve = _pair(_both(_doubled), _both(_halved))
_narrow, _wide = _pair(_both(_blurred, 1), _both(_blurred, 2))


def upsample(x: Float[Array, "b h w c"]) -> Float[Array, "b 2*h 2*w c"]:
    """Returns images of twice the sides: zeros between the pixels, then the filter, times 4.

    Of a constant it is that constant, but for the border, which is 3/4 of it.
    """
    return _double(jnp.asarray(x))


def downsample(x: Float[Array, "b h w c"]) -> jax.Array:
    """Returns images [b h/2 w/2 c]: the filter at every second pixel. Raises ValueError for odd sides."""
    if any(side % 2 for side in x.shape[1:3]):
        raise ValueError(f"downsample halves both sides, and the images are {x.shape[1:3]}: they must be even")
    return _halve(jnp.asarray(x)) / 4


def blur(x: Float[Array, "b h w c"], zeros: int) -> jax.Array:
    """Returns the filter at each pixel: with one zero on every side [b h-1 w-1 c], with two [b h+1 w+1 c].

    Raises ValueError for another number of zeros.
    """
    if zeros not in (1, 2):
        raise ValueError(f"blur has one zero around images, or two; got {zeros}")
    return (_narrow if zeros == 1 else _wide)(jnp.asarray(x))

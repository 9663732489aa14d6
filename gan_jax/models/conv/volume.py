"""Convolutions over time and two more dimensions as two-dimensional ones: the taps in time become channels.

XLA's CPU backend computes gradients of strided three-dimensional convolutions 10 to 100 times slower than those of two-dimensional
ones. With the frames t s, t s + d, .. of x (taps d apart) side by side as channels, one two-dimensional convolution of
each output frame is the same sum. Each function here is linear, and `from_taps` is the transpose of `to_taps`.
"""

import jax
import jax.numpy as jnp
from jax import lax

from gan_jax.models.conv.geometry import Geometry


def plane(g: Geometry) -> Geometry:
    """Returns the geometry of the two-dimensional convolution."""
    return Geometry(*(field[1:] for field in g))


def to_taps(x: jax.Array, g: Geometry) -> jax.Array:
    """x [b t h w c] -> [b m, h w, k c]: for each of m output frames the k frames that the kernel covers, zeros where there are none."""
    k, s, d, m = g.kernel[0], g.strides[0], g.dilation[0], g.outputs[0]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), (g.low[0], g.high[0], 0), *[(0, 0, 0)] * 3])
    taps = [lax.slice_in_dim(x, i * d, i * d + (m - 1) * s + 1, s, axis=1) for i in range(k)]
    x = jnp.concatenate(taps, -1) if k > 1 else taps[0]
    return x.reshape(-1, *x.shape[2:])


def from_taps(x: jax.Array, g: Geometry) -> jax.Array:
    """[b m, h w, k c] -> [b t h w c]: each frame the sum of what its taps hold."""
    n, k, s, d, m = g.inputs[0], g.kernel[0], g.strides[0], g.dilation[0], g.outputs[0]
    low, high = g.low[0], g.high[0]
    x = x.reshape(-1, m, *x.shape[1:])
    total = None
    for i, tap in enumerate(jnp.split(x, k, -1)):
        after = n + low + high - (i * d + (m - 1) * s + 1)
        placed = lax.pad(tap, jnp.zeros((), x.dtype), [(0, 0, 0), (i * d - low, after - high, s - 1), *[(0, 0, 0)] * 3])
        total = placed if total is None else total + placed
    assert total is not None
    return total


def kernel(w: jax.Array) -> jax.Array:
    """w [k h w i o] -> [h w k i, o] with the last two as one axis of channels: the kernel of frames side by side."""
    k, h, width, i, o = w.shape
    return w.transpose(1, 2, 0, 3, 4).reshape(h, width, k * i, o)


def from_kernel(w: jax.Array, k: int) -> jax.Array:
    """The inverse of `kernel`."""
    h, width, i, o = w.shape
    return w.reshape(h, width, k, i // k, o).transpose(2, 0, 1, 3, 4)


def frames(y: jax.Array) -> jax.Array:
    """[b m h w c] -> [b m, h w c]"""
    return y.reshape(-1, *y.shape[2:])

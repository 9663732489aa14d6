"""Two-dimensional convolutions in fewer products: minimal filtering (Winograd 1980; Lavin and Gray 2016,
arXiv:1509.09308, section 4).

Two neighbouring outputs of r taps need r + 1 products instead of 2 r. With x of r + 1 inputs and w of r taps,

    y = A [(G w) * (B x)],    A [2, r + 1], G [r + 1, r], B [r + 1, r + 1], * by elements,

nested for two dimensions. Summed over channels, each of the (r + 1)^2 products is a matrix product. A 3x3 convolution
takes 2.25 times fewer products, and a 4x4 one of stride 2, which is a 2x2 one with its four phases as channels, 1.78
times fewer. The algorithm is bilinear, so its gradients are the same products between the transposed transforms:

    dx = B' [(G w) * (A' dy)],    dw = G' [(B x) * (A' dy)].

Rounding errors are two to three times those of the direct sum.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gan_jax.models.conv.geometry import Geometry

# By r. The entries of A and B are 1, 0 and -1, so these transforms are sums.
A = {2: np.array([[1, 1, 0], [0, 1, -1]]), 3: np.array([[1, 1, 1, 0], [0, 1, -1, -1]])}
B = {
    2: np.array([[1, -1, 0], [0, 1, 0], [0, 1, -1]]),
    3: np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]),
}
G = {
    2: np.array([[1, 0], [1, 1], [0, 1]]),
    3: np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]]),
}


def applies(g: Geometry) -> bool:
    """Returns whether the geometry is one of these two, and its outputs make whole tiles of 2x2."""
    kinds = (((3, 3), (1, 1), (1, 1)), ((4, 4), (2, 2), (1, 1)))
    return (g.kernel, g.strides, g.dilation) in kinds and all(m % 2 == 0 for m in g.outputs)


def forward(x: jax.Array, w: jax.Array, g: Geometry) -> jax.Array:
    """x [b n.. i], w [k.. i o] -> [b m.. o]: the convolution."""
    return _from_outputs([u @ v for u, v in zip(_inputs(x, g), _kernel(w, g), strict=True)], g)


def to_input(y: jax.Array, w: jax.Array, g: Geometry) -> jax.Array:
    """y [b m.. o], w [k.. i o] -> [b n.. i]: the transposed convolution."""
    return _from_inputs([u @ v.T for u, v in zip(_outputs(y, g), _kernel(w, g), strict=True)], g)


def to_kernel(x: jax.Array, y: jax.Array, g: Geometry) -> jax.Array:
    """x [b n.. i], y [b m.. o] -> [k.. i o]: the correlation of x and y at each tap."""
    return _from_kernel([u.T @ v for u, v in zip(_inputs(x, g), _outputs(y, g), strict=True)], g)


def held(b: int, i: int, o: int, g: Geometry) -> int:
    """Returns the bytes of the factors that `to_kernel` multiplies, for b rows, i and o channels."""
    r, s, tiles = _sizes(g)
    return 4 * (r + 1) ** 2 * b * tiles[0] * tiles[1] * (s * s * i + o)


def _sizes(g: Geometry) -> tuple[int, int, tuple[int, int]]:
    """r, the stride s, and the number of tiles in each dimension."""
    return g.kernel[0] // g.strides[0], g.strides[0], (g.outputs[0] // 2, g.outputs[1] // 2)


def _sum(weights: np.ndarray, terms: Sequence[jax.Array]) -> jax.Array:
    """The sum of `weights`, which are 1, 0 and -1, times `terms`."""
    (sign, total), *rest = [(weight, term) for weight, term in zip(weights, terms, strict=True) if weight]
    total = total if sign > 0 else -total
    for sign, term in rest:
        total = total + term if sign > 0 else total - term
    return total


def _spread(x: jax.Array, weights: np.ndarray, tiles: tuple[int, int]) -> list[jax.Array]:
    """x [b .. .. c] -> len(weights)^2 of [b tiles, c]: `weights` applied to each tile, in both dimensions. Tiles begin
    2 apart, and overlap where they are longer.
    """

    def along(x: jax.Array, axis: int) -> list[jax.Array]:
        end = 2 * tiles[axis - 1] - 1
        cuts = [lax.slice_in_dim(x, d, d + end, 2, axis) for d in range(weights.shape[1])]
        return [_sum(row, cuts) for row in weights]

    return [part.reshape(-1, x.shape[-1]) for rows in along(x, 1) for part in along(rows, 2)]


def _pad(x: jax.Array, low: Sequence[int], high: Sequence[int]) -> jax.Array:
    """[b n.. i] with `low` zeros before and `high` after, in each dimension; negative numbers remove rows."""
    return lax.pad(
        x, jnp.zeros((), x.dtype), [(0, 0, 0), *((*both, 0) for both in zip(low, high, strict=True)), (0, 0, 0)]
    )


def _inputs(x: jax.Array, g: Geometry) -> list[jax.Array]:
    """B x: [b n.. i] -> (r + 1)^2 of [b tiles, s^2 i]."""
    (r, s, tiles), (b, *_, i) = _sizes(g), x.shape
    sides = [2 * t + r - 1 for t in tiles]
    x = _pad(x, g.low, g.high)
    x = x.reshape(b, sides[0], s, sides[1], s, i).swapaxes(2, 3).reshape(b, *sides, s * s * i)
    # Without the barrier XLA would compute x again for every tile that it is part of.
    return _spread(lax.optimization_barrier(x), B[r], tiles)


def _from_inputs(parts: list[jax.Array], g: Geometry) -> jax.Array:
    """The transpose of `_inputs`."""
    (r, s, tiles), i = _sizes(g), parts[0].shape[-1] // g.strides[0] ** 2
    parts = [part.reshape(-1, *tiles, s, s, i) for part in parts]

    def along(parts: list[jax.Array], axis: int) -> jax.Array:
        """[.. t ..] for each position in a tile -> [.. t + 1, 2 ..], with overlapping tiles summed."""
        each = [_sum(column, parts) for column in B[r].T]

        def shifted(x: jax.Array, by: int) -> jax.Array:
            pads = [(by, 1 - by, 0) if dim == axis else (0, 0, 0) for dim in range(x.ndim)]
            return lax.pad(x, jnp.zeros((), x.dtype), pads)

        interleaved = [sum(shifted(x, by) for by, x in enumerate(each[first::2])) for first in range(2)]
        return jnp.stack(interleaved, axis + 1)

    rows = [along(parts[column :: r + 1], 1) for column in range(r + 1)]
    x = along(rows, 3).transpose(0, 1, 2, 5, 3, 4, 6, 7)  # [b t 2 t' 2 s s' i] -> [b t 2 s t' 2 s' i]
    x = x.reshape(x.shape[0], *(2 * s * (t + 1) for t in tiles), i)
    return _pad(x, [-low for low in g.low], [-high - s * (3 - r) for high in g.high])  # the last overlap is r - 1 wide


def _outputs(y: jax.Array, g: Geometry) -> list[jax.Array]:
    """A' y: [b m.. o] -> (r + 1)^2 of [b tiles, o]."""
    r, _, tiles = _sizes(g)
    return _spread(y, A[r].T, tiles)


def _from_outputs(parts: list[jax.Array], g: Geometry) -> jax.Array:
    """The transpose of `_outputs`."""
    (r, _, tiles), o = _sizes(g), parts[0].shape[-1]
    rows = [[_sum(row, parts[column :: r + 1]) for column in range(r + 1)] for row in A[r]]
    y = jnp.stack([jnp.stack([_sum(row, each) for row in A[r]], 1) for each in rows])  # [2, b tiles, 2, o]
    y = y.reshape(2, -1, *tiles, 2, o).transpose(1, 2, 0, 3, 4, 5)  # [b t 2 t' 2 o]
    return y.reshape(y.shape[0], *g.outputs, o)


def _kernel(w: jax.Array, g: Geometry) -> list[jax.Array]:
    """G w: [k.. i o] -> (r + 1)^2 of [s^2 i, o]."""
    (r, s, _), (i, o) = _sizes(g), w.shape[-2:]
    w = w.reshape(r, s, r, s, i, o).swapaxes(1, 2).reshape(r * r, -1)
    return list(jnp.matmul(_both(G[r], w), w, precision="highest").reshape(-1, s * s * i, o))


def _from_kernel(parts: list[jax.Array], g: Geometry) -> jax.Array:
    """The transpose of `_kernel`."""
    (r, s, _), o = _sizes(g), parts[0].shape[-1]
    w = jnp.stack(parts).reshape(len(parts), -1)
    w = jnp.matmul(_both(G[r], w).T, w, precision="highest")
    return w.reshape(r, r, s, s, -1, o).swapaxes(1, 2).reshape(*g.kernel, -1, o)


def _both(weights: np.ndarray, like: jax.Array) -> jax.Array:
    """The transform of both dimensions, as one matrix."""
    return jnp.asarray(np.kron(weights, weights), like.dtype)

"""A generator that is given images, on images of any size: padded to what it takes, whole or tile by tile."""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.types import PyTree, UserError

MULTIPLES = tuple(2**i for i in range(9))  # of the sides that a network may ask for
PROBES = (64, 160, 400)  # sides of the images by which the reach of a network is found

Apply = Callable[..., Any]  # (images [1 h w c], ...) -> images [1 h*scale w*scale d]


class Fit(NamedTuple):
    """What a generator takes and gives: sides are multiples of `multiple`, and results `scale` times as large."""

    multiple: int
    scale: int


def fit_of(apply: Apply, channels: tuple[int, ...], least: int = 64) -> Fit:
    """Returns the smallest multiple for which the generator takes images of sides that are no multiples of anything larger,
    found by tracing it, without computing. `channels` are those of each of its images.

    Raises UserError where it takes none, with what it says, and where results have other proportions.
    """
    said = ""
    for multiple in MULTIPLES:
        sides = (side := multiple * (2 * (-(-least // (2 * multiple))) + 1), side + 2 * multiple)
        blank = [jax.ShapeDtypeStruct((1, *sides, c), np.float32) for c in channels]
        try:
            out = jax.eval_shape(apply, *blank)
        except (UserError, ValueError, TypeError) as error:
            said = said or str(error)
            continue
        scales = {out.shape[1] / sides[0], out.shape[2] / sides[1]}
        scale = out.shape[1] // sides[0]
        if scales != {scale}:
            raise UserError(f"this generator makes {list(out.shape)} of {[1, *sides]}: images keep their proportions")
        return Fit(multiple, scale)
    raise UserError(f"this generator takes images of one size only: {said}")


def reach_of(apply: Callable[..., Any], params: PyTree, channels: int, fit: Fit) -> int:
    """Returns how many pixels away from a place an input pixel may lie that changes the result there; -1 where all of them
    do, as with instance norm. `apply(params, x)`; it is found by derivatives, with random parameters of the same shapes.
    """
    rng = np.random.default_rng(0)

    def random(leaf: Any) -> Any:
        inputs = math.prod(leaf.shape[:-1]) if leaf.ndim > 1 else 1
        return jnp.asarray(rng.normal(size=leaf.shape) / math.sqrt(inputs), leaf.dtype)

    params = jax.tree.map(random, params)
    for side in PROBES:
        side = -(-side // (2 * fit.multiple)) * 2 * fit.multiple
        x = jnp.asarray(rng.uniform(-1, 1, (1, side, side, channels)), jnp.float32)
        out, pull = jax.vjp(functools.partial(apply, params), x)
        cell = fit.multiple * fit.scale  # all phases of what is halved and doubled
        middle = side // 2 // fit.multiple * cell
        wanted = np.zeros(out.shape, out.dtype)
        wanted[0, middle : middle + cell, middle : middle + cell] = rng.normal(size=(cell, cell, out.shape[-1]))
        rows, columns = np.nonzero(np.abs(np.asarray(pull(jnp.asarray(wanted))[0][0])).sum(-1))
        if not len(rows):
            continue
        first, last = min(rows.min(), columns.min()), max(rows.max(), columns.max())
        if first > 0 and last < side - 1:
            begin = middle // fit.scale
            return int(max(begin - first, last - (begin + fit.multiple - 1), 0))
    return -1


def whole(apply: Apply, images: tuple[np.ndarray, ...], fit: Fit) -> np.ndarray:
    """Returns the result [h*scale w*scale d] for images [h w c] of any size: mirrored on the right and below up to the
    multiple, and cut back.
    """
    h, w = images[0].shape[:2]
    padded = [_padded(x, -h % fit.multiple, -w % fit.multiple) for x in images]
    return np.asarray(apply(*(x[None] for x in padded)))[0, : h * fit.scale, : w * fit.scale]


def tiled(apply: Apply, images: tuple[np.ndarray, ...], fit: Fit, tile: int, overlap: int) -> np.ndarray:
    """Returns what `whole` does, computed in tiles of `tile` pixels and `overlap` more around each: equal to it where that
    is at least the reach of the generator. Both are rounded up to the multiple.
    """
    tile, overlap = (-(-x // fit.multiple) * fit.multiple for x in (tile, overlap))
    h, w = images[0].shape[:2]
    padded = [_padded(x, -h % fit.multiple, -w % fit.multiple) for x in images]
    high, wide = padded[0].shape[:2]
    out: np.ndarray | None = None
    for rows, inner_rows in _spans(high, tile, overlap):
        for columns, inner_columns in _spans(wide, tile, overlap):
            part = np.asarray(apply(*(x[None, rows, columns] for x in padded)))[0]
            if out is None:
                out = np.zeros((high * fit.scale, wide * fit.scale, part.shape[-1]), part.dtype)
            s, top, left = fit.scale, rows.start, columns.start
            cut = part[
                s * (inner_rows.start - top) : s * (inner_rows.stop - top),
                s * (inner_columns.start - left) : s * (inner_columns.stop - left),
            ]
            out[s * inner_rows.start : s * inner_rows.stop, s * inner_columns.start : s * inner_columns.stop] = cut
    assert out is not None
    return out[: h * fit.scale, : w * fit.scale]


def _spans(size: int, tile: int, overlap: int) -> Iterator[tuple[slice, slice]]:
    """What is computed of each tile, and what is kept of it."""
    for begin in range(0, size, tile):
        end = min(begin + tile, size)
        yield slice(max(begin - overlap, 0), min(end + overlap, size)), slice(begin, end)


def _padded(x: np.ndarray, below: int, right: int) -> np.ndarray:
    if not below and not right:
        return x
    # An image narrower than its border is mirrored again and again.
    mode: Any = "reflect" if min(x.shape[:2]) > 1 else "edge"
    return np.pad(x, ((0, below), (0, right), (0, 0)), mode=mode)

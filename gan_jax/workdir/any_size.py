"""A generator that is given images, on images of any size: padded to what it takes, whole or tile by tile."""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.errors import FlaxError

from gan_jax.types import PyTree, UserError

MULTIPLES = tuple(2**i for i in range(9))  # of the sides that a network may ask for
PROBES = (64, 160, 400)  # sides of the images by which the reach of a network is found

Apply = Callable[..., Any]  # (images [1 h w c], ...) -> images [1 h*scale w*scale d]


class Fit(NamedTuple):
    """What a generator takes and gives: sides are multiples of `multiple`, at least `least`, and results `scale` times as large."""

    multiple: int
    scale: int
    least: int = 1
    only: tuple[int, int] | None = None  # height and width, of a generator that takes no other


def fit_of(apply: Apply, channels: tuple[int, ...], own: tuple[int, int] | None = None) -> Fit:
    """Returns what sizes the generator takes, found by tracing it, without computing: the smallest multiple for which it takes
    sides that are no multiples of anything larger and are not equal, and the least side; or else `own`, the size of its
    training images, alone. `channels` are those of each of its images.

    Raises UserError where it takes none, with what it says.
    """
    said = ""

    def scale_of(height: int, width: int) -> int:
        """0 where this size is not taken, or the result has other proportions."""
        nonlocal said
        blank = [jax.ShapeDtypeStruct((1, height, width, c), np.float32) for c in channels]
        try:
            out = jax.eval_shape(apply, *blank)
        except (UserError, ValueError, TypeError, FlaxError) as error:
            said = said or str(error).splitlines()[0]
            return 0
        scale = out.shape[1] // height
        return scale if out.shape[1:3] == (height * scale, width * scale) else 0

    for multiple in MULTIPLES:
        side = multiple * (2 * -(-64 // (2 * multiple)) + 1)  # odd multiples, from 64 on
        if scale := scale_of(side, side + 2 * multiple):
            smaller = (n for n in range(multiple, side + 1, multiple) if scale_of(n, n) == scale)
            return Fit(multiple, scale, next(smaller, side))
    if own is not None and (scale := scale_of(*own)):
        return Fit(1, scale, 1, own)
    raise UserError(f"this generator takes images of no size that was tried: {said}")


def reach_of(apply: Callable[..., Any], params: PyTree, channels: int, fit: Fit) -> int:
    """Returns how many pixels away from a place an input pixel may lie that changes the result there; -1 where that is more than
    half of the last of PROBES, or where all of them do, as with instance norm. `apply(params, x)`; it is found by
    derivatives, with random parameters of the same shapes.
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
    require(fit, h, w)
    padded = [_padded(x, fit) for x in images]
    return np.asarray(apply(*(x[None] for x in padded)))[0, : h * fit.scale, : w * fit.scale]


def tiled(apply: Apply, images: tuple[np.ndarray, ...], fit: Fit, tile: int, overlap: int) -> np.ndarray:
    """Returns what `whole` does, computed in tiles of `tile` pixels and `overlap` more around each: equal to it where that
    is at least the reach of the generator. Both are rounded up to the multiple.
    """
    tile, overlap = (-(-x // fit.multiple) * fit.multiple for x in (tile, overlap))
    h, w = images[0].shape[:2]
    require(fit, h, w)
    padded = [_padded(x, fit) for x in images]
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


def require(fit: Fit, height: int, width: int) -> None:
    """Raises UserError for a generator of one size only, and another one."""
    if fit.only not in (None, (height, width)):
        h, w = fit.only
        raise UserError(f"it is {width}x{height}, and this generator takes {w}x{h} alone: bring it to that size first")


def _padded(x: np.ndarray, fit: Fit) -> np.ndarray:
    below, right = (max(fit.least, -(-side // fit.multiple) * fit.multiple) - side for side in x.shape[:2])
    if not below and not right:
        return x
    # An image narrower than its border is mirrored again and again.
    mode: Any = "reflect" if min(x.shape[:2]) > 1 else "edge"
    return np.pad(x, ((0, below), (0, right), (0, 0)), mode=mode)

"""Augmentation inside the game: what is done to all images that D sees, real and fake, so that few real images last longer.

`augment(images, key, p) -> images`, [b h w c] in [-1, 1], differentiable; each row has its own draws, and each transform
is applied to a row with probability p. Results may leave [-1, 1]. `adversarial(augment=...)` applies it in both losses
and inside the critic of penalties; the same family for real and fake images is what keeps G from learning it.

DiffAugment (Zhao et al. 2020, arXiv:2006.10738; the forms of mit-han-lab/data-efficient-gans): `colour`, `translation`,
`cutout`, all three in `diffaugment`; with p = 1, as published. ADA (Karras et al. 2020, arXiv:2006.06676, appendix B; the
draws of NVlabs/stylegan2-ada-pytorch): `pipe`, whose p is moved by `games.controls.ada`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gan_jax.types import Array, Key

Images = Float[Array, "b h w c"]
Augment = Callable[[Array, Key, float | Array], Array]


def chain(*parts: Augment) -> Augment:
    """Returns the augmentation that applies the parts one after another."""

    def augment(images: Images, key: Key, p: float | Array = 1.0) -> Images:
        for i, part in enumerate(parts):
            images = part(images, jax.random.fold_in(key, i), p)
        return images

    return augment


def gate(key: Key, p: float | Array, changed: Array, images: Array) -> jax.Array:
    """Returns each row of `changed` with probability p, and else that of `images`; all of `changed` for the number 1."""
    if isinstance(p, (int, float)) and p == 1:
        return jnp.asarray(changed)
    rows = jax.random.bernoulli(key, p, (images.shape[0],) + (1,) * (images.ndim - 1))
    return jnp.where(rows, changed, images)


def colour(images: Images, key: Key, p: float | Array = 1.0) -> Images:
    """Brightness x + u, u in [-1/2, 1/2]; then saturation m + s (x - m), m the mean over channels, s in [0, 2], which does
    nothing to one channel; then contrast M + c (x - M), M the mean of the image, c in [1/2, 3/2]. All are uniform.
    """
    keys = jax.random.split(key, 4)
    u, s, c = (jax.random.uniform(one, (images.shape[0], 1, 1, 1), images.dtype) for one in keys[:3])
    x = images + (u - 0.5)
    if x.shape[-1] > 1:
        mean = x.mean(-1, keepdims=True)
        x = mean + 2 * s * (x - mean)
    mean = x.mean((1, 2, 3), keepdims=True)
    return gate(keys[3], p, mean + (c + 0.5) * (x - mean), images)


def translation(images: Images, key: Key, p: float | Array = 1.0, *, share: float = 0.125) -> Images:
    """Moved by whole pixels, of every axis from -n to n, n = floor(share size + 1/2); what comes in is 0, a grey."""
    keys = jax.random.split(key, 3)
    x = images
    for axis, axis_key in zip((1, 2), keys[:2], strict=True):
        size = x.shape[axis]
        most = int(size * share + 0.5)
        by = jax.random.randint(axis_key, (x.shape[0], 1), -most, most + 1)  # [b 1]
        # A matrix of ones and zeros for every row moves it: its gradient is a product too, and no scatter.
        where = jnp.arange(size)[None] + by  # [b size], the pixel that comes here
        move = (where[:, :, None] == jnp.arange(size)[None, None]).astype(x.dtype)  # [b out in]
        x = jnp.einsum("boi,biwc->bowc" if axis == 1 else "boi,bhic->bhoc", move, x)
    return gate(keys[2], p, x, images)


def cutout(images: Images, key: Key, p: float | Array = 1.0, *, share: float = 0.5) -> Images:
    """A rectangle of floor(share size + 1/2) pixels a side is 0, a grey; its centre is anywhere in the image, so that it
    may reach beyond it.
    """
    keys = jax.random.split(key, 3)
    kept = []
    for size, axis_key in zip(images.shape[1:3], keys[:2], strict=True):
        side = int(size * share + 0.5)
        # As published: the offset is uniform in 0 .. size - side % 2, and the side begins that much minus its half.
        start = jax.random.randint(axis_key, (images.shape[0], 1), 0, size + 1 - side % 2) - side // 2
        place = jnp.arange(size)[None]
        kept.append((place >= start) & (place < start + side))  # [b size]
    hole = kept[0][:, :, None, None] & kept[1][:, None, :, None]
    return gate(keys[2], p, jnp.where(hole, 0, images), images)


diffaugment = chain(colour, translation, cutout)


# -- ADA

# The low-pass filter of the wavelet sym6 (Daubechies' symlet of 12 taps), by which images are doubled and halved.
SYM6 = np.array([
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633, 0.4910559419267466,
    0.787641141030194, 0.3379294217276218, -0.07263752278646252, -0.021060292512300564, 0.04472490177066578,
    0.0017677118642428036, -0.007800708325034148,
])  # fmt: skip
SUPPORT = len(SYM6) // 4  # pixels


def pipe(*, mirror: bool = True, rotate: bool = True, luma_flip: bool = True) -> Augment:
    """Returns ADA's pipe "bgc": mirroring and turns by 90 degrees, shifts, scales, rotations; brightness, contrast, luma
    flip, hue and saturation, in this order, each of a row with probability p.

    For digits and other signs, which change their meaning, leave out `mirror`, `rotate` (also by 90 degrees) and, of one
    channel, `luma_flip`, which makes white black. Hue is for three channels only, and saturation does nothing to one.
    Geometry is one affine map about the image's centre: the image is padded by its mirror image (by size - 1; beyond is
    0), doubled by SYM6, read bilinearly, and halved.
    """

    def augment(images: Images, key: Key, p: float | Array) -> Images:
        geometry, colours = jax.random.split(key)
        images = warped(images, inverse_map(geometry, images.shape, p, mirror=mirror, rotate=rotate))
        return _coloured(jnp.asarray(images), colours, p, luma_flip)

    return augment


class _Draws:
    """Numbers for each row, each kind from a key of its own, and 0 (or `none`) where a row's gate is shut."""

    def __init__(self, key: Key, rows: int):
        self.key, self.rows, self.place = key, rows, 0

    def __call__(self, draw: Callable, p: float | Array, none: float = 0.0, columns: int = 1) -> jax.Array:
        self.place += 1
        value_key, gate_key = jax.random.split(jax.random.fold_in(self.key, self.place))
        values = draw(value_key, (self.rows, columns))
        return jnp.where(jax.random.uniform(gate_key, (self.rows, 1)) < p, values, none)  # [b columns]


def _uniform(key: Key, shape: tuple[int, ...]) -> jax.Array:
    return jax.random.uniform(key, shape, minval=-1)


def _power(std: float) -> Callable:
    return lambda key, shape: 2 ** (std * jax.random.normal(key, shape))


def _turned(angle: jax.Array) -> jax.Array:
    """[b 1] -> [b 3 3]"""
    cos, sin, zero = jnp.cos(angle[:, 0]), jnp.sin(angle[:, 0]), jnp.zeros(len(angle))
    return _matrix([[cos, -sin, zero], [sin, cos, zero], [zero, zero, zero + 1]])


def _scaled(x: jax.Array, y: jax.Array) -> jax.Array:
    zero = jnp.zeros(len(x))
    return _matrix([[x[:, 0], zero, zero], [zero, y[:, 0], zero], [zero, zero, zero + 1]])


def _moved(x: jax.Array, y: jax.Array) -> jax.Array:
    zero = jnp.zeros(len(x))
    return _matrix([[zero + 1, zero, x], [zero, zero + 1, y], [zero, zero, zero + 1]])


def _matrix(rows: list[list[jax.Array]]) -> jax.Array:
    return jnp.stack([jnp.stack(row, -1) for row in rows], -2)


def inverse_map(
    key: Key, shape: tuple[int, ...], p: float | Array, *, mirror: bool = True, rotate: bool = True
) -> Float[Array, "b 3 3"]:
    """Draws the geometry of `pipe` for images of that shape: the maps from (x, y, 1) in the result to where it is read in
    the image, in pixels from the centre.
    """
    rows, high, wide = shape[0], shape[1], shape[2]
    draws, turn = _Draws(key, rows), jnp.float32(jnp.pi)
    size = jnp.array([wide, high], jnp.float32)
    either = 1 - jnp.sqrt(jnp.maximum(1 - p, 0.0))  # of two rotations: together p
    maps = []
    if mirror:
        i = draws(lambda key, shape: jax.random.randint(key, shape, 0, 2).astype(jnp.float32), p)
        maps.append(_scaled(1 - 2 * i, jnp.ones_like(i)))
    if rotate:
        i = draws(lambda key, shape: jax.random.randint(key, shape, 0, 4).astype(jnp.float32), p)
        maps.append(_turned(i * turn / 2))
    by = jnp.round(0.125 * draws(_uniform, p, columns=2) * size[None])
    maps.append(_moved(-by[:, 0], -by[:, 1]))
    s = draws(_power(0.2), p, 1.0)
    maps.append(_scaled(1 / s, 1 / s))
    if rotate:
        maps.append(_turned(draws(_uniform, either) * turn))
    s = draws(_power(0.2), p, 1.0)
    maps.append(_scaled(1 / s, s))
    if rotate:
        maps.append(_turned(draws(_uniform, either) * turn))
    by = 0.125 * draws(jax.random.normal, p, columns=2) * size[None]
    maps.append(_moved(-by[:, 0], -by[:, 1]))
    total = maps[0]
    for one in maps[1:]:
        total = jnp.matmul(total, one, precision="highest")
    return total


def warped(images: Images, inverse: Float[Array, "b 3 3"]) -> Images:
    """Returns images whose pixel at (x, y, 1), from the centre, is that of the given ones at `inverse` times it."""
    rows, high, wide, channels = images.shape
    x = jnp.pad(images, ((0, 0), (high - 1,) * 2, (wide - 1,) * 2, (0, 0)), "reflect")
    taps = jnp.asarray(SYM6 / SYM6.sum(), images.dtype)
    for axis in (1, 2):
        x = _filtered(x, 2 * taps, axis, up=True)
    outs = [2 * (size + 2 * SUPPORT) for size in (high, wide)]
    # Pixels of the doubled result, from the centre; their places in the doubled image, then as indices.
    ys, xs = (jnp.arange(n) + 0.5 - n / 2 for n in outs)
    grid = jnp.stack(jnp.broadcast_arrays(xs[None], ys[:, None], jnp.ones(())), -1).reshape(-1, 3)  # [o 3]
    grid = (grid + jnp.array([[0.5, 0.5, 0]])) / jnp.array([[2, 2, 1.0]])
    where = jnp.einsum("bij,oj->boi", inverse[:, :2], grid, precision="highest") * 2 - 0.5
    where = where + jnp.array([[[x.shape[2] / 2 - 0.5, x.shape[1] / 2 - 0.5]]])
    x = _bilinear(x, where).reshape(rows, *outs, channels)
    x = x[:, 1:-1, 1:-1]
    for axis in (1, 2):
        x = _filtered(x, taps, axis, up=False)
    return x


def _filtered(x: jax.Array, taps: jax.Array, axis: int, *, up: bool) -> jax.Array:
    """One axis of [b h w c], of n pixels: doubled, y[2i] = sum_k f[2k + 1] x[i + 2 - k], y[2i + 1] = sum_k f[2k] x[i + 3 -
    k], with zeros outside; or halved, y[i] = sum_k f[k] x[2i + k]. Sums of slices are fast in every derivative.
    """

    def cut(start: int, length: int, step: int = 1) -> jax.Array:
        return jax.lax.slice_in_dim(x, start, start + (length - 1) * step + 1, step, axis)

    size = x.shape[axis]
    if not up:
        return sum(taps[k] * cut(k, (size - len(taps)) // 2 + 1, 2) for k in range(len(taps)))  # type: ignore[return-value]
    x = jnp.pad(x, [(3, 3) if i == axis else (0, 0) for i in range(x.ndim)])
    even = sum(taps[2 * k + 1] * cut(5 - k, size) for k in range(6))
    odd = sum(taps[2 * k] * cut(6 - k, size) for k in range(6))
    both = jnp.stack([even, odd], axis + 1)
    return both.reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])


def _bilinear(x: jax.Array, where: jax.Array) -> jax.Array:
    """[b h w c] at [b o 2], indices (x, y) -> [b o c]; outside is 0."""
    rows, high, wide, channels = x.shape
    flat, low = x.reshape(rows, -1, channels), jnp.floor(where)
    last = jnp.array([[[wide - 1.0, high - 1.0]]])
    total = jnp.zeros((rows, where.shape[1], channels), x.dtype)
    for dx in (0, 1):
        for dy in (0, 1):
            at = low + jnp.array([[[dx, dy]]])
            share = jnp.prod(1 - jnp.abs(where - at), -1)
            inside = ((at >= 0) & (at <= last)).all(-1)
            i = jnp.clip(at, 0, last).astype(jnp.int32)
            found = jnp.take_along_axis(flat, (i[..., 1] * wide + i[..., 0])[..., None], 1)
            total = total + jnp.where(inside, share, 0)[..., None].astype(x.dtype) * found
    return total


def _coloured(images: jax.Array, key: Key, p: float | Array, luma_flip: bool) -> jax.Array:
    draws, channels = _Draws(key, images.shape[0]), images.shape[-1]

    def each(values: jax.Array) -> jax.Array:
        return values[:, :, None, None].astype(images.dtype)  # [b 1] -> [b 1 1 1]

    x = images + each(0.2 * draws(jax.random.normal, p))
    x = x * each(draws(_power(0.5), p, 1.0))
    flips = each(draws(lambda key, shape: jax.random.randint(key, shape, 0, 2).astype(jnp.float32), p))
    if luma_flip:
        x = x - 2 * flips * x.mean(-1, keepdims=True)
    angle = draws(_uniform, p) * jnp.float32(jnp.pi)
    if channels == 3:
        x = _hue(x, each(angle))
    s, mean = each(draws(_power(1.0), p, 1.0)), x.mean(-1, keepdims=True)
    return mean + s * (x - mean) if channels > 1 else x


def _hue(x: jax.Array, angle: jax.Array) -> jax.Array:
    """Colours turned about the axis of greys (1, 1, 1): Rodrigues' formula, with v = (1, 1, 1) / sqrt(3)."""
    mean = x.mean(-1, keepdims=True)
    across = (jnp.roll(x, 1, -1) - jnp.roll(x, -1, -1)) / jnp.sqrt(jnp.asarray(3, x.dtype))  # v x colour
    return mean + (x - mean) * jnp.cos(angle) + across * jnp.sin(angle)

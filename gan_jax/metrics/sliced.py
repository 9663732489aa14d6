"""The sliced Wasserstein distance of features, and of image patches at every scale (PGGAN: Karras et al. 2018,
arXiv:1710.10196, section 5).
"""

from functools import reduce

import numpy as np
from jaxtyping import Float, Shaped

from gan_jax.metrics import checks
from gan_jax.types import Array

COARSEST = 16  # pixels
PATCH, PATCHES = 7, 128  # side in pixels; patches per image and level
DIRECTIONS = 4 * 128
FLAT = 1e-6  # a channel of pixels in [0, 1] with a smaller standard deviation counts as constant
BINOMIAL = (1, 4, 6, 4, 1)  # over 16
ENTRIES = 2**24  # values of projections, or of pixels, in memory at a time


def sliced_wasserstein(real: Float[Array, "n d"], fake: Float[Array, "n d"], projections: int, seed: int) -> float:
    """Returns E_u W1(u.real, u.fake), the mean absolute difference of sorted projections, over random directions u.

    Directions are the columns of `default_rng(seed).normal(size=(d, projections))`, divided by their lengths. Computed
    in float64; in units of the features, 0 for equal sets. Raises ValueError for unequal counts or dimensions, fewer
    than one projection, or values that are not finite.
    """
    real, fake = checks.features(real, "real"), checks.features(fake, "fake")
    checks.one_width(real=real, fake=fake)
    checks.one_count(real, fake, "the sliced Wasserstein distance")
    if projections < 1:
        raise ValueError(f"at least 1 projection is needed; got {projections}")
    directions = _directions(np.random.default_rng(seed), real.shape[1], projections)
    return _distance(real.astype(np.float64), fake.astype(np.float64), directions)


def patch_sliced_wasserstein(
    real: Shaped[Array, "n h w c"], fake: Shaped[Array, "n h w c"], seed: int
) -> dict[str, float]:
    """Returns 1e3 times the sliced Wasserstein distance of 7x7 patches, for each level of the Laplacian pyramid.

    Keys are the shorter side of each level, and "mean": {"32": ..., "16": ..., "mean": ...}. Sides are halved until the
    shorter one is under 32, so the last level has 16 to 31 pixels. For each image and level 128 patches are taken at
    random places. Each channel, over all patches of one set, is normalised to mean 0 and standard deviation 1 (a
    constant channel to 0). There are 4 x 128 directions. The paper uses 16,384 images. Any number of channels is
    accepted, where the published program takes 3. With few images the values are not small even for equal
    distributions: compare them with those of two halves of the real images.

    For level l (0 the finest), `default_rng((seed, l))` draws, in this order, rows and columns of the real patches,
    rows and columns of the fake patches (integers), and the directions (normals). Images are floats in [-1, 1] or
    uint8. Pixels are float32, sums float64; the patches of one level at a time are in memory, 128 * 49 * c * 4 bytes
    for each image. Raises ValueError for unequal shapes, a side under 16 or one that cannot be halved, and values that
    are not finite or out of range.
    """
    real, fake = checks.images(real, "real"), checks.images(fake, "fake")
    checks.one_count(real, fake, "the sliced Wasserstein distance")
    if real.shape != fake.shape:
        raise ValueError(f"real images are {real.shape[1:]} and fake ones {fake.shape[1:]}: make them of one size")
    sizes = _sizes(*real.shape[1:3])
    out = {}
    for level, (h, w) in enumerate(sizes):
        rng = np.random.default_rng((seed, level))
        patches = [_patches(images, level, level == len(sizes) - 1, rng) for images in (real, fake)]
        directions = _directions(rng, patches[0].shape[1], DIRECTIONS).astype(np.float32)
        out[str(min(h, w))] = 1e3 * _distance(patches[0], patches[1], directions)
    return {**out, "mean": float(np.mean(list(out.values())))}


def measurable(height: int, width: int) -> bool:
    """Whether images of these sides have levels: at least 16 pixels, halved without rest until the shorter is under 32."""
    try:
        return bool(_sizes(height, width))
    except ValueError:
        return False


def _directions(rng: np.random.Generator, d: int, count: int) -> np.ndarray:
    directions = rng.normal(size=(d, count))
    return directions / np.linalg.norm(directions, axis=0)


def _distance(real: np.ndarray, fake: np.ndarray, directions: np.ndarray) -> float:
    """[n d], [n d], [d p] -> the mean over p directions of W1, computed for a few directions at a time."""
    total, at_once = 0.0, max(1, ENTRIES // len(real))
    for i in range(0, directions.shape[1], at_once):
        chunk = directions[:, i : i + at_once].T
        a, b = (np.sort(chunk @ x.T, axis=1) for x in (real, fake))  # [p n]
        total += np.abs(a - b).mean(1, dtype=np.float64).sum()
    return float(total / directions.shape[1])


def _sizes(h: int, w: int) -> list[tuple[int, int]]:
    """(height, width) of every level, the finest first."""
    if min(h, w) < COARSEST:
        raise ValueError(f"images of {h}x{w} pixels: the sides must be at least {COARSEST}")
    sizes = [(h, w)]
    while min(sizes[-1]) >= 2 * COARSEST:
        rows, columns = sizes[-1]
        if rows % 2 or columns % 2:
            raise ValueError(
                f"images of {h}x{w} pixels: a level of {rows}x{columns} cannot be halved; resize them to a power of 2"
            )
        sizes.append((rows // 2, columns // 2))
    return sizes


def _patches(images: np.ndarray, level: int, last: bool, rng: np.random.Generator) -> np.ndarray:
    """[n h w c] -> [n * PATCHES, c * PATCH * PATCH], float32, normalised."""
    n, h, w, c = images.shape
    places = [rng.integers(0, (side >> level) - PATCH + 1, (n, PATCHES)) for side in (h, w)]
    out = np.empty((n, PATCHES, c, PATCH, PATCH), np.float32)
    at_once = max(1, ENTRIES // images[0].size)
    for i in range(0, n, at_once):
        block = _level(checks.scaled(images[i : i + at_once], np.float32), level, last)
        windows = np.lib.stride_tricks.sliding_window_view(block, (PATCH, PATCH), (1, 2))  # [b h' w' c 7 7]
        rows, columns = (place[i : i + at_once] for place in places)
        out[i : i + at_once] = windows[np.arange(len(block))[:, None], rows, columns]
    for channel in range(c):  # in place, since the patches take most of the memory
        values = out[:, :, channel]
        values -= values.mean(dtype=np.float64)
        std = np.sqrt(np.einsum("npij,npij->", values, values, dtype=np.float64) / values.size)
        values /= std if std > FLAT else np.inf
    return out.reshape(n * PATCHES, -1)


def _level(images: np.ndarray, level: int, last: bool) -> np.ndarray:
    """[b h w c] -> one level of the Laplacian pyramid: the detail that halving loses, or at the last level the rest."""
    for _ in range(level):
        images = _smoothed(images)[:, ::2, ::2]
    if last:
        return images
    b, h, w, c = images.shape
    spread = np.zeros((b, h, w, c), images.dtype)
    spread[:, ::2, ::2] = 4 * _smoothed(images)[:, ::2, ::2]  # 4, because three of four pixels are 0
    return images - _smoothed(spread)


def _smoothed(images: np.ndarray) -> np.ndarray:
    """[b h w c] filtered by [1 4 6 4 1] / 16 along both sides; borders are mirrored without repeating the edge."""
    for axis in (1, 2):
        size = images.shape[axis]
        padded = np.pad(images, [(2, 2) if i == axis else (0, 0) for i in range(4)], "reflect")
        shifted = (weight / 16 * padded.take(range(i, i + size), axis) for i, weight in enumerate(BINOMIAL))
        images = reduce(np.add, shifted)
    return images

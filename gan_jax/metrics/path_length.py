"""Perceptual path length: how much the generator's image changes for a small step of its latent (StyleGAN: Karras et
al. 2019, arXiv:1812.04948, section 4.1).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from gan_jax.types import Array

EPSILON = 1e-4
AT_ONCE = 500  # images in one call of the generator


def lerp(start: Float[np.ndarray, "n z"], end: Float[np.ndarray, "n z"], t: Float[np.ndarray, " n"]) -> np.ndarray:
    """Returns (1 - t) start + t end [n z]: interpolation in an intermediate latent space, W."""
    return start + t[:, None] * (end - start)


def slerp(start: Float[np.ndarray, "n z"], end: Float[np.ndarray, "n z"], t: Float[np.ndarray, " n"]) -> np.ndarray:
    """Returns spherical interpolations [n z] between normally distributed latents, Z.

    The direction moves along the great circle at constant speed, and the length changes linearly. The paper
    interpolates directions only, because its generator normalises its latent; for generators that do not, interpolating
    the length as well keeps the points where normal latents lie. Raises ValueError for a latent of length 0, or
    opposite latents.
    """
    lengths = [np.linalg.norm(x, axis=1, keepdims=True) for x in (start, end)]  # [n 1]
    if any((length == 0).any() for length in lengths):
        raise ValueError("a latent of length 0 has no direction to turn from: draw latents from a normal distribution")
    one, two = start / lengths[0], end / lengths[1]
    along = (one * two).sum(1, keepdims=True)
    across = two - along * one
    size = np.linalg.norm(across, axis=1, keepdims=True)
    if ((size < 1e-12) & (along < 0)).any():
        raise ValueError(
            "opposite latents have no one great circle between them: draw latents of more than one dimension"
        )
    angle = np.arctan2(size, along) * t[:, None]
    direction = np.cos(angle) * one + np.sin(angle) * across / np.where(size == 0, 1, size)
    return lerp(lengths[0], lengths[1], t) * direction


def path_length(
    gen: Callable[[np.ndarray], Any],
    distance: Callable[[Any, Any], Array],
    start: Float[Array, "n z"],
    end: Float[Array, "n z"],
    t: Float[Array, " n"],
    *,
    between: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
) -> float:
    """Returns E distance(gen(z(t)), gen(z(t + eps))) / eps^2, without values outside the 1st to 99th percentile.

    eps is 1e-4. z(t) = between(start, end, t): `slerp` for latents z (equation 2), `lerp` where gen takes w (equation
    3; start and end are then mapped latents). t is [n] in [0, 1]: uniform for whole paths, zeros for their ends. `gen`
    is the generator in evaluation mode, [b z] -> [b ...]; `distance` takes two such batches and returns squared feature
    distances [b]. The paper uses 100,000 pairs. The value is in units of `distance`: 0 for a constant generator, |A
    (end - start)|^2 for gen(w) = A w with the squared Euclidean distance.

    Latents are interpolated, and passed to gen, in float64; gen chooses its own precision. In float64 the finite
    difference has a relative error of about eps = 1e-4, from curvature. In float32, JAX's default, rounding of relative
    size u, 6e-8 or more, adds about 2 u^2 / eps^2 times the sum of squares of the outputs whose difference is taken.
    Measured for generators of one layer, this is 1e-7 to 2e-5 of that sum: 5e-6 of the value where the output changes
    by its own size along a path, 4e-4 where it changes by a hundredth of it. Deep generators round more; bfloat16 (u =
    4e-3) gives noise alone.

    The percentiles are observed values, the next ones outward, so that with fewer than 102 pairs none is left out.
    Raises ValueError for latents of unequal shapes, empty or not finite, t outside [0, 1], and distances that are not
    [b], not finite or negative.
    """
    start, end, t = (np.asarray(x, np.float64) for x in (start, end, t))
    if start.ndim != 2 or not start.size or start.shape != end.shape:
        raise ValueError(f"latents must be two arrays [n z], n and z at least 1; got {start.shape} and {end.shape}")
    if not (np.isfinite(start).all() and np.isfinite(end).all()):
        raise ValueError("latents hold values that are not finite")
    if t.shape != start.shape[:1]:
        raise ValueError(f"t must be [n], one number for each of {len(start)} pairs; got shape {t.shape}")
    if not ((t >= 0) & (t <= 1)).all():
        raise ValueError(f"t must lie in [0, 1]; got {t.min()} to {t.max()}")
    values = []
    for i in range(0, len(t), AT_ONCE):
        a, b, now = start[i : i + AT_ONCE], end[i : i + AT_ONCE], t[i : i + AT_ONCE]
        moved = np.asarray(distance(gen(between(a, b, now)), gen(between(a, b, now + EPSILON))), np.float64)
        if moved.shape != now.shape:
            raise ValueError(f"distance must give [b] numbers, {now.shape} here; got shape {moved.shape}")
        if not (np.isfinite(moved) & (moved >= 0)).all():
            raise ValueError(f"distances must be finite and from 0 up; got {moved.min()} to {moved.max()}")
        values.append(moved / EPSILON**2)
    lengths = np.concatenate(values)
    low, high = np.percentile(lengths, 1, method="lower"), np.percentile(lengths, 99, method="higher")
    return float(lengths[(low <= lengths) & (lengths <= high)].mean())

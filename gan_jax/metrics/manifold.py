"""Quality and variety apart: precision, recall (arXiv:1904.06991), density and coverage (Naeem et al. 2020,
arXiv:2002.09797).
"""

import numpy as np
from jaxtyping import Float

from gan_jax.types import Array


def _distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """[m n] Euclidean distances, from |x|^2 + |y|^2 - 2 x.y in float64."""
    squared = (x**2).sum(1)[:, None] + (y**2).sum(1)[None] - 2 * x @ y.T
    return np.sqrt(np.clip(squared, 0, None))


def prdc(real: Float[Array, "m d"], fake: Float[Array, "n d"], k: int = 5) -> dict[str, float]:
    """Of balls around each example that reach its k-th nearest neighbour of the same set (itself not counted), strictly
    inside:

    precision: share of fakes in some real ball; recall: share of reals in some fake ball; density: real balls a fake
    lies in, divided by k, averaged over fakes; coverage: share of reals whose ball holds a fake. In [0, 1], density in
    [0, n/k]. Memory is O(m^2 + mn + n^2). Agrees with the authors' package `prdc`, but for sets with exact duplicates,
    whose balls have no interior: there rounding decides in both. ValueError for unequal dimensions, k not below both
    counts, or values that are not finite.
    """
    real, fake = np.asarray(real, np.float64), np.asarray(fake, np.float64)
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise ValueError(f"features must be [m d] and [n d] of one d; got {real.shape} and {fake.shape}")
    for name, x in (("real", real), ("fake", fake)):
        if not np.isfinite(x).all():
            raise ValueError(f"{name} features hold {np.count_nonzero(~np.isfinite(x))} values that are not finite")
    if not 1 <= k < min(len(real), len(fake)):
        raise ValueError(
            f"k = {k} neighbours need more than {k} examples of each kind; got {len(real)} real and {len(fake)} fake"
        )
    real_radius = np.partition(_distances(real, real), k, axis=1)[:, k]  # column 0 is the example itself
    fake_radius = np.partition(_distances(fake, fake), k, axis=1)[:, k]
    between = _distances(real, fake)  # [m n]
    in_real = between < real_radius[:, None]
    return {
        "precision": float(in_real.any(0).mean()),
        "recall": float((between < fake_radius[None]).any(1).mean()),
        "density": float(in_real.sum(0).mean() / k),
        "coverage": float(in_real.any(1).mean()),
    }

"""The Fréchet distance between Gaussians fitted to two sets of features (Heusel et al. 2017, arXiv:1706.08500, equation
6).
"""

import numpy as np
from jaxtyping import Float

from gan_jax.types import Array


def frechet(real: Float[Array, "m d"], fake: Float[Array, "n d"]) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), covariances with n - 1; in units of features squared, 0 where both
    moments agree.

    tr (C1 C2)^(1/2) = tr (C1^(1/2) C2 C1^(1/2))^(1/2) is taken by symmetric eigenvalues in float64, which is sound for
    singular covariances too. ValueError for unequal dimensions, fewer than two rows, or values that are not finite.
    """
    moments = []
    for name, x in (("real", np.asarray(real, np.float64)), ("fake", np.asarray(fake, np.float64))):
        if x.ndim != 2 or len(x) < 2:
            raise ValueError(f"{name} features must be [n d] with n at least 2; got {x.shape}")
        if not np.isfinite(x).all():
            raise ValueError(f"{name} features hold {np.count_nonzero(~np.isfinite(x))} values that are not finite")
        mean = x.mean(0)
        moments.append((mean, (x - mean) / np.sqrt(len(x) - 1)))
    (mean1, x1), (mean2, x2) = moments  # C = x^T x
    if mean1.shape != mean2.shape:
        raise ValueError(f"real features have {len(mean1)} dimensions and fake ones {len(mean2)}")
    if len(mean1) > max(len(x1), len(x2)):
        # The same trace is the sum of the singular values of x1 x2^T: [m n], where the covariances would be [d d].
        cross = np.linalg.svd(x1 @ x2.T, compute_uv=False).sum()
    else:
        values, vectors = np.linalg.eigh(x1.T @ x1)
        root = vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T  # C1^(1/2); rounding leaves tiny negative values
        cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ (x2.T @ x2) @ root), 0, None)).sum()
    return float(np.sum((mean1 - mean2) ** 2) + np.sum(x1**2) + np.sum(x2**2) - 2 * cross)

"""The Fréchet distance between Gaussians fitted to two sets of features (Heusel et al. 2017, arXiv:1706.08500, equation
6), from moments that are accumulated batch by batch.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from gan_jax.metrics import checks
from gan_jax.types import Array

BLOCK = 4_096  # rows that are converted to float64 at a time


class Moments(NamedTuple):
    """Number, mean and scatter matrix, the sum of (x - mean)(x - mean)^T, of n feature vectors; in float64."""

    n: int
    mean: np.ndarray  # [d]
    scatter: np.ndarray  # [d d]

    @property
    def covariance(self) -> np.ndarray:
        """The sample covariance [d d], with n - 1 in the denominator."""
        return self.scatter / (self.n - 1)


def moments(batches: Iterable[Array]) -> Moments:
    """Returns the moments of all rows of all batches [n d]; no batch is kept in memory.

    The scatter of each block is taken about the block's own mean and merged by the update of Chan et al. 1979, so that
    no precision is lost where the mean is large compared with the deviations. Raises ValueError for batches that are
    not [n d] with the same d, values that are not finite, or fewer than two rows in total.
    """
    count, mean, scatter = 0, np.zeros(0), np.zeros((0, 0))
    for batch in batches:
        if batch.ndim != 2 or (count and batch.shape[1] != len(mean)):
            raise ValueError(
                f"features must be [n d] of one d; got {batch.shape}{f' after d = {len(mean)}' if count else ''}"
            )
        for begin in range(0, len(batch), BLOCK):
            x = np.asarray(batch[begin : begin + BLOCK], np.float64)
            if not np.isfinite(x).all():
                raise ValueError(f"features hold {np.count_nonzero(~np.isfinite(x))} values that are not finite")
            if not count:
                mean, scatter = np.zeros(x.shape[1]), np.zeros((x.shape[1],) * 2)
            block_mean = x.mean(0)
            shift, total = block_mean - mean, count + len(x)
            x = x - block_mean
            scatter = scatter + x.T @ x + np.outer(shift, shift) * (count * len(x) / total)
            count, mean = total, mean + shift * (len(x) / total)
    if count < 2:
        raise ValueError(f"a covariance needs at least two feature vectors; got {count}")
    return Moments(count, mean, scatter)


def frechet_distance(real: Moments, fake: Moments) -> float:
    """Returns |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), in units of features squared, 0 where both moments agree.

    tr (C1 C2)^(1/2) = tr (C1^(1/2) C2 C1^(1/2))^(1/2) is computed from eigenvalues of symmetric matrices, which also
    works for singular covariances, such as those of fewer examples than dimensions. Raises ValueError for unequal
    dimensions.
    """
    if real.mean.shape != fake.mean.shape:
        raise ValueError(f"real features have {len(real.mean)} dimensions and fake ones {len(fake.mean)}")
    values, vectors = np.linalg.eigh(real.covariance)
    root = vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T  # rounding leaves tiny negative values
    product = root @ fake.covariance @ root
    cross = np.sqrt(np.clip(np.linalg.eigvalsh((product + product.T) / 2), 0, None)).sum()
    trace = np.trace(real.covariance) + np.trace(fake.covariance) - 2 * cross
    return float(np.sum((real.mean - fake.mean) ** 2) + trace)


def frechet(real: Float[Array, "m d"], fake: Float[Array, "n d"]) -> float:
    """Returns `frechet_distance` of the moments of two arrays of features.

    Where both have fewer examples than dimensions, the same value is computed without covariances, at less cost:
    tr (C1 C2)^(1/2) is the sum of the singular values of X1 X2^T, where each X is centred and divided by sqrt(n - 1).
    That matrix is [m n], where the covariances would be [d d]. Raises ValueError for unequal dimensions, fewer than two
    rows, or values that are not finite.
    """
    real, fake = checks.features(real, "real", 2), checks.features(fake, "fake", 2)
    checks.one_width(real=real, fake=fake)
    if real.shape[1] <= max(len(real), len(fake)):
        return frechet_distance(moments([real]), moments([fake]))
    means, centred = [], []
    for x in (real, fake):
        x = x.astype(np.float64)
        means.append(x.mean(0))
        centred.append((x - means[-1]) / np.sqrt(len(x) - 1))
    cross = np.linalg.svd(centred[0] @ centred[1].T, compute_uv=False).sum()
    return float(np.sum((means[0] - means[1]) ** 2) + sum(np.sum(x**2) for x in centred) - 2 * cross)


def frechet_infinity(
    real: Moments, fake: Float[Array, "n d"], least: int = 5_000, points: int = 15, seed: int = 0
) -> float:
    """Estimates the Fréchet distance that infinitely many fakes would have, in units of features squared.

    FID has a bias that is linear in 1 / n. It is computed for `points` numbers of fakes, evenly spaced from `least` to
    all of them, each time on a random subset without replacement; a line fitted over 1 / n by least squares is
    evaluated at 0 (Chong and Forsyth 2020, arXiv:1911.07023, section 3). The bias from the finite number of real
    examples is not removed. Raises ValueError unless 2 <= least < n and points is at least 2.
    """
    if not 2 <= least < len(fake) or points < 2:
        raise ValueError(
            f"FID infinity needs 2 <= least < fakes and 2 points; got {least}, {len(fake)} fakes, {points} points"
        )
    rng = np.random.default_rng(seed)
    counts = np.linspace(least, len(fake), points).astype(int)
    values = [frechet_distance(real, moments([fake[rng.permutation(len(fake))[:count]]])) for count in counts]
    return float(np.polyfit(1 / counts, values, 1)[1])


def intra_frechet(
    real: Float[Array, "m d"], real_labels: np.ndarray, fake: Float[Array, "n d"], fake_labels: np.ndarray
) -> dict[int, float]:
    """Returns the Fréchet distance between the real and the fake examples of each class, by class.

    Its mean over classes is the intra-class FID of a conditional generator (Miyato and Koyama 2018, arXiv:1802.05637,
    section 4). The classes are those of the real labels. Raises ValueError where labels and features differ in number,
    or a class has fewer than two real or two fake examples.
    """
    if len(real) != len(real_labels) or len(fake) != len(fake_labels):
        raise ValueError(
            f"{len(real)} real and {len(fake)} fake features with {len(real_labels)} and {len(fake_labels)} labels"
        )
    distances = {}
    for label in np.unique(real_labels):
        pair = [x[np.asarray(labels) == label] for x, labels in ((real, real_labels), (fake, fake_labels))]
        if min(map(len, pair)) < 2:
            raise ValueError(
                f"class {label} has {len(pair[0])} real and {len(pair[1])} fake features: two of each are needed"
            )
        distances[int(label)] = frechet(*pair)
    return distances

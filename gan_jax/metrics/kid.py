"""The kernel distance KID: the squared maximum mean discrepancy of features under a cubic kernel (Binkowski et al. 2018,
arXiv:1801.01401, section 4). Unbiased, so unlike the Fréchet distance it can be compared between numbers of samples.
"""

import numpy as np
from jaxtyping import Float

from gan_jax.metrics import checks
from gan_jax.types import Array, Estimate

BLOCK = 2_048  # rows of a block of the kernel matrix


def kid(
    real: Float[Array, "m d"], fake: Float[Array, "n d"], subsets: int = 100, size: int = 1_000, seed: int = 2020
) -> Estimate:
    """The mean over `subsets` of the unbiased estimate from `size` real and `size` fake examples, each drawn without
    replacement; 0 in expectation where the distributions agree, and negative then for half of the draws. Subsets and
    defaults are those of torch-fidelity. ValueError for fewer than `size` examples, or as in `mmd2`.
    """
    real, fake = np.asarray(real), np.asarray(fake)
    if not 2 <= size <= min(len(real), len(fake)) or subsets < 1:
        raise ValueError(
            f"KID of {subsets} subsets of {size} examples needs that many of each kind; got {len(real)} real and {len(fake)} fake"
        )
    rng = np.random.RandomState(seed)
    values = []
    for _ in range(subsets):
        # The fakes first, as torch-fidelity draws them.
        other = fake[rng.choice(len(fake), size, replace=False)]
        values.append(mmd2(real[rng.choice(len(real), size, replace=False)], other))
    return Estimate(float(np.mean(values)), float(np.std(values)))


def mmd2(real: Float[Array, "m d"], fake: Float[Array, "n d"]) -> float:
    """The unbiased estimate from all examples: the mean of k over pairs of different reals, plus that over pairs of
    different fakes, minus twice the mean over all real and fake, with k(x, y) = (x.y / d + 1)^3, in float64.

    In blocks, so that memory does not grow with m n. ValueError for unequal dimensions, fewer than two examples, or values
    that are not finite.
    """
    real, fake = checks.features(real, "real", 2), checks.features(fake, "fake", 2)
    checks.one_width(real=real, fake=fake)
    real, fake = real.astype(np.float64), fake.astype(np.float64)
    within = [(_total(x, x) - _cube((x**2).sum(1), x.shape[1]).sum()) / (len(x) * (len(x) - 1)) for x in (real, fake)]
    return float(sum(within) - 2 * _total(real, fake) / (len(real) * len(fake)))


def _total(x: np.ndarray, y: np.ndarray) -> float:
    """The sum of k over all pairs; of one set with itself from half of them, as k(x, y) = k(y, x)."""
    total, same = 0.0, x is y
    for i in range(0, len(x), BLOCK):
        for j in range(i if same else 0, len(y), BLOCK):
            block = _cube(x[i : i + BLOCK] @ y[j : j + BLOCK].T, x.shape[1]).sum()
            total += 2 * block if same and j > i else block
    return total


def _cube(inner: np.ndarray, dimensions: int) -> np.ndarray:
    value = inner / dimensions + 1
    return value * value * value  # ** 3 takes many times as long

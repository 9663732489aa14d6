"""The kernel inception distance (KID): the squared maximum mean discrepancy of features under a cubic kernel (Binkowski
et al. 2018, arXiv:1801.01401, section 4). It is unbiased, so that, unlike Fréchet distances, values from different
numbers of samples can be compared.
"""

import numpy as np
from jaxtyping import Float

from gan_jax.metrics import checks
from gan_jax.types import Array, Estimate

BLOCK = 2_048  # rows of a block of the kernel matrix


def kid(
    real: Float[Array, "m d"], fake: Float[Array, "n d"], subsets: int = 100, size: int = 1_000, seed: int = 2020
) -> Estimate:
    """Returns mean and standard deviation over `subsets` of the unbiased estimate (`mmd2`) on random subsets.

    Each subset has `size` real and `size` fake examples, drawn without replacement. Where both distributions agree the
    expectation is 0, and about half of the estimates are negative. Subsets and defaults are those of torch-fidelity.
    Raises ValueError for fewer than `size` examples of either kind, and where `mmd2` does.
    """
    real, fake = np.asarray(real), np.asarray(fake)
    if not 2 <= size <= min(len(real), len(fake)) or subsets < 1:
        raise ValueError(
            f"KID of {subsets} subsets of {size} examples needs that many of each kind; got {len(real)} real and {len(fake)} fake"
        )
    rng = np.random.RandomState(seed)
    values = []
    for _ in range(subsets):
        # The fakes are drawn first, as in torch-fidelity.
        other = fake[rng.choice(len(fake), size, replace=False)]
        values.append(mmd2(real[rng.choice(len(real), size, replace=False)], other))
    return Estimate(float(np.mean(values)), float(np.std(values)))


def mmd2(real: Float[Array, "m d"], fake: Float[Array, "n d"]) -> float:
    """Returns the unbiased estimate of the squared MMD from all examples, with k(x, y) = (x.y / d + 1)^3, in float64.

    It is the mean of k over pairs of different reals, plus the mean over pairs of different fakes, minus twice the mean
    over all pairs of a real and a fake. The kernel matrix is computed in blocks, so that memory does not grow with m n.
    Raises ValueError for unequal dimensions, fewer than two examples, or values that are not finite.
    """
    real, fake = checks.features(real, "real", 2), checks.features(fake, "fake", 2)
    checks.one_width(real=real, fake=fake)
    real, fake = real.astype(np.float64), fake.astype(np.float64)
    within = [(_total(x, x) - _cube((x**2).sum(1), x.shape[1]).sum()) / (len(x) * (len(x) - 1)) for x in (real, fake)]
    return float(sum(within) - 2 * _total(real, fake) / (len(real) * len(fake)))


def _total(x: np.ndarray, y: np.ndarray) -> float:
    """Sum of k over all pairs. For x is y only half of the blocks are computed, since k(x, y) = k(y, x)."""
    total, same = 0.0, x is y
    for i in range(0, len(x), BLOCK):
        for j in range(i if same else 0, len(y), BLOCK):
            block = _cube(x[i : i + BLOCK] @ y[j : j + BLOCK].T, x.shape[1]).sum()
            total += 2 * block if same and j > i else block
    return total


def _cube(inner: np.ndarray, dimensions: int) -> np.ndarray:
    value = inner / dimensions + 1
    return value * value * value  # value**3 takes many times as long

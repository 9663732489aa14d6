"""Quality and variety measured separately: precision and recall (Kynkäänniemi et al. 2019, arXiv:1904.06991), density
and coverage (Naeem et al. 2020, arXiv:2002.09797), in bounded memory.
"""

import numpy as np
from jaxtyping import Float

from gan_jax.metrics import checks
from gan_jax.types import Array

BLOCK = 1_000  # rows of a block of distances


def precision_recall(real: Float[Array, "m d"], fake: Float[Array, "n d"], k: int = 3) -> dict[str, float]:
    """Returns improved precision and recall, each in [0, 1] (arXiv:1904.06991, equations 1 and 2).

    precision: the share of fakes that lie in the ball of some real example, whose radius is the distance to its k-th
    nearest other real example. recall: the same with the roles exchanged. A ball includes its border, as in the
    authors' code and in torch-fidelity. Memory and errors are those of `prdc`.
    """
    real, fake = _checked(real, fake, k)
    real_radius, fake_radius = _radii(real, k), _radii(fake, k)
    precision, recall = np.zeros(len(fake), bool), np.zeros(len(real), bool)
    norms = _norms(fake)
    for rows in _blocks(real):
        between = _squared(real[rows], fake, norms)  # [block n]
        precision |= (between <= real_radius[rows, None]).any(0)
        recall[rows] = (between <= fake_radius).any(1)
    return {"precision": float(precision.mean()), "recall": float(recall.mean())}


def prdc(real: Float[Array, "m d"], fake: Float[Array, "n d"], k: int = 5) -> dict[str, float]:
    """Returns precision, recall, density and coverage from balls of nearest neighbours.

    The ball of an example reaches to its k-th nearest neighbour in its own set, itself not counted; its border is
    excluded.
    precision: the share of fakes in at least one real ball. recall: the share of reals in at least one fake ball.
    density: the mean over fakes of the number of real balls that contain it, divided by k.
    coverage: the share of reals whose ball contains a fake.
    All are in [0, 1], except density in [0, m/k]. Distances are computed in float64, in blocks: memory is O((m + n) (d
    + 1,000)). Agrees with the authors' package `prdc`, except for sets with exact duplicates, whose balls may be empty:
    there rounding decides in both. Raises ValueError for unequal dimensions, k below 1 or not below both counts, or
    values that are not finite.
    """
    real, fake = _checked(real, fake, k)
    real_radius, fake_radius = _radii(real, k), _radii(fake, k)
    inside = np.zeros(len(fake), int)  # [n], the number of real balls that contain each fake
    recall, coverage = np.zeros(len(real), bool), np.zeros(len(real), bool)
    norms = _norms(fake)
    for rows in _blocks(real):
        between = _squared(real[rows], fake, norms)  # [block n]
        in_real = between < real_radius[rows, None]
        inside += in_real.sum(0)
        coverage[rows] = in_real.any(1)
        recall[rows] = (between < fake_radius).any(1)
    return {
        "precision": float((inside > 0).mean()),
        "recall": float(recall.mean()),
        "density": float(inside.mean() / k),
        "coverage": float(coverage.mean()),
    }


def _checked(real: Array, fake: Array, k: int) -> tuple[np.ndarray, np.ndarray]:
    real, fake = checks.features(real, "real"), checks.features(fake, "fake")
    checks.one_width(real=real, fake=fake)
    if not 1 <= k < min(len(real), len(fake)):
        raise ValueError(
            f"k = {k} neighbours need more than {k} examples of each kind; got {len(real)} real and {len(fake)} fake"
        )
    return real.astype(np.float64), fake.astype(np.float64)


def _blocks(x: np.ndarray) -> list[slice]:
    return [slice(begin, begin + BLOCK) for begin in range(0, len(x), BLOCK)]


def _norms(x: np.ndarray) -> np.ndarray:
    """[n], the squared lengths."""
    return np.einsum("nd,nd->n", x, x)  # without x * x, which is as large as x


def _squared(x: np.ndarray, y: np.ndarray, y_norms: np.ndarray) -> np.ndarray:
    """[m n], the squared distances |x|^2 + |y|^2 - 2 x.y."""
    squared = x @ y.T
    squared *= -2
    squared += _norms(x)[:, None]
    squared += y_norms
    return squared


def _radii(x: np.ndarray, k: int) -> np.ndarray:
    """[n], the squared distance of each example to its k-th nearest other; index 0 is the example itself."""
    norms, radii = _norms(x), np.empty(len(x))
    for rows in _blocks(x):
        block = _squared(x[rows], x, norms)
        block.partition(k, axis=1)
        radii[rows] = block[:, k]  # a copy: a list of such columns would keep every block
    return radii

"""Nearest neighbours in bounded memory, tests for copies of the training set, and two-sample tests of real
against fake.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from gan_jax.metrics import checks
from gan_jax.types import Array

SPARE = 8  # candidates in addition to the k nearest
ENTRIES = 2**24  # values of distances, or of features of candidates, in memory at a time


class Memorised(NamedTuple):
    """Distances of fakes to the training set, compared with those of held-out real samples."""

    nearest: np.ndarray  # [n] int64, the training row nearest to each fake
    distances: np.ndarray  # [n] float64, to that row
    ratio: float  # median distance of the fakes / that of held-out samples; 1: as new as real samples, 0: copies
    share: float  # P(a fake is nearer to the training set than a held-out sample is); 0.5: new samples, 1: copies
    z: float  # the same as a Mann-Whitney statistic: standard normal for new samples, far below 0 for copies


def nearest(
    queries: Float[Array, "m d"], keys: Float[Array, "n d"], k: int
) -> tuple[Float[np.ndarray, "m k"], Int[np.ndarray, "m k"]]:
    """Returns the distances [m k] to the k nearest keys of each query, nearest first, and the rows [m k] of these keys.

    Distances are Euclidean, in float64. k + 8 candidates are found by |q|^2 + |x|^2 - 2 q.x in float32 on centred
    features, and their distances are computed from differences in float64. Queries for which rounding in float32 could
    have hidden a nearer key are repeated in float64. Among keys at equal distances the choice is arbitrary. Where
    queries and keys are the same set, each row finds itself: ask for k + 1. Memory is a centred float32 copy of the
    keys (float64 for the repeated queries), and a few arrays of 2^24 values. Raises ValueError for unequal dimensions,
    k not in 1..n, or values that are not finite.
    """
    queries, keys = checks.features(queries, "query"), checks.features(keys, "key")
    checks.one_width(query=queries, key=keys)
    if not 1 <= k <= len(keys):
        raise ValueError(f"k = {k} neighbours of {len(keys)} keys: k must be between 1 and their number")
    candidates = min(k + SPARE, len(keys))
    centre = keys.mean(0, dtype=np.float64)
    furthest = [max((x.max(0) - centre).max(), (centre - x.min(0)).max()) for x in (queries, keys)]
    scale = float(max(furthest)) or 1.0  # without scaling, squares may overflow
    rows = max(1, ENTRIES // max(len(keys), candidates * keys.shape[1]))
    distances, indices = np.empty((len(queries), k)), np.empty((len(queries), k), np.int64)
    unsure = np.arange(len(queries))
    for dtype in (np.float32, np.float64):
        if not len(unsure):
            break
        centred = np.empty(keys.shape, dtype)
        for i in range(0, len(keys), rows):
            centred[i : i + rows] = (keys[i : i + rows] - centre) / scale
        norms = np.einsum("nd,nd->n", centred, centred)
        slack = (keys.shape[1] / 2 + 8) * np.finfo(dtype).eps / 2  # worst-case relative error of a sum of d products
        unresolved = []
        for i in range(0, len(unsure), rows):
            chunk = unsure[i : i + rows]
            q = ((queries[chunk] - centre) / scale).astype(dtype)
            q_norms = np.einsum("md,md->m", q, q)
            rough = norms - 2 * q @ centred.T + q_norms[:, None]  # [m n]
            best = np.argpartition(rough, candidates - 1, axis=1)[:, :candidates]
            differences = queries[chunk, None].astype(np.float64) - keys[best]  # [m candidates d]
            exact = np.sqrt(np.einsum("mkd,mkd->mk", differences, differences))
            order = np.argsort(exact, axis=1, kind="stable")[:, :k]
            distances[chunk], indices[chunk] = (np.take_along_axis(x, order, 1) for x in (exact, best))
            if candidates < len(keys):
                last = np.take_along_axis(rough, best, 1).max(1)  # keys that are no candidates are not nearer than this
                error = slack * (np.sqrt(q_norms) + np.sqrt(norms.max())) ** 2
                unresolved.append(chunk[(distances[chunk, -1] / scale) ** 2 > last - error])
        unsure = np.concatenate(unresolved) if unresolved else unsure[:0]
    return distances, indices


def memorised(fake: Float[Array, "n d"], train: Float[Array, "m d"], test: Float[Array, "l d"]) -> Memorised:
    """Tests for data-copying: whether fakes are nearer to the training samples than held-out real samples are.

    This is the test of Meehan et al. 2020, arXiv:2004.05675, over the whole space; theirs averages over cells of it, so
    that copying in a single region may go unnoticed here. U is the sum over pairs of a fake and a held-out sample of
    1[d(fake) > d(test)], 1/2 for equal distances; share = 1 - U / (n l); z = (U - n l / 2) / sqrt(n l (n + l + 1) /
    12). `test` must have the distribution of `train` and no sample in common with it. Raises ValueError for unequal
    dimensions, no samples, values that are not finite, or where half of the held-out samples are training samples.
    """
    distances, rows = nearest(fake, train, 1)
    held_out = np.sort(nearest(test, train, 1)[0][:, 0])
    distances = distances[:, 0]
    if (usual := float(np.median(held_out))) == 0:
        raise ValueError(f"half of the {len(held_out)} held-out samples are training samples: hold out others")
    n, m = len(distances), len(held_out)
    u = (np.searchsorted(held_out, distances, "left") + np.searchsorted(held_out, distances, "right")).sum() / 2
    z = (u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
    return Memorised(rows[:, 0], distances, float(np.median(distances)) / usual, float(1 - u / (n * m)), float(z))


def one_nearest_neighbour(real: Float[Array, "n d"], fake: Float[Array, "n d"]) -> dict[str, float]:
    """Returns the leave-one-out accuracy of a real-against-fake 1-nearest-neighbour classifier, in [0, 1]; 0.5 is best.

    "real" and "fake": the share of each set whose nearest other sample is of the same set (ties count a half);
    "accuracy": their mean. Fakes that are copies of the real samples give 0. A low "real" and a high "fake" indicate
    mode collapse: fakes are near real samples, but nearer to each other. Lopez-Paz and Oquab 2017, arXiv:1610.06545; Xu
    et al. 2018, arXiv:1806.07755. Raises ValueError for unequal counts or dimensions, fewer than two of each, or values
    that are not finite.
    """
    real, fake = checks.features(real, "real", 2), checks.features(fake, "fake", 2)
    checks.one_width(real=real, fake=fake)
    checks.one_count(real, fake, "the 1-nearest-neighbour test")

    def share(own: np.ndarray, other: np.ndarray) -> float:
        inside = nearest(own, own, 2)[0][:, 1]  # column 0 is the sample itself, or an equal one
        across = nearest(own, other, 1)[0][:, 0]
        return float((inside < across).mean() + (inside == across).mean() / 2)

    shares = {"real": share(real, fake), "fake": share(fake, real)}
    return {"accuracy": (shares["real"] + shares["fake"]) / 2, **shares}


def classifier_two_sample(real: Float[Array, "n d"], fake: Float[Array, "n d"], seed: int) -> dict[str, float]:
    """Returns the held-out accuracy of a logistic regression of real against fake (0.5 is best), and its p-value.

    "p_value": P(N(1/2, 1 / (4 n_test)) >= accuracy), the probability of such an accuracy if both have the same
    distribution (normal approximation, Lopez-Paz and Oquab 2017, arXiv:1610.06545, section 3). A random half of each
    set, by `default_rng(seed)`, is fitted (standardised by its mean and deviation; scikit-learn's L2 penalty, C = 1),
    the other half tested. A linear classifier detects differences of means only: distributions with equal means pass,
    whatever else differs. Raises ValueError for unequal counts or dimensions, fewer than four of each, or values that
    are not finite.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    real, fake = checks.features(real, "real", 4), checks.features(fake, "fake", 4)
    checks.one_width(real=real, fake=fake)
    checks.one_count(real, fake, "the classifier two-sample test")
    rng, half = np.random.default_rng(seed), len(real) // 2
    real, fake = real[rng.permutation(len(real))], fake[rng.permutation(len(fake))]
    labels = np.repeat([0, 1], half)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    classifier.fit(np.concatenate([real[:half], fake[:half]]), labels)
    right = np.concatenate([classifier.predict(real[half:]) == 0, classifier.predict(fake[half:]) == 1])
    accuracy = float(right.mean())
    z = (accuracy - 0.5) * 2 * math.sqrt(len(right))
    return {"accuracy": accuracy, "p_value": math.erfc(z / math.sqrt(2)) / 2}

"""Nearest neighbours in bounded memory, and what they tell: whether samples repeat the training set, and whether they
can be told from real ones.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from gan_jax.metrics import checks
from gan_jax.types import Array

SPARE = 8  # candidates beside the k that are asked for
ENTRIES = 2**24  # of distances, or of features of candidates, at a time


class Memorised(NamedTuple):
    """How fakes lie to the training set, beside how held-out real samples do."""

    nearest: np.ndarray  # [n] int64, the training row nearest to each fake, to be looked at
    distances: np.ndarray  # [n] float64, to that row
    ratio: float  # median distance of the fakes over that of the held-out; 1: as new as real samples, 0: copies
    share: float  # P(a fake is nearer to the training set than a held-out sample is); 0.5 of fresh samples, 1 of copies
    z: float  # the same as a Mann-Whitney statistic, standard normal for fresh samples: far below 0 is copying


def nearest(
    queries: Float[Array, "m d"], keys: Float[Array, "n d"], k: int
) -> tuple[Float[np.ndarray, "m k"], Int[np.ndarray, "m k"]]:
    """Euclidean distances, in float64, to the k nearest keys of each query, the nearest first, and these keys' rows.

    k + 8 candidates are found with |q|^2 + |x|^2 - 2 q.x in float32 on centred features, and their distances computed
    from differences in float64. A query for which float32's rounding could have hidden a nearer key is done over in
    float64. Of keys at equal distances any may be named. A set's own rows are not left out: ask for k + 1.
    Beside a centred float32 copy of the keys (for the queries done over, a float64 one) it holds a few arrays of 2^24
    entries. ValueError for unequal dimensions, k not in 1..n, or values that are not finite.
    """
    queries, keys = checks.features(queries, "query"), checks.features(keys, "key")
    checks.one_width(query=queries, key=keys)
    if not 1 <= k <= len(keys):
        raise ValueError(f"k = {k} neighbours of {len(keys)} keys: k must be between 1 and their number")
    kept = min(k + SPARE, len(keys))
    centre = keys.mean(0, dtype=np.float64)
    furthest = [max((x.max(0) - centre).max(), (centre - x.min(0)).max()) for x in (queries, keys)]
    scale = float(max(furthest)) or 1.0  # or squares overflow
    rows = max(1, ENTRIES // max(len(keys), kept * keys.shape[1]))
    distances, indices = np.empty((len(queries), k)), np.empty((len(queries), k), np.int64)
    unsure = np.arange(len(queries))
    for dtype in (np.float32, np.float64):
        if not len(unsure):
            break
        around = np.empty(keys.shape, dtype)
        for i in range(0, len(keys), rows):
            around[i : i + rows] = (keys[i : i + rows] - centre) / scale
        norms = np.einsum("nd,nd->n", around, around)
        slack = (keys.shape[1] / 2 + 8) * np.finfo(dtype).eps / 2  # of a sum of d products, in the worst case
        left = []
        for i in range(0, len(unsure), rows):
            mine = unsure[i : i + rows]
            q = ((queries[mine] - centre) / scale).astype(dtype)
            q_norms = np.einsum("md,md->m", q, q)
            rough = norms - 2 * q @ around.T + q_norms[:, None]  # [m n]
            best = np.argpartition(rough, kept - 1, axis=1)[:, :kept]
            differences = queries[mine, None].astype(np.float64) - keys[best]  # [m kept d]
            exact = np.sqrt(np.einsum("mkd,mkd->mk", differences, differences))
            order = np.argsort(exact, axis=1, kind="stable")[:, :k]
            distances[mine], indices[mine] = (np.take_along_axis(x, order, 1) for x in (exact, best))
            if kept < len(keys):
                last = np.take_along_axis(rough, best, 1).max(1)  # whoever was not kept is no nearer than this
                error = slack * (np.sqrt(q_norms) + np.sqrt(norms.max())) ** 2
                left.append(mine[(distances[mine, -1] / scale) ** 2 > last - error])
        unsure = np.concatenate(left) if left else unsure[:0]
    return distances, indices


def memorised(fake: Float[Array, "n d"], train: Float[Array, "m d"], test: Float[Array, "l d"]) -> Memorised:
    """Whether fakes are nearer to the training samples than held-out real samples are: data-copying.

    The test of Meehan et al. 2020, arXiv:2004.05675, over the whole space (theirs is then averaged over its cells, so
    copying in one region alone may go unseen here): U = sum over fakes and held-out of 1[d(fake) > d(test)],
    1/2 for equal ones; share = 1 - U / (n l); z = (U - n l / 2) / sqrt(n l (n + l + 1) / 12).
    `test` must be drawn as `train` was and share nothing with it. ValueError for unequal dimensions, no samples, values
    that are not finite, or held-out samples half of which are training samples.
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
    """The leave-one-out accuracy of a 1-nearest-neighbour classifier of real against fake, in [0, 1], 0.5 at best.

    "real" and "fake": the share of each whose nearest other sample is of its own kind (equally near ones count a half);
    "accuracy": their mean. Fakes that are copies give 0; "real" low and "fake" high is a collapse, fakes near real
    samples but nearer to each other. Lopez-Paz and Oquab 2017, arXiv:1610.06545; Xu et al. 2018, arXiv:1806.07755.
    ValueError for unequal counts or dimensions, fewer than two of each, or values that are not finite.
    """
    real, fake = checks.features(real, "real", 2), checks.features(fake, "fake", 2)
    checks.one_width(real=real, fake=fake)
    checks.one_count(real, fake, "the 1-nearest-neighbour test")

    def share(own: np.ndarray, other: np.ndarray) -> float:
        inside = nearest(own, own, 2)[0][:, 1]  # the nearest is the sample itself, or one equal to it
        across = nearest(own, other, 1)[0][:, 0]
        return float((inside < across).mean() + (inside == across).mean() / 2)

    shares = {"real": share(real, fake), "fake": share(fake, real)}
    return {"accuracy": (shares["real"] + shares["fake"]) / 2, **shares}


def classifier_two_sample(real: Float[Array, "n d"], fake: Float[Array, "n d"], seed: int) -> dict[str, float]:
    """The accuracy of a logistic regression of real against fake on the half it was not fitted to, 0.5 at best.

    "p_value": P(N(1/2, 1 / (4 n_test)) >= accuracy), the chance to be so accurate when both have one law (normal
    approximation, Lopez-Paz and Oquab 2017, arXiv:1610.06545, section 3). n / 2 of each kind, by `default_rng(seed)`,
    are fitted (standardised by their own mean and deviation; scikit-learn's L2 penalty, C = 1), the others tested. A
    linear classifier sees differences of means: laws of equal means pass whatever else sets them apart. ValueError for
    unequal counts or dimensions, fewer than four of each, or values that are not finite.
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

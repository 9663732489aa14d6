"""What people say of samples, as numbers: error rates (HYPE), exposure times, agreement, and scores of pairs.

Answers are matrices [judges images]; NaN stands for an image that a judge has not judged. Intervals are of 95 %, by a
bootstrap over both judges and images (HYPE, Zhou et al. 2019, arXiv:1904.01121, bootstraps over judges).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

ROUNDS = 2_000  # of the bootstrap


class Interval(NamedTuple):
    """A value with its interval of 95 %; NaN where there is none."""

    value: float
    low: float
    high: float


def rate(wrong: Float[np.ndarray, "j n"], seed: int = 0) -> Interval:
    """Returns the share of answers that are wrong, of all that were given, in [0, 1].

    In HYPE this is the score of the unlimited protocol, in percent: 50 where people cannot tell, more where the samples
    look more real than real images. The interval is never narrower than Wilson's of as many answers, which a bootstrap
    of equal answers would be. Raises ValueError where there is no answer.
    """
    given = ~np.isnan(wrong)
    if not given.any():
        raise ValueError("no answer to take a rate of")
    filled = np.where(given, wrong, 0.0)

    def share(judges: np.ndarray, images: np.ndarray) -> float:
        """Of answers weighted by how often their judge and their image were drawn."""
        weights = judges @ given @ images
        return float(judges @ filled @ images / weights) if weights else np.nan

    found, n, z = bootstrapped(share, wrong.shape, seed), given.sum(), 1.96
    centre = (found.value + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * np.sqrt(found.value * (1 - found.value) / n + z**2 / (4 * n**2))
    low, high = min(found.low, centre - reach), max(found.high, centre + reach)
    return Interval(found.value, float(max(low, 0)), float(min(high, 1)))


def bootstrapped(
    statistic: Callable[[np.ndarray, np.ndarray], float], shape: tuple[int, int], seed: int = 0, rounds: int = ROUNDS
) -> Interval:
    """Returns `statistic(judges, images)` of float counts [j] and [n], with the interval from draws with replacement; a
    single judge, or a single image, is drawn every time. Draws whose statistic is NaN are left out.
    """
    value = statistic(np.ones(shape[0]), np.ones(shape[1]))
    drawn = [statistic(*counts) for counts in _draws(shape, seed, rounds)]
    finite = np.array(drawn)[np.isfinite(drawn)]
    low, high = np.quantile(finite, [0.025, 0.975]) if len(finite) else (np.nan, np.nan)
    return Interval(float(value), float(low), float(high))


def agreement(answers: Float[np.ndarray, "j n"]) -> float:
    """Returns Krippendorff's alpha of nominal answers: 1 where judges agree in all, 0 as by chance, below 0 where less.

    alpha = 1 - D_o / D_e, with D_o the share of pairs of different answers within images (each image weighted by its
    answers, of the images with two or more) and D_e that among all their answers (Krippendorff 2011, "Computing
    Krippendorff's alpha-reliability"). NaN where no image has two answers, or all answers are equal.
    """
    kinds = np.unique(answers[~np.isnan(answers)])
    counts = np.stack([(answers == kind).sum(0) for kind in kinds] or [np.zeros(answers.shape[1])]).astype(
        float
    )  # [k n]
    counts = counts[:, counts.sum(0) >= 2]
    each, total, all_kinds = counts.sum(0), counts.sum(), counts.sum(1)
    if total == 0 or (all_kinds > 0).sum() < 2:
        return float("nan")
    observed = ((each**2 - (counts**2).sum(0)) / (each - 1)).sum() / total
    expected = (total**2 - (all_kinds**2).sum()) / (total * (total - 1))
    return float(1 - observed / expected)


def modal(exposures: Sequence[float]) -> float:
    """Returns the most frequent exposure time of a judge's staircase, in ms, of equally frequent ones the mean: HYPE's
    score of the time-limited protocol, which is then averaged over judges.
    """
    values, counts = np.unique(np.asarray(exposures, float), return_counts=True)
    return float(values[counts == counts.max()].mean())


def bradley_terry(wins: Int[np.ndarray, "k k"] | Float[np.ndarray, "k k"]) -> Float[np.ndarray, "k"]:
    """Returns scores s [k], of mean 0, in which i is preferred to j with probability 1 / (1 + exp(s_j - s_i)).

    `wins[i, j]` counts how often i was preferred to j. To each pair that was shown, half a win is added on both sides,
    so that one that always won has a finite score. The maximum of the likelihood is found by Hunter's iteration (2004,
    "MM algorithms for generalized Bradley-Terry models", equation 3). Scores are NaN unless the pairs connect all.
    """
    shown = (wins + wins.T) > 0
    wins = wins + 0.5 * shown
    reached = np.linalg.matrix_power(np.eye(len(wins)) + shown, len(wins)) > 0
    if not reached.all():
        return np.full(len(wins), np.nan)
    games, strength = wins + wins.T, np.ones(len(wins))
    for _ in range(10_000):
        new = wins.sum(1) / (games / (strength[:, None] + strength)).sum(1)
        new /= np.exp(np.log(new).mean())
        if np.abs(np.log(new / strength)).max() < 1e-12:
            break
        strength = new
    return np.log(new)


def scores(
    first: Int[np.ndarray, "n"],
    second: Int[np.ndarray, "n"],
    preferred: Float[np.ndarray, "j n"],
    kinds: int,
    seed: int = 0,
) -> list[Interval]:
    """Returns the Bradley-Terry score of each of `kinds` contestants. Pair i sets first[i] beside second[i];
    `preferred` is 1 where a judge preferred the first, 0 where the second. The interval is never narrower than that of
    as many independent answers (`score_errors`), which a bootstrap of equal answers would be.
    """
    given = ~np.isnan(preferred)

    def won(judges: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        weights = judges[:, None] * given * pairs
        ahead, wins = np.where(given, preferred, 0.0), np.zeros((kinds, kinds))
        np.add.at(wins, (first, second), (weights * ahead).sum(0))
        np.add.at(wins, (second, first), (weights * (1 - ahead)).sum(0))
        return wins

    rounds = [bradley_terry(won(*counts)) for counts in _draws(preferred.shape, seed, ROUNDS // 4)]
    wins = won(np.ones(len(preferred)), np.ones(preferred.shape[1]))
    value = bradley_terry(wins)
    kept = np.array([each for each in rounds if np.isfinite(each).all()])
    low, high = np.quantile(kept, [0.025, 0.975], axis=0) if len(kept) else np.full((2, kinds), np.nan)
    reach = 1.96 * score_errors(wins, value)
    bounds = np.minimum(low, value - reach), np.maximum(high, value + reach)
    return [Interval(*map(float, each)) for each in zip(value, *bounds, strict=True)]


def score_errors(wins: Float[np.ndarray, "k k"], score: Float[np.ndarray, "k"]) -> Float[np.ndarray, "k"]:
    """Returns the standard errors of Bradley-Terry scores of mean 0 by the likelihood, with the half wins that
    `bradley_terry` adds: the root of the diagonal of the pseudo-inverse of the Fisher information, whose entry i, j is
    -n_ij p_ij (1 - p_ij), and whose rows sum to 0. NaN where scores are.
    """
    if not np.isfinite(score).all():
        return np.full(len(score), np.nan)
    games = wins + wins.T
    games = games + (games > 0)
    p = 1 / (1 + np.exp(score[None] - score[:, None]))
    information = -games * p * (1 - p)
    np.fill_diagonal(information, 0)
    np.fill_diagonal(information, -information.sum(1))
    mean = 1 / len(score)  # the projection on equal scores, by which the singular information is made regular
    return np.sqrt(np.diag(np.linalg.inv(information + mean)) - mean)


def _draws(shape: tuple[int, int], seed: int, rounds: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [
        tuple(np.bincount(rng.integers(0, n, n), minlength=n).astype(float) for n in shape)  # type: ignore[misc]
        for _ in range(rounds)
    ]


def matrix(
    answers: Sequence[Mapping[str, Any]], judges: Sequence[str], count: int, key: str
) -> Float[np.ndarray, "j n"]:
    """Returns `key` of answers {"judge", "item", key} as a matrix, NaN where there is none."""
    out = np.full((len(judges), count), np.nan)
    for answer in answers:
        out[judges.index(answer["judge"]), answer["item"]] = answer[key]
    return out

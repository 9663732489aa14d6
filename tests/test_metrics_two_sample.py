"""Nearest neighbours, and what is told by them, against scikit-learn, SciPy and closed forms."""

import math

import numpy as np
import pytest
import scipy.stats
from references.data import cases
from sklearn.neighbors import NearestNeighbors

from gan_jax.metrics import two_sample
from gan_jax.metrics.two_sample import classifier_two_sample, memorised, nearest, one_nearest_neighbour

SETS = cases()


def normal(n, d, seed):
    return np.random.default_rng(seed).normal(size=(n, d))


def exact(queries, keys, k):
    """The k least distances, from differences in float64, one query at a time."""
    queries, keys = np.asarray(queries, np.float64), np.asarray(keys, np.float64)
    return np.stack([np.sort(np.sqrt(((keys - query) ** 2).sum(1)))[:k] for query in queries])


# ---- nearest


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("k", [1, 5, 30])
@pytest.mark.parametrize("name", SETS)
def test_nearest_is_scikit_learns(name, k, dtype):
    keys, queries = (x.astype(dtype) for x in SETS[name])
    distances, indices = nearest(queries, keys, k)
    expected, _ = NearestNeighbors(n_neighbors=k, algorithm="kd_tree").fit(keys).kneighbors(queries)
    assert distances.dtype == np.float64 and distances.shape == indices.shape == (len(queries), k)
    np.testing.assert_allclose(distances, expected, rtol=1e-12, atol=1e-12)
    # The rows named are at these distances (of equal ones any may be named), and none is named twice.
    there = np.sqrt(((queries[:, None].astype(np.float64) - keys[indices]) ** 2).sum(-1))
    np.testing.assert_allclose(there, distances, rtol=1e-14)
    assert all(len(set(row)) == k for row in indices)


def near_ties(spread):
    """Two clusters whose points differ by little of what the clusters do: by 1e-5, less than float32's rounding of
    |q|^2; by 3e-4, about as much, so that some orders come out right.
    """
    side = np.repeat([[1.0], [-1.0]], 300, 0)
    return side[::2] + spread * normal(300, 6, 1), side + spread * normal(600, 6, 0)


HARD = {
    "near ties": near_ties(1e-5),
    "ties at the rounding": near_ties(3e-4),
    "far from the origin": (1e4 + normal(60, 5, 0), 1e4 + normal(300, 5, 1)),
    "queries far away": (1e6 + normal(40, 5, 0), normal(300, 5, 1)),
    "huge": (1e30 * normal(40, 5, 0), 1e30 * normal(300, 5, 1)),
    "tiny": (1e-30 * normal(40, 5, 0), 1e-30 * normal(300, 5, 1)),
    "one point": (np.ones((20, 3)), np.ones((50, 3))),
    "copies": (np.repeat(normal(10, 4, 0), 20, 0), np.repeat(normal(10, 4, 0), 30, 0)),
    "one dimension": (normal(30, 1, 0), normal(500, 1, 1)),
}


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("name", HARD)
def test_nearest_where_float32_is_not_enough(name, k):
    queries, keys = HARD[name]
    np.testing.assert_allclose(nearest(queries, keys, k)[0], exact(queries, keys, k), rtol=1e-13)


def test_near_ties_are_beyond_float32():
    """The row above tests what it says: by |q|^2 + |x|^2 - 2 q.x in float32 most queries get a wrong neighbour."""
    queries, keys = (x.astype(np.float32) for x in HARD["near ties"])
    squared = (keys**2).sum(1) + (queries**2).sum(1)[:, None] - 2 * queries @ keys.T
    assert (squared.argmin(1) != nearest(*HARD["near ties"], 1)[1][:, 0]).mean() > 0.5


@pytest.mark.parametrize("entries", [1, 700, 5_000])
def test_blocks_do_not_show(monkeypatch, entries):
    keys, queries = SETS["wide"]
    whole = nearest(queries, keys, 3)
    monkeypatch.setattr(two_sample, "ENTRIES", entries)
    for got, expected in zip(nearest(queries, keys, 3), whole, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_all_keys_in_order():
    keys = np.array([[5.0], [1.0], [3.0]])
    distances, indices = nearest(np.array([[0.0], [4.5]]), keys, 3)
    np.testing.assert_array_equal(indices, [[1, 2, 0], [0, 2, 1]])
    np.testing.assert_array_equal(distances, [[1, 3, 5], [0.5, 1.5, 3.5]])


# ---- copies of the training set


def test_memorised_of_fresh_samples():
    """Fakes of the data's own law: the ratio is 1, the share a half, z standard normal over repetitions."""
    found = [memorised(normal(150, 3, s), normal(200, 3, 100 + s), normal(120, 3, 200 + s)) for s in range(40)]
    np.testing.assert_allclose(np.mean([x.share for x in found]), 0.5, atol=0.02)
    np.testing.assert_allclose(np.mean([x.ratio for x in found]), 1, atol=0.05)
    assert abs(np.mean([x.z for x in found])) < 0.6 and 0.6 < np.std([x.z for x in found]) < 1.5


def test_memorised_is_mann_whitneys():
    fake, train, test = 0.8 * normal(70, 4, 0), normal(100, 4, 1), normal(60, 4, 2)
    got = memorised(fake, train, test)
    one, two = exact(fake, train, 1)[:, 0], exact(test, train, 1)[:, 0]
    expected = scipy.stats.mannwhitneyu(one, two, method="asymptotic", use_continuity=False)
    np.testing.assert_allclose(got.distances, one, rtol=1e-13)
    np.testing.assert_array_equal(got.nearest, [((train - x) ** 2).sum(1).argmin() for x in fake])
    np.testing.assert_allclose(got.share, 1 - expected.statistic / (70 * 60), rtol=1e-13)
    np.testing.assert_allclose(2 * scipy.stats.norm.sf(abs(got.z)), expected.pvalue, rtol=1e-10)
    np.testing.assert_allclose(got.ratio, np.median(one) / np.median(two), rtol=1e-13)
    assert got.z < 0  # nearer than the held-out: copying


@pytest.mark.parametrize(
    ("fake", "ratio", "share", "sign"),
    [
        (lambda train, test: train[:80], 0, 1, -1),  # copies
        (lambda train, test: train[:80] + 1e-6, 0, 1, -1),
        (lambda train, test: test, 1, 0.5, 0),  # the held-out themselves: every tie counts a half
        (lambda train, test: train[:80] + 1e3, np.inf, 0, 1),  # something else altogether
    ],
)
def test_memorised_at_the_ends(fake, ratio, share, sign):
    train, test = normal(100, 5, 0), normal(50, 5, 1)
    got = memorised(fake(train, test), train, test)
    assert got.share == share and np.sign(got.z) == sign
    assert got.ratio > 100 if np.isinf(ratio) else abs(got.ratio - ratio) < 1e-5


# ---- one nearest neighbour


def test_one_nearest_neighbour_by_hand():
    # 0 and 1 are nearest to each other; 4 to 4.5. Of the fakes 4.5 is nearest to the real 4, 9 to 10, 10 to 9.
    got = one_nearest_neighbour(np.array([[0.0], [1.0], [4.0]]), np.array([[4.5], [9.0], [10.0]]))
    assert got == {"accuracy": pytest.approx(2 / 3), "real": pytest.approx(2 / 3), "fake": pytest.approx(2 / 3)}


@pytest.mark.parametrize(("n", "d", "seed"), [(60, 3, 0), (100, 20, 1)])
def test_one_nearest_neighbour_is_leave_one_out(n, d, seed):
    real, fake = normal(n, d, seed), 0.2 + 0.9 * normal(n, d, seed + 10)
    pool, labels = np.vstack([real, fake]), np.repeat([0, 1], n)
    distances = np.linalg.norm(pool[:, None] - pool[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    right = labels[distances.argmin(1)] == labels
    assert one_nearest_neighbour(real, fake) == pytest.approx(
        {"accuracy": right.mean(), "real": right[:n].mean(), "fake": right[n:].mean()}, rel=1e-13
    )


@pytest.mark.parametrize(
    ("fake", "expected"),
    [
        (lambda real: real, {"accuracy": 0.0, "real": 0.0, "fake": 0.0}),  # copies
        (lambda real: real + 100, {"accuracy": 1.0, "real": 1.0, "fake": 1.0}),
        (
            lambda real: np.repeat(real[:1], len(real), 0),
            {"real": 1 - 1 / 300, "fake": 0.5},
        ),  # one image; 0 = 0 is a tie
        (lambda real: real[:1] + 1e-9 * normal(*real.shape, 7), {"real": 1 - 1 / 300, "fake": 1.0}),  # collapsed
    ],
)
def test_one_nearest_neighbour_at_the_ends(fake, expected):
    real = normal(300, 4, 3)
    got = one_nearest_neighbour(real, fake(real))
    # In the two collapsed sets the real samples nearest to the one point may have it as their neighbour.
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, atol=0 if "accuracy" in expected else 0.03, err_msg=name)


def test_one_nearest_neighbour_of_one_law():
    """0.5, with the standard error of 2 n binomial trials, or a little more."""
    got = one_nearest_neighbour(normal(1500, 4, 0), normal(1500, 4, 1))
    assert abs(got["accuracy"] - 0.5) < 4 * 0.5 / math.sqrt(3000)


# ---- the classifier two-sample test


@pytest.mark.parametrize("shift", [0.5, 1.0, 2.0])
def test_classifier_of_two_normals(shift):
    """The best classifier of N(0, I) and N(m, I) is linear and right with probability Phi(|m| / 2)."""
    d, n = 5, 4000
    got = classifier_two_sample(normal(n, d, 0), normal(n, d, 1) + shift / math.sqrt(d), 0)
    assert abs(got["accuracy"] - scipy.stats.norm.cdf(shift / 2)) < 4 * 0.5 / math.sqrt(n) and got["p_value"] < 1e-6


def test_classifier_p_values():
    """The normal approximation's, and of one law spread evenly: not too small too often."""
    found = [classifier_two_sample(normal(100, 4, s), normal(100, 4, 500 + s), s) for s in range(60)]
    for got in found:
        z = (got["accuracy"] - 0.5) / math.sqrt(1 / (4 * 100))
        np.testing.assert_allclose(got["p_value"], scipy.stats.norm.sf(z), rtol=1e-10)
    values = np.array([got["p_value"] for got in found])
    assert 0.35 < values.mean() < 0.65 and (values < 0.05).mean() < 0.15


def test_classifier_is_linear():
    """As the docstring warns: equal means pass, though a nearest neighbour sees the difference."""
    real, fake = normal(400, 10, 0), 0.3 * normal(400, 10, 1)
    assert classifier_two_sample(real, fake, 0)["p_value"] > 0.001
    assert one_nearest_neighbour(real, fake)["fake"] > 0.95


def test_classifier_depends_on_the_seed_alone():
    real, fake = normal(80, 3, 0), normal(80, 3, 1) + 0.5
    assert classifier_two_sample(real, fake, 3) == classifier_two_sample(real, fake, 3)
    assert len({classifier_two_sample(real, fake, seed)["accuracy"] for seed in range(8)}) > 1


def test_classifier_bears_constant_features():
    real, fake = normal(50, 3, 0), normal(50, 3, 1)
    real[:, 1] = fake[:, 1] = 7
    assert 0 <= classifier_two_sample(real, fake, 0)["accuracy"] <= 1
    assert classifier_two_sample(np.ones((8, 2)), np.ones((8, 2)), 0)["accuracy"] == 0.5


# ---- what is refused

GOOD = np.arange(24.0).reshape(8, 3) ** 1.5
MEASURES = {
    "nearest": lambda a, b: nearest(a, b, 1),
    "memorised": lambda a, b: memorised(a, b, GOOD),
    "one": one_nearest_neighbour,
    "classifier": lambda a, b: classifier_two_sample(a, b, 0),
}


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (GOOD[:, :2], GOOD, r"features must have one number of dimensions; got .* 2, .* 3"),
        (GOOD, np.zeros((8, 3, 1)), r"features must be \[n d\] with n at least \d and d at least 1; got \(8, 3, 1\)"),
        (np.zeros((0, 3)), GOOD, r"got \(0, 3\)"),
        (np.zeros((8, 0)), np.zeros((8, 0)), r"got \(8, 0\)"),
        (np.where(GOOD > 5, np.nan, GOOD), GOOD, r"features hold \d+ values that are not finite"),
        (GOOD, np.where(GOOD > 50, np.inf, GOOD), r"features hold \d+ values that are not finite"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_features_refused(measure, first, second, message):
    with pytest.raises(ValueError, match=message):
        MEASURES[measure](first, second)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nearest(GOOD, GOOD, 9), "k = 9 neighbours of 8 keys: k must be between 1 and their number"),
        (lambda: nearest(GOOD, GOOD, 0), "k = 0 neighbours of 8 keys"),
        (lambda: one_nearest_neighbour(GOOD, GOOD[:5]), "got 8 real and 5 fake: take 5 of each"),
        (lambda: classifier_two_sample(GOOD, GOOD[:5], 0), "got 8 real and 5 fake: take 5 of each"),
        (lambda: one_nearest_neighbour(GOOD[:1], GOOD[:1]), r"with n at least 2 .* got \(1, 3\)"),
        (lambda: classifier_two_sample(GOOD[:3], GOOD[:3], 0), r"with n at least 4 .* got \(3, 3\)"),
        (
            lambda: memorised(GOOD + 1, GOOD, GOOD),
            "half of the 8 held-out samples are training samples: hold out others",
        ),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()

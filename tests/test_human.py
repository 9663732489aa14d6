"""What people say as numbers: against closed forms, a published example, other solvers, and judges who are simulated."""

import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from gan_jax.metrics import human

# Krippendorff 2011, "Computing Krippendorff's alpha-reliability", section C: four observers, twelve units.
OBSERVED = """1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 ."""


def answers(p, shape, seed=0, missing=0.0):
    rng = np.random.default_rng(seed)
    return np.where(rng.random(shape) < missing, np.nan, (rng.random(shape) < p).astype(float))


def test_agreement_is_the_published_example():
    table = np.array([[float(x) if x != "." else np.nan for x in row.split()] for row in OBSERVED.splitlines()])
    assert human.agreement(table) == pytest.approx(0.743, abs=5e-4)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ([[0, 1, 0, 1], [0, 1, 0, 1]], 1.0),
        ([[0, 1], [1, 0]], 1 - 1 / (2 / 3)),  # D_o = 1, D_e = (16 - 8) / (4 x 3)
        ([[0, 1, 0, 1]], np.nan),  # a single judge
        ([[0, 0], [0, 0]], np.nan),
        ([[0, np.nan], [np.nan, 1]], np.nan),
    ],
)
def test_agreement(table, expected):
    np.testing.assert_allclose(human.agreement(np.array(table, float)), expected)


def test_judges_who_guess_do_not_agree():
    assert abs(human.agreement(answers(0.5, (5, 4_000)))) < 4 / np.sqrt(4_000 * 10)  # 10 pairs of judges


@pytest.mark.parametrize("p", [0.05, 0.3, 0.5])
def test_the_rate_of_one_judge_has_the_binomial_interval(p):
    wrong = answers(p, (1, 2_000))
    found = human.rate(wrong)
    std = np.sqrt(found.value * (1 - found.value) / 2_000)
    assert found.value == wrong.mean()
    np.testing.assert_allclose([found.value - found.low, found.high - found.value], 1.96 * std, rtol=0.12)


def test_intervals_hold_the_true_rate():
    """Of judges who differ and images that differ, in nearly all of a hundred experiments."""
    held = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        p = 1 / (1 + np.exp(-(rng.normal(0, 0.5, (8, 1)) + rng.normal(0, 0.5, (1, 60)))))  # mean 1/2
        found = human.rate(np.where(rng.random((8, 60)) < p, 1.0, 0.0), seed)
        held += found.low <= 0.5 <= found.high
    assert held >= 90  # 95 are expected, with a deviation of 2.2


@pytest.mark.parametrize("wrong", [answers(0.02, (3, 40)), 1 - answers(0.02, (3, 40)), np.ones((2, 3))])
def test_an_interval_of_a_share_is_of_shares(wrong):
    found = human.rate(wrong)
    assert 0 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize("count", [1, 20])
def test_equal_answers_leave_a_doubt(count):
    low, high = scipy.stats.binomtest(0, count).proportion_ci(method="wilson")
    np.testing.assert_allclose(human.rate(np.zeros((1, count))), (0, low, high), rtol=1e-4, atol=1e-12)


def test_answers_that_were_not_given_do_not_count():
    assert human.rate(np.array([[1, np.nan, 0], [np.nan, np.nan, 0]])).value == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="no answer"):
        human.rate(np.full((2, 3), np.nan))


@pytest.mark.parametrize(
    ("times", "expected"), [([500, 490, 490], 490), ([100, 100, 300, 300, 200], 200), ([130], 130)]
)
def test_modal(times, expected):
    assert human.modal(times) == expected


def test_bradley_terry_of_two_is_the_odds():
    score = human.bradley_terry(np.array([[0, 30], [10, 0]]))
    np.testing.assert_allclose(score, [np.log(30.5 / 10.5) / 2, -np.log(30.5 / 10.5) / 2])


@pytest.mark.parametrize("seed", range(3))
def test_bradley_terry_is_the_maximum_of_the_likelihood(seed):
    wins = np.random.default_rng(seed).integers(0, 20, (4, 4))
    np.fill_diagonal(wins, 0)
    wins[0, 1] = wins[1, 0] = 0  # a pair that was not shown
    counted = wins + 0.5 * ((wins + wins.T) > 0)

    def loss(free):
        s = np.append(free, -free.sum())
        return (counted * np.logaddexp(0, s[None] - s[:, None])).sum()

    best = scipy.optimize.minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-9}).x
    np.testing.assert_allclose(human.bradley_terry(wins), np.append(best, -best.sum()), atol=1e-6)


def test_contestants_that_never_met_have_no_scores():
    wins = np.zeros((4, 4), int)
    wins[0, 1] = wins[2, 3] = 5
    assert np.isnan(human.bradley_terry(wins)).all()


def test_scores_come_back():
    """Those of three contestants, from the answers of four judges to sixty pairs of each two."""
    true, rng = np.array([0.8, 0.0, -0.8]), np.random.default_rng(1)
    first, second = np.repeat([0, 0, 1], 60), np.repeat([1, 2, 2], 60)
    p = 1 / (1 + np.exp(true[second] - true[first]))
    preferred = np.where(rng.random((4, 180)) < p, 1.0, 0.0)
    preferred[0, :50] = np.nan
    found = human.scores(first, second, preferred, 3)
    assert all(one.low < expected < one.high for one, expected in zip(found, true, strict=True))
    assert all(one.low < one.value < one.high for one in found) and found[0].high - found[0].low < 0.8


@pytest.mark.parametrize("n", [1, 12, 200])
def test_equal_preferences_leave_a_doubt(n):
    """That of the likelihood: for two contestants the error of half the log odds of n + 1/2 to 1/2, in closed form."""
    one, two = human.scores(np.zeros(n, int), np.ones(n, int), np.ones((1, n)), 2)
    error = np.sqrt(1 / (n + 0.5) + 1 / 0.5) / 2
    assert -two.value == pytest.approx(one.value) == pytest.approx(np.log((n + 0.5) / 0.5) / 2)
    np.testing.assert_allclose([one.low, one.high], [one.value - 1.96 * error, one.value + 1.96 * error])


def test_errors_of_scores_are_those_of_the_likelihood():
    """The pseudo-inverse of its second derivatives, which are taken numerically; the least over the sum is 0."""
    wins = np.random.default_rng(2).integers(1, 20, (4, 4)).astype(float)
    np.fill_diagonal(wins, 0)
    score, counted = human.bradley_terry(wins), wins + 0.5 - 0.5 * np.eye(4)

    def loss(s):
        return (counted * np.logaddexp(0, s[None] - s[:, None])).sum()

    h = 1e-4
    hessian = np.array([
        [(loss(score + h * (a + b)) - loss(score + h * (a - b)) - loss(score - h * (a - b)) + loss(score - h * (a + b))) / (4 * h * h) for b in np.eye(4)]
        for a in np.eye(4)
    ])  # fmt: skip
    np.testing.assert_allclose(
        human.score_errors(wins, score), np.sqrt(np.diag(np.linalg.pinv(hessian, rcond=1e-5))), rtol=1e-3
    )
    assert np.isnan(human.score_errors(wins, np.full(4, np.nan))).all()


def test_matrix():
    rows = [{"judge": "b", "item": 2, "wrong": True}, {"judge": "a", "item": 0, "wrong": False}]
    np.testing.assert_array_equal(
        human.matrix(rows, ["a", "b"], 3, "wrong"), [[0, np.nan, np.nan], [np.nan, np.nan, 1]]
    )

"""Metrics against closed forms, SciPy and the authors' package."""

import tracemalloc
import warnings

import numpy as np
import prdc as authors
import pytest
import scipy.linalg
from sklearn.datasets import load_digits

from gan_jax.metrics import kid, precision_recall
from gan_jax.metrics.frechet import frechet
from gan_jax.metrics.kid import mmd2
from gan_jax.metrics.modes import modes, overlap
from gan_jax.metrics.precision_recall import prdc

RNG = np.random.default_rng(0)


def mixed(n, d, seed=0):
    """Features with a mean and correlations."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d)


def white(n, d, seed=0):
    """Features whose sample mean is 0 and whose sample covariance (n - 1) is I, to rounding."""
    x = np.random.default_rng(seed).normal(size=(n, d))
    x = x - x.mean(0)
    return np.linalg.qr(x)[0] * np.sqrt(n - 1)


# ---- Fréchet distance


@pytest.mark.parametrize(("shift", "scale"), [(0, 1), (0.7, 1), (0, 2.5), (-1.3, 0.4), (2, 0)])
@pytest.mark.parametrize("d", [1, 6, 40])
def test_frechet_of_two_scaled_normals(shift, scale, d):
    m = shift * np.arange(1, d + 1) / d
    expected = np.sum(m**2) + d * (1 - scale) ** 2
    np.testing.assert_allclose(frechet(white(90, d), m + scale * white(70, d, 1)), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("m", "n", "d"), [(200, 150, 5), (60, 500, 30), (64, 64, 2)])
def test_frechet_is_the_papers(m, n, d):
    real, fake = mixed(m, d), mixed(n, d, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # SciPy is about to change sqrtm's other arguments
        root = scipy.linalg.sqrtm(np.cov(real, rowvar=False) @ np.cov(fake, rowvar=False))
    trace = np.trace(np.cov(real, rowvar=False) + np.cov(fake, rowvar=False) - 2 * root.real)
    np.testing.assert_allclose(frechet(real, fake), np.sum((real.mean(0) - fake.mean(0)) ** 2) + trace, rtol=1e-10)


@pytest.mark.parametrize(("m", "n", "d"), [(8, 12, 30), (5, 200, 30), (2, 2, 3)])
def test_frechet_of_fewer_examples_than_dimensions(m, n, d):
    # tr (C1^(1/2) C2 C1^(1/2))^(1/2) is the nuclear norm of X1 X2' / sqrt((m - 1)(n - 1)) with centred X: no root of a
    # singular matrix.
    real, fake = mixed(m, d), mixed(n, d, 1)
    one, two = ((x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (real, fake))
    expected = (
        np.sum((real.mean(0) - fake.mean(0)) ** 2)
        + np.sum(one**2)
        + np.sum(two**2)
        - 2 * np.linalg.norm(one @ two.T, "nuc")
    )
    np.testing.assert_allclose(frechet(real, fake), expected, rtol=1e-7)


def test_frechet_of_singular_covariances():
    # Equal variances along different axes share nothing: the sum of both traces is left.
    x = white(50, 1)
    zeros = np.zeros((50, 1))
    np.testing.assert_allclose(
        frechet(np.hstack([x, zeros, zeros]), np.hstack([zeros, 2 * x, zeros])), 1 + 4, rtol=1e-12
    )
    np.testing.assert_allclose(frechet(np.ones((4, 3)), np.zeros((5, 3))), 3, rtol=1e-12)  # two points


@pytest.mark.parametrize(("n", "d"), [(100, 8), (10, 50)])
def test_frechet_is_a_distance(n, d):
    real, fake = mixed(n, d), mixed(n + 3, d, 1)
    size = np.trace(np.cov(real, rowvar=False))
    np.testing.assert_allclose(frechet(real, real), 0, atol=1e-7 * size)
    np.testing.assert_allclose(frechet(real, real[::-1]), 0, atol=1e-7 * size)
    np.testing.assert_allclose(frechet(real, fake), frechet(fake, real), rtol=1e-7)
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(d, d)))[0]
    np.testing.assert_allclose(frechet(real @ turn + 5, fake @ turn + 5), frechet(real, fake), rtol=1e-7)
    np.testing.assert_allclose(
        frechet(3 * real, 3 * fake), 9 * frechet(real, fake), rtol=1e-7
    )  # in units of features squared


def test_frechet_computes_in_float64():
    real, fake = (mixed(60, 4, seed).astype(np.float32) for seed in (0, 1))
    assert frechet(real + np.float32(64), fake + np.float32(64)) == frechet(
        (real + np.float32(64)).astype(np.float64), (fake + np.float32(64)).astype(np.float64)
    )


@pytest.mark.parametrize(
    ("real", "fake", "message"),
    [
        (np.zeros((5, 3)), np.zeros((5, 4)), "one number of dimensions; got real 3, fake 4"),
        (np.zeros((1, 3)), np.zeros((5, 3)), r"real features must be \[n d\] with n at least 2 .* got \(1, 3\)"),
        (np.zeros((5, 3)), np.zeros((5, 3, 1)), r"fake features must be \[n d\] .* got \(5, 3, 1\)"),
        (np.zeros((5, 3)), np.full((5, 3), np.nan), "fake features hold 15 values that are not finite"),
        (np.array([[0.0], [np.inf], [1.0]]), np.zeros((5, 1)), "real features hold 1 values that are not finite"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_frechet_refuses(real, fake, message):
    with pytest.raises(ValueError, match=message):
        frechet(real, fake)


# ---- precision, recall, density, coverage


def digit_pair():
    """Odd and even rows of the digits: whole numbers, so distances are exact and many are equal, where < and <= part."""
    x = load_digits().data
    return x[:600:2], x[1:500:2]


PAIRS = {
    "same_law": (RNG.normal(size=(200, 8)), RNG.normal(size=(150, 8))),
    "shifted": (RNG.normal(size=(120, 3)), RNG.normal(1, 1, (180, 3))),
    "narrow": (RNG.normal(size=(150, 16)), 0.3 * RNG.normal(size=(150, 16))),
    "apart": (RNG.normal(size=(50, 4)), 100 + RNG.normal(size=(60, 4))),
    "one_point": (RNG.normal(size=(50, 4)), np.zeros((60, 4))),
    "digits": digit_pair(),
    "scaled_digits": tuple(x / 8 - 1 for x in digit_pair()),
}


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("pair", PAIRS)
def test_prdc_is_the_authors(pair, k, capsys):
    real, fake = PAIRS[pair]
    for a, b in ((real, fake), (fake, real)):
        got, expected = prdc(a, b, k), authors.compute_prdc(a, b, k)
        assert got.keys() == expected.keys() and all(isinstance(value, float) for value in got.values())
        for name, value in expected.items():
            np.testing.assert_allclose(got[name], value, rtol=1e-12, err_msg=name)


def test_prdc_by_hand():
    # Radii with k = 1 of the reals: 1, 1, 8; of the fakes: 1.5, 1.5, 91. The fake at 0.5 is in the balls at 0 and 1,
    # that at 2 on the edge of the one at 1, so only in that at 9.
    got = prdc(np.array([[0.0], [1.0], [9.0]]), np.array([[0.5], [2.0], [93.0]]), 1)
    # Reals 0 and 1 lie in the ball of the fake at 0.5, real 9 in that of 93; the balls of 0 and 1 hold a fake, that of
    # 9 (from 1 to 17) the one at 2.
    np.testing.assert_allclose([got["precision"], got["recall"], got["density"], got["coverage"]], [2 / 3, 1, 3 / 3, 1])


def test_prdc_knows_quality_from_variety():
    real = np.concatenate([white(60, 2) * 0.1, white(60, 2, 1) * 0.1 + 10])
    half = np.concatenate([white(60, 2, 2) * 0.1, white(60, 2, 3) * 0.1])  # one of two modes
    both = np.concatenate([half[:60], half[60:] + 10])
    lost = np.concatenate([half[:60], 100 + 50 * RNG.normal(size=(60, 2))])  # one mode, and rubbish
    assert (
        prdc(real, both)["coverage"] > 0.9 and prdc(real, both)["recall"] > 0.9 and prdc(real, both)["precision"] > 0.9
    )
    np.testing.assert_allclose(
        [prdc(real, half)[name] for name in ("precision", "recall", "coverage")], [1, 0.5, 0.5], atol=0.1
    )
    assert prdc(real, lost)["precision"] <= 0.5


@pytest.mark.parametrize(
    ("real", "fake", "k", "message"),
    [
        (np.zeros((9, 3)), np.zeros((9, 4)), 5, "one number of dimensions; got real 3, fake 4"),
        (np.zeros(9), np.zeros((9, 4)), 5, r"got \(9,\)"),
        (
            np.zeros((9, 3)),
            np.zeros((5, 3)),
            5,
            "k = 5 neighbours need more than 5 examples of each kind; got 9 real and 5 fake",
        ),
        (np.zeros((9, 3)), np.zeros((9, 3)), 0, "k = 0 neighbours"),
        (np.zeros((9, 3)), np.full((9, 3), np.nan), 5, "fake features hold 27 values that are not finite"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_prdc_refuses(real, fake, k, message):
    with pytest.raises(ValueError, match=message):
        prdc(real, fake, k)


# ---- modes

ANGLES = 2 * np.pi * np.arange(8) / 8
RING = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)


def of(counts, std=0.01):
    """`counts[i]` samples exactly at centre i."""
    return modes(RING, np.repeat(RING, counts, axis=0), std)


def test_modes_all_alike():
    assert of([5] * 8) == {"modes": 8, "high_quality": 1, "reverse_kl": pytest.approx(0, abs=1e-12)}


def test_modes_one_alone():
    assert of([0, 0, 9, 0, 0, 0, 0, 0]) == {
        "modes": 1,
        "high_quality": 1,
        "reverse_kl": pytest.approx(np.log(8), rel=1e-12),
    }


def test_modes_unequal():
    share = np.array([6, 3, 1]) / 10
    # KL(share || uniform) in nats; as the paper has it, of the generated shares to the true ones.
    expected = np.sum(share * np.log(share / (1 / 8)))
    assert of([6, 3, 0, 1, 0, 0, 0, 0]) == {
        "modes": 3,
        "high_quality": 1,
        "reverse_kl": pytest.approx(expected, rel=1e-12),
    }


def test_modes_none():
    assert modes(RING, np.full((7, 2), 5.0), 0.01) == {"modes": 0, "high_quality": 0, "reverse_kl": float("inf")}


def test_modes_of_what_is_not_finite():
    assert modes(RING, np.full((4, 2), np.nan), 0.01) == {"modes": 0, "high_quality": 0, "reverse_kl": float("inf")}
    assert modes(RING, np.array([[np.nan, 0], [1, 0]]), 0.01)["high_quality"] == 0.5


@pytest.mark.usefixtures("unchecked")
def test_modes_reach_is_euclidean():
    # Inside and outside 3 std along an axis; a corner inside the box of 3 std but outside the ball; another reach.
    near = np.array([[0.029, 0], [0.031, 0], [0.025, 0.025], [0, -0.029]])
    assert modes(np.zeros((1, 2)), near, 0.01) == {
        "modes": 1,
        "high_quality": 0.5,
        "reverse_kl": pytest.approx(0, abs=1e-12),
    }
    assert modes(np.zeros((1, 2)), near, 0.01, reach=4)["high_quality"] == 1


def test_modes_only_good_samples_count():
    # Far samples, nearest to mode 4, neither make it a mode nor weigh in the divergence.
    assert modes(RING, np.concatenate([RING[:2], np.full((50, 2), [-9.0, 0])]), 0.01) == {
        "modes": 2, "high_quality": pytest.approx(2 / 52), "reverse_kl": pytest.approx(np.log(4))
    }  # fmt: skip


@pytest.mark.parametrize("std", [0.01, 0.05])
def test_modes_of_real_data(std):
    n = 40_000
    which = RNG.integers(0, 8, n)
    got = modes(RING, RING[which] + std * RNG.normal(size=(n, 2)), std)
    share = 1 - np.exp(-4.5)  # 98.89 %
    assert got["modes"] == 8
    np.testing.assert_allclose(got["high_quality"], share, atol=3 * np.sqrt(share * (1 - share) / n))
    # 2n times the divergence is chi-squared with 7 degrees of freedom: mean 7, and beyond 30 once in 10,000.
    assert 0 < got["reverse_kl"] < 30 / (2 * n)


def test_modes_order_and_pieces_do_not_matter():
    fake = RING[RNG.integers(0, 8, 300)] + 0.012 * RNG.normal(size=(300, 2))
    whole = modes(RING, fake, 0.01)
    assert 0.5 < whole["high_quality"] < 1
    assert modes(RING[::-1], fake[RNG.permutation(300)], 0.01) == pytest.approx(whole, rel=1e-12)
    pieces = [modes(RING, part, 0.01)["high_quality"] for part in np.split(fake, 3)]
    np.testing.assert_allclose(np.mean(pieces), whole["high_quality"], rtol=1e-12)


@pytest.mark.parametrize(
    ("counts", "far", "expected"),
    [
        ([5] * 8, 0, 1),
        ([40] + [0] * 7, 0, 1 / 8),  # of the best quality, and all alike
        ([1] * 8, 72, 1 / 10),  # as even as can be, and nearly all elsewhere
        ([4] * 4 + [0] * 4, 0, 1 / 2),
        ([6, 2, 4, 4, 4, 4, 4, 4], 8, 32 / 40 - 1 / 40),  # of the first mode's six of forty, five count
        ([0] * 8, 3, 0),
    ],
)
def test_overlap_takes_quality_and_variety(counts, far, expected):
    fake = np.concatenate([np.repeat(RING, counts, axis=0), np.full((far, 2), 5.0)])
    assert overlap(RING, fake, 0.01) == pytest.approx(expected, rel=1e-12)
    share = np.append(counts, far) / len(fake)  # the same as 1 less the total variation
    assert overlap(RING, fake, 0.01) == pytest.approx(
        1 - np.abs(share - np.append([1 / 8] * 8, 0)).sum() / 2, rel=1e-12
    )


def test_modes_refuses_nothing():
    with pytest.raises(ValueError, match="no samples"):
        modes(np.zeros((3, 2)), np.zeros((0, 2)), 0.1)


@pytest.mark.parametrize("measure", [precision_recall.prdc, precision_recall.precision_recall, mmd2])
def test_memory_is_that_of_some_blocks(measure):
    """All distances of 8,000 by 8,000 would take 512 MB, a block of them 64."""
    real, fake = RNG.normal(size=(2, 8_000, 2))
    tracemalloc.start()
    try:
        measure(real, fake)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2.5 * 8 * max(precision_recall.BLOCK * 8_000, kid.BLOCK**2) + 10e6

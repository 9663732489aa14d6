"""Perceptual path length against closed forms."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gan_jax.metrics.path_length import lerp, path_length, slerp


def latents(n, z, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, z)), rng.normal(size=(n, z)), rng.uniform(size=n)


def squared(x, y):
    return ((x - y) ** 2).reshape(len(x), -1).sum(1)


def trimmed(lengths):
    """Without those before the 1st and after the 99th percentile, each the observed value next outside."""
    last = len(lengths) - 1
    return np.sort(lengths)[math.floor(0.01 * last) : math.ceil(0.99 * last) + 1].mean()


@pytest.mark.parametrize("n", [1, 5, 101, 300])
@pytest.mark.parametrize("ends", [False, True])
def test_path_of_a_linear_generator(n, ends):
    """gen(w) = A w: |A (end - start)|^2 wherever on the line."""
    start, end, t = latents(n, 6)
    a = np.random.default_rng(2).normal(size=(6, 10))
    got = path_length(lambda w: w @ a, squared, start, end, np.zeros(n) if ends else t, between=lerp)
    np.testing.assert_allclose(got, trimmed((((end - start) @ a) ** 2).sum(1)), rtol=1e-9)


@pytest.mark.parametrize("n", [40, 250])
def test_path_along_the_great_circle(n):
    """dz/dt by hand: z = r u, r = (1 - t)|a| + t|b|, u turning by the angle between a and b at constant speed."""
    start, end, t = latents(n, 5)
    ra, rb = (np.linalg.norm(x, axis=1)[:, None] for x in (start, end))
    one, two = start / ra, end / rb
    angle = np.arccos((one * two).sum(1))[:, None]
    s = t[:, None]
    turned = (np.sin((1 - s) * angle) * one + np.sin(s * angle) * two) / np.sin(angle)
    speed = angle * (np.cos(s * angle) * two - np.cos((1 - s) * angle) * one) / np.sin(angle)
    np.testing.assert_allclose(slerp(start, end, t), ((1 - s) * ra + s * rb) * turned, rtol=1e-10)
    velocity = (rb - ra) * turned + ((1 - s) * ra + s * rb) * speed
    a = np.random.default_rng(2).normal(size=(5, 7))
    expected = trimmed(((velocity @ a) ** 2).sum(1))
    np.testing.assert_allclose(
        path_length(lambda z: z @ a, squared, start, end, t, between=slerp), expected, rtol=1e-3
    )  # a step of 1e-4
    # A generator that normalises its latent moves along the sphere at the paper's constant speed.
    unit = path_length(lambda z: z / np.linalg.norm(z, axis=1, keepdims=True), squared, start, end, t, between=slerp)
    np.testing.assert_allclose(unit, trimmed(angle[:, 0] ** 2), rtol=1e-6)  # its square, and 1e-16 over it


def test_slerp_at_its_ends():
    start, end, _ = latents(9, 4)
    np.testing.assert_allclose(slerp(start, end, np.zeros(9)), start, rtol=1e-13)
    np.testing.assert_allclose(slerp(start, end, np.ones(9)), end, rtol=1e-12)
    np.testing.assert_allclose(slerp(start, 3 * start, np.full(9, 0.5)), 2 * start, rtol=1e-12)  # no turn


def test_path_in_float32():
    """What the docstring says float32 leaves: about 2 u^2 |x|^2 / eps^2, u = 6e-8, beside the true value."""
    start, end, t = latents(200, 16)
    weights = np.random.default_rng(2).normal(size=(16, 400)) / 4

    @jax.jit
    def gen(w):
        assert w.dtype == jnp.float32
        return jnp.tanh(w @ jnp.float32(weights))

    exact = path_length(lambda w: np.tanh(w @ weights), squared, start, end, t, between=lerp)
    got = path_length(gen, squared, start, end, t, between=lerp)
    size = (np.tanh(start @ weights) ** 2).sum(1).mean()
    assert 0 < abs(got - exact) < 10 * 7e-7 * size + 1e-4 * exact
    # Of a generator that hardly moves nothing else would be left.
    slow = path_length(lambda w: 1 + 1e-4 * gen(w), squared, start, end, t, between=lerp)
    assert slow > 1.5 * 1e-8 * exact


def test_the_outermost_percent_is_left_out():
    lengths = np.random.default_rng(0).permutation(1000.0 ** np.linspace(0, 1, 1000))
    values = iter(lengths * 1e-8)
    start, end, t = latents(1000, 2)
    got = path_length(lambda w: w, lambda x, y: np.array([next(values) for _ in x]), start, end, t, between=lerp)
    np.testing.assert_allclose(got, np.sort(lengths)[9:991].mean(), rtol=1e-12)


# ---- what is refused

F = np.arange(12.0).reshape(4, 3)
LATENTS = (np.ones((2, 3)), np.eye(3)[:2], np.zeros(2))


def ppl(gen=lambda w: w, distance=squared, start=LATENTS[0], end=LATENTS[1], t=LATENTS[2], between=lerp):
    return path_length(gen, distance, start, end, t, between=between)


REFUSED = {
    "latents": (lambda: ppl(start=np.ones((3, 3))), r"two arrays \[n z\], .* got \(3, 3\) and \(2, 3\)"),
    "no latents": (lambda: ppl(start=F[:0], end=F[:0]), r"got \(0, 3\) and \(0, 3\)"),
    "nan latents": (lambda: ppl(start=np.full((2, 3), np.nan)), "latents hold values that are not finite"),
    "t": (lambda: ppl(t=np.zeros(3)), r"one number for each of 2 pairs; got shape \(3,\)"),
    "no t": (lambda: ppl(t=np.zeros(0)), r"got shape \(0,\)"),
    "t range": (lambda: ppl(t=np.array([0, 1.5])), r"t must lie in \[0, 1\]; got 0.0 to 1.5"),
    "nan t": (lambda: ppl(t=np.array([0, np.nan])), r"t must lie in \[0, 1\]; got nan"),
    "zero": (lambda: ppl(start=np.zeros((2, 3)), between=slerp), "a latent of length 0 has no direction"),
    "opposite": (lambda: ppl(start=-LATENTS[1], between=slerp), "opposite latents have no one great circle"),
    "mean distance": (
        lambda: ppl(distance=lambda x, y: squared(x, y).mean()),
        r"must give \[b\] numbers, .* shape \(\)",
    ),
    "nan distance": (lambda: ppl(gen=lambda w: w * np.nan), "distances must be finite and from 0 up; got nan to nan"),
    "negative": (lambda: ppl(distance=lambda x, y: -squared(x, y)), "distances must be finite and from 0 up; got -"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.usefixtures("unchecked")
def test_refused(case):
    call, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        call()

"""Measures of images against the published packages' kept values, float64 transcriptions and closed forms."""

import json
import math
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
from references.data import images
from rounding import float32

from gan_jax.metrics import sliced
from gan_jax.metrics import ssim as module
from gan_jax.metrics.sliced import patch_sliced_wasserstein, sliced_wasserstein
from gan_jax.metrics.ssim import diversity, ms_ssim, ms_ssim_pairs, scales_for, ssim

KEPT = json.loads((Path(__file__).parent / "references/metrics.json").read_text())["images"]
IMAGES = images()


def noise(*shape, seed=0):
    """uint8 [...]."""
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def smooth(*shape, seed=0):
    """[n h w c] in [-1, 1], blurred noise with a mean of its own for each image."""
    rng = np.random.default_rng(seed)
    x = scipy.ndimage.gaussian_filter(rng.normal(size=shape), (0, 2, 2, 0), mode="wrap")
    return np.tanh(3 * x + rng.normal(size=(shape[0], 1, 1, 1)))


# ---- structural similarity


@pytest.mark.parametrize("name", IMAGES)
def test_ssim_is_the_packages(name):
    """pytorch-msssim makes its window in float32, which moves its values by up to 1e-6; given one in float64, as
    scikit-image has, all three are equal."""
    got, kept = ssim(*IMAGES[name]), KEPT[name]
    np.testing.assert_allclose(got, kept["scikit-image"]["ssim"], rtol=1e-12)
    np.testing.assert_allclose(got, kept["pytorch-msssim"]["ssim_window_float64"], rtol=1e-12)
    np.testing.assert_allclose(got, kept["pytorch-msssim"]["ssim"], rtol=float32(16))  # its window is float32


@pytest.mark.parametrize("name", ["even", "odd"])
def test_ms_ssim_is_pytorch_msssims(name):
    kept = KEPT[name]["pytorch-msssim"]
    np.testing.assert_allclose(ms_ssim(*IMAGES[name], 5), kept["ms_ssim_window_float64"], rtol=1e-12)
    np.testing.assert_allclose(ms_ssim(*IMAGES[name], 5), kept["ms_ssim"], rtol=float32(16))
    np.testing.assert_allclose(ms_ssim(*IMAGES[name], 3), kept["ms_ssim_3_scales_window_float64"], rtol=1e-12)


@pytest.mark.parametrize(("h", "w"), [(8, 8), (5, 20), (10, 11), (1, 1), (28, 28)])
def test_ssim_under_the_window_it_says(h, w):
    """Windows of even width too: the weighted moments, written out at each place."""
    x, y = noise(2, h, w, 2) / 255, noise(2, h, w, 2, seed=1) / 255
    size = min(11, h, w)
    line = np.exp(-((np.arange(size) - (size - 1) / 2) ** 2) / (2 * 1.5**2))
    window = (np.outer(line, line) / line.sum() ** 2)[None, :, :, None]
    found = []
    for i in range(h - size + 1):
        for j in range(w - size + 1):
            a, b = (z[:, i : i + size, j : j + size] for z in (x, y))
            ma, mb = ((window * z).sum((1, 2), keepdims=True) for z in (a, b))
            va, vb, cov = (
                (window * p).sum((1, 2)) for p in ((a - ma) ** 2, (b - mb) ** 2, (a - ma) * (b - mb))
            )  # [b c]
            ma, mb = ma[:, 0, 0], mb[:, 0, 0]
            found.append((2 * ma * mb + 1e-4) * (2 * cov + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)))
    expected = np.mean(found, (0, 2))
    np.testing.assert_allclose(ssim(np.uint8(np.round(255 * x)), np.uint8(np.round(255 * y))), expected, rtol=1e-12)
    if scales_for(h, w) == 1:
        np.testing.assert_allclose(
            ms_ssim(2 * x - 1, 2 * y - 1, 1), np.maximum(found, -9).mean(0).clip(0).mean(1), rtol=1e-12
        )


@pytest.mark.parametrize("a", [0, 90, 255])
@pytest.mark.parametrize("b", [0, 100, 255])
@pytest.mark.parametrize("size", [7, 33, 176])
def test_constant_images(a, b, size):
    """No variance: contrast is 1 at every scale, so the means alone are compared."""
    x, y = (np.full((2, size, size, 3), level, np.uint8) for level in (a, b))
    p, q = a / 255, b / 255
    luminance = (2 * p * q + 1e-4) / (p * p + q * q + 1e-4)
    np.testing.assert_allclose(ssim(x, y), [luminance] * 2, rtol=1e-9)
    scales = scales_for(size, size)
    weight = module.WEIGHTS[scales - 1] if scales == 5 else module.WEIGHTS[scales - 1] / module.WEIGHTS[:scales].sum()
    if size == 176:  # every halving even: the means stay what they are
        np.testing.assert_allclose(ms_ssim(x, y, scales), [luminance**weight] * 2, rtol=1e-9)
    assert np.isfinite(ms_ssim(x, y, scales)).all()


@pytest.mark.parametrize("measure", [ssim, lambda x, y: ms_ssim(x, y, 3)])
def test_similarity_as_a_measure(measure):
    x, y = (smooth(3, 45, 60, 2, seed=s) for s in (0, 1))
    np.testing.assert_allclose(measure(x, x), 1, rtol=1e-12)
    np.testing.assert_allclose(measure(x, y), measure(y, x), rtol=1e-13)
    assert (measure(x, y) < 0.9).all()
    np.testing.assert_allclose(measure(x[::-1], y[::-1]), measure(x, y)[::-1], rtol=1e-14)
    nearer = measure(x, (x + 0.2 * y) / 1.2)
    assert (nearer > measure(x, (x + y) / 2)).all()


def test_uint8_floats_and_devices_agree():
    x, y = noise(3, 32, 32, 3), noise(3, 32, 32, 3, seed=1)
    floats = [z.astype(np.float64) / 127.5 - 1 for z in (x, y)]
    np.testing.assert_allclose(ms_ssim(*floats, 2), ms_ssim(x, y, 2), rtol=1e-12)
    np.testing.assert_allclose(
        ms_ssim(*map(jnp.float32, floats), 2), ms_ssim(x, y, 2), rtol=100 * float32(2)
    )  # the images are rounded
    assert np.isfinite(ms_ssim(*map(jnp.bfloat16, floats), 2)).all()
    assert ms_ssim(x, y, 2).dtype == np.float64


def test_opposite_images_have_no_negative_root():
    x = noise(2, 64, 64, 1)
    assert (ssim(x, 255 - x) < 0).all()
    np.testing.assert_array_equal(ms_ssim(x, 255 - x, 3), 0)


@pytest.mark.parametrize(
    ("h", "w", "scales"),
    [
        *[
            (1, 1, 1),
            (8, 8, 1),
            (11, 11, 1),
            (20, 20, 1),
            (21, 21, 2),
            (28, 28, 2),
            (32, 32, 2),
            (40, 99, 2),
            (41, 99, 3),
        ],
        *[(64, 64, 3), (80, 80, 3), (81, 81, 4), (128, 128, 4), (160, 900, 4), (161, 161, 5), (1024, 1024, 5)],
    ],
)
def test_scales_for(h, w, scales):
    """Counted by halving as `ms_ssim` does, up, until the window fits no more."""
    assert scales_for(h, w) == scales_for(w, h) == scales
    side, count = min(h, w), 1
    while count < 5 and (side := -(-side // 2)) >= 11:
        count += 1
    assert count == scales


@pytest.mark.parametrize("rows", [1, 2, 1000])
def test_blocks_of_images_do_not_show(monkeypatch, rows):
    x, y = noise(5, 24, 28, 3), noise(5, 24, 28, 3, seed=1)
    whole, pairs = ms_ssim(x, y, 2), ms_ssim_pairs(x, 7, 0)
    monkeypatch.setattr(module, "ENTRIES", rows * x[0].size)
    np.testing.assert_allclose(ms_ssim(x, y, 2), whole, rtol=1e-14)
    np.testing.assert_allclose(ms_ssim_pairs(x, 7, 0), pairs, rtol=1e-14)


# ---- variety


def test_pairs_are_of_different_images_and_all_are_drawn():
    """Of three images the mean over many pairs is that of the three pairs there are."""
    x = smooth(3, 24, 24, 1)
    expected = np.mean([ms_ssim(x[i : i + 1], x[j : j + 1], 2)[0] for i, j in ((0, 1), (0, 2), (1, 2))])
    np.testing.assert_allclose(ms_ssim_pairs(x, 4000, 0), expected, atol=0.01)
    np.testing.assert_allclose(ms_ssim_pairs(x[:2], 5, 1), ms_ssim(x[:1], x[1:2], 2)[0], rtol=1e-12)
    assert ms_ssim_pairs(x, 9, 0) == ms_ssim_pairs(x, 9, 0) != ms_ssim_pairs(x, 9, 1)


def test_diversity_shows_a_collapse():
    real = smooth(40, 32, 32, 3)
    collapsed = np.clip(real[:1] + 0.02 * smooth(40, 32, 32, 3, seed=1), -1, 1)
    got = diversity(real, collapsed, 60, 0)
    assert got == {"ms_ssim": ms_ssim_pairs(collapsed, 60, 0), "ms_ssim_real": ms_ssim_pairs(real, 60, 0)}
    assert got["ms_ssim"] > 0.95 > 0.5 > got["ms_ssim_real"]
    assert diversity(real, np.ones_like(real), 5, 0)["ms_ssim"] == pytest.approx(1, rel=1e-12)


# ---- sliced Wasserstein


def test_sliced_of_a_shifted_copy():
    """Every direction's distance is |u.v|, whose mean over the sphere is |v| G(d/2) / (sqrt(pi) G((d + 1)/2))."""
    rng = np.random.default_rng(0)
    for d in (1, 3, 20):
        real, shift = rng.normal(size=(50, d)), rng.normal(size=d)
        expected = np.linalg.norm(shift) * math.gamma(d / 2) / (math.sqrt(math.pi) * math.gamma((d + 1) / 2))
        got = sliced_wasserstein(real, rng.permutation(real + shift), 20_000, 1)
        np.testing.assert_allclose(got, expected, rtol=1e-12 if d == 1 else 0.03)
    assert sliced_wasserstein(real, rng.permutation(real), 50, 0) < 1e-14


@pytest.mark.parametrize(("n", "d", "projections"), [(1, 4, 3), (30, 5, 7), (200, 40, 100)])
def test_sliced_is_the_mean_of_scipys(n, d, projections, monkeypatch):
    rng = np.random.default_rng(d)
    real, fake = rng.normal(size=(n, d)), 2 * rng.normal(size=(n, d)) - 1
    directions = np.random.default_rng(5).normal(size=(d, projections))
    directions /= np.sqrt((directions**2).sum(0))
    expected = np.mean([scipy.stats.wasserstein_distance(real @ u, fake @ u) for u in directions.T])
    np.testing.assert_allclose(sliced_wasserstein(real, fake, projections, 5), expected, rtol=1e-10)
    monkeypatch.setattr(sliced, "ENTRIES", 3 * n)
    np.testing.assert_allclose(sliced_wasserstein(real, fake, projections, 5), expected, rtol=1e-10)


KERNEL = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256


def pyramid(x, levels):
    """[n c h w], the Laplacian pyramid with SciPy's convolution."""
    out = [x]
    for _ in range(levels - 1):
        small = scipy.ndimage.convolve(out[-1], KERNEL[None, None], mode="mirror")[:, :, ::2, ::2]
        large = np.zeros_like(out[-1])
        large[:, :, ::2, ::2] = small
        out[-1] = out[-1] - scipy.ndimage.convolve(large, 4 * KERNEL[None, None], mode="mirror")
        out.append(small)
    return out


def transcribed(real, fake, levels, seed):
    """Section 5 in float64, on [-1, 1] or uint8, with the random numbers that the docstring names."""
    pyramids = [pyramid(np.moveaxis(x, 3, 1).astype(np.float64), levels) for x in (real, fake)]
    out = []
    for level in range(levels):
        rng = np.random.default_rng((seed, level))
        sets = []
        for levels_of in pyramids:
            x = levels_of[level]
            n, _, h, w = x.shape
            rows, columns = rng.integers(0, h - 6, (n, 128)), rng.integers(0, w - 6, (n, 128))
            cut = [x[i, :, r : r + 7, c : c + 7] for i in range(n) for r, c in zip(rows[i], columns[i], strict=True)]
            cut = np.stack(cut)  # [128 n, c, 7, 7]
            cut = (cut - cut.mean((0, 2, 3), keepdims=True)) / cut.std((0, 2, 3), keepdims=True)
            sets.append(cut.reshape(len(cut), -1))
        u = rng.normal(size=(sets[0].shape[1], 512))
        a, b = (np.sort(x @ (u / np.linalg.norm(u, axis=0)), axis=0) for x in sets)
        out.append(1e3 * np.abs(a - b).mean())
    return out


@pytest.mark.parametrize(
    ("shape", "sides"),
    [((6, 64, 64, 3), (64, 32, 16)), ((5, 32, 48, 1), (32, 16)), ((4, 28, 28, 1), (28,)), ((3, 16, 17, 2), (16,))],
)
def test_patches_are_the_papers(shape, sides, monkeypatch):
    """In float32: projections of 7 x 7 x 3 entries, and filters of 25 taps twice."""
    real, fake = smooth(*shape), noise(*shape)
    got = patch_sliced_wasserstein(real, fake, 3)
    expected = transcribed(real, fake, len(sides), 3)
    assert list(got) == [*map(str, sides), "mean"]
    np.testing.assert_allclose([got[str(side)] for side in sides], expected, rtol=float32(147 + 2 * 64))
    np.testing.assert_allclose(got["mean"], np.mean(expected), rtol=float32(147 + 2 * 64))
    monkeypatch.setattr(sliced, "ENTRIES", 2 * real[0].size)
    np.testing.assert_allclose(
        list(patch_sliced_wasserstein(real, fake, 3).values()), list(got.values()), rtol=float32(147 + 2 * 64)
    )


def test_patches_tell_blur_from_shift():
    """A blur is seen at the finest level first; halves of one set differ little at any."""
    x = np.clip(smooth(60, 32, 32, 1) + 0.2 * np.random.default_rng(1).normal(size=(60, 32, 32, 1)), -1, 1)
    floor = patch_sliced_wasserstein(x[:30], x[30:], 0)
    blurred = patch_sliced_wasserstein(x[:30], scipy.ndimage.gaussian_filter(x[30:], (0, 1, 1, 0)), 0)
    assert blurred["32"] > 3 * floor["32"] and blurred["32"] > blurred["16"]
    assert patch_sliced_wasserstein(x[:30], x[30:], 0) == floor != patch_sliced_wasserstein(x[:30], x[30:], 1)


def test_patches_of_constant_images():
    """A set that does not vary is all zeros, not rounding blown up: against normalised patches E|u.x| is left."""
    real, flat = smooth(8, 32, 32, 1), np.full((8, 32, 32, 1), 0.3)
    got = patch_sliced_wasserstein(real, flat, 0)
    assert all(200 < value < 1500 for value in got.values())
    assert set(patch_sliced_wasserstein(flat, -flat, 0).values()) == {0.0}
    part = np.concatenate([real, np.full_like(real, -1)], -1)  # one of two channels is constant
    assert all(np.isfinite(value) for value in patch_sliced_wasserstein(part, part[::-1], 0).values())


# ---- what is refused

X = noise(2, 16, 16, 3)
F = np.arange(12.0).reshape(4, 3)

REFUSED = {
    "sizes": (lambda: ssim(X, X[:, :8]), r"shapes must be equal; got \(2, 16, 16, 3\) and \(2, 8, 16, 3\)"),
    "counts": (lambda: ms_ssim(X, X[:1], 1), r"shapes must be equal; got \(2, 16, 16, 3\) and \(1, 16, 16, 3\)"),
    "empty": (lambda: ssim(X[:0], X[:0]), r"x must be images \[n h w c\] with n at least 1; got \(0, 16, 16, 3\)"),
    "no pixels": (lambda: ssim(X[:, :0], X[:, :0]), r"got \(2, 0, 16, 3\)"),
    "one image": (lambda: ssim(X[0], X[0]), r"must be images \[n h w c\] .* got \(16, 16, 3\)"),
    "range": (lambda: ssim(X, X / 1.0), r"y must be uint8 in 0..255 or floats in \[-1, 1\]; got 0 to 255"),
    "integers": (lambda: ssim(X.astype(int), X), r"x must be uint8 in 0..255 or floats in \[-1, 1\]; got int64"),
    "nan": (lambda: ms_ssim(X, np.full(X.shape, np.nan), 1), "y hold 1536 values that are not finite"),
    "scales": (lambda: ms_ssim(X, X, 2), "2 scales of 16x16 images: 1 to 1 fit the 11x11 window"),
    "no scale": (lambda: ms_ssim(X, X, 0), "0 scales of 16x16 images"),
    "no side": (lambda: scales_for(0, 5), "images of 0x5 pixels have no scale"),
    "pairs": (lambda: ms_ssim_pairs(X, 0, 0), "at least 1 pair is needed; got 0"),
    "pairs of one": (lambda: ms_ssim_pairs(X[:1], 3, 0), "with n at least 2; got"),
    "diversity": (lambda: diversity(X, X[:, 1:], 3, 0), r"real images are \(16, 16, 3\) and fake ones \(15, 16, 3\)"),
    "unequal sets": (lambda: sliced_wasserstein(F, F[:3], 5, 0), "got 4 real and 3 fake: take 3 of each"),
    "unequal widths": (lambda: sliced_wasserstein(F, F[:, :2], 5, 0), "real 3, fake 2"),
    "no features": (lambda: sliced_wasserstein(F[:0], F[:0], 5, 0), r"real features must be \[n d\] .* got \(0, 3\)"),
    "no projection": (lambda: sliced_wasserstein(F, F, 0, 0), "at least 1 projection is needed; got 0"),
    "nan features": (
        lambda: sliced_wasserstein(F, F * np.nan, 5, 0),
        "fake features hold 12 values that are not finite",
    ),
    "patches": (lambda: patch_sliced_wasserstein(X, X[:1], 0), "got 2 real and 1 fake: take 1 of each"),
    "patch sizes": (
        lambda: patch_sliced_wasserstein(X, X[:, :, :, :1], 0),
        r"\(16, 16, 3\) and fake ones \(16, 16, 1\)",
    ),
    "patches small": (
        lambda: patch_sliced_wasserstein(X[:, 1:], X[:, 1:], 0),
        "15x16 pixels: the sides must be at least 16",
    ),
    "patches odd": (
        lambda: patch_sliced_wasserstein(noise(2, 66, 70, 1), noise(2, 66, 70, 1), 0),
        "images of 66x70 pixels: a level of 33x35 cannot be halved",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.usefixtures("unchecked")
def test_refused(case):
    call, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("sides, told", [((28, 28), True), ((64, 96), True), ((15, 32), False), ((66, 70), False)])
def test_whether_images_have_levels(sides, told):
    assert sliced.measurable(*sides) == told

"""How near images are to others: closed forms, the luma of the papers, and the pixels that count."""

import numpy as np
import pytest

from gan_jax.metrics.fidelity import enlarged, l1, luma, psnr
from gan_jax.metrics.ssim import ssim

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (3, 20, 24, 3), np.uint8)


def test_of_a_constant_difference():
    x, y = np.full((2, 4, 5, 1), 0.25, np.float32), np.full((2, 4, 5, 1), -0.15, np.float32)
    np.testing.assert_allclose(l1(x, y), 0.4, rtol=1e-6)
    np.testing.assert_allclose(psnr(x, y), -20 * np.log10(0.2), rtol=1e-6)  # pixels in [0, 1]
    assert np.isinf(psnr(x, x)).all() and (l1(x, x) == 0).all()


def test_per_image_and_by_formula():
    y = RNG.integers(0, 256, X.shape, np.uint8)
    errors = ((X.astype(float) - y) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(psnr(X, y), 10 * np.log10(255**2 / errors), rtol=1e-12)
    np.testing.assert_allclose(l1(X, y), np.abs(X.astype(float) - y).mean((1, 2, 3)) / 127.5, rtol=1e-12)


def test_only_what_was_missing_counts():
    where = np.zeros((3, 20, 24, 1))
    where[:, 5:9, 3:10] = 1
    y = X.copy()
    y[:, 12:] = 0  # known pixels, which do not count
    assert np.isinf(psnr(X, y, where)).all()
    y[:, 5:9, 3:10] = 255 - X[:, 5:9, 3:10]
    hole = X[:, 5:9, 3:10], y[:, 5:9, 3:10]
    np.testing.assert_allclose(psnr(X, y, where), psnr(*hole), rtol=1e-12)
    np.testing.assert_allclose(l1(X, y, where), l1(*hole), rtol=1e-12)
    assert np.isnan(l1(X, y, 0 * where)).all()


def test_luma_of_black_white_and_the_colours():
    colours = np.array([[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)[None, None]
    np.testing.assert_allclose(255 * luma(colours)[0, 0, :, 0], [16, 235, 81.481, 144.553, 40.966], rtol=1e-12)


@pytest.mark.parametrize("scale", [2, 4])
def test_the_protocol_of_enlarged_images(scale):
    """As a transcription has it: luma in 0..255, a border cut off, and the SSIM of what is left, of range 255."""
    x, y = X[0], RNG.integers(0, 256, X[0].shape, np.uint8)
    one, other = (
        (16 + image.astype(float) / 255 @ [65.481, 128.553, 24.966])[scale:-scale, scale:-scale] for image in (x, y)
    )
    found = enlarged(x, y, scale)
    assert found["psnr"] == pytest.approx(10 * np.log10(255**2 / ((one - other) ** 2).mean()), rel=1e-9)
    both = (image[None, ..., None] / 127.5 - 1 for image in (one, other))
    assert found["ssim"] == pytest.approx(ssim(*both)[0], abs=1e-9)
    grey = np.repeat(x[..., :1], 3, -1), np.repeat(y[..., :1], 3, -1)
    full = enlarged(*grey, scale, colour=False)["psnr"]
    # 16 to 235 in the place of 0 to 255: 1.32 dB less far apart
    assert enlarged(*grey, scale)["psnr"] - full == pytest.approx(20 * np.log10(255 / 219), abs=1e-6)


@pytest.mark.usefixtures("unchecked")
def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match="shapes must be equal"):
        psnr(X, X[:, 1:])
    with pytest.raises(ValueError, match="shapes must be equal"):
        enlarged(X[0], X[0, 1:], 2)
    with pytest.raises(ValueError, match="images in colour"):
        luma(X[..., :1])

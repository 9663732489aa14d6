"""Spectra beside SciPy's, mels by their printed values, and sounds that are made of magnitudes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from gan_jax.models import spectra
from gan_jax.types import UserError

RNG = np.random.default_rng(0)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("n_fft, hop", [(64, 16), (64, 32), (32, 32)])
def test_a_transform_is_scipys(n_fft, hop):
    x = RNG.normal(size=(2, 512))
    window = spectra.hann(n_fft)
    np.testing.assert_allclose(window, scipy.signal.get_window("hann", n_fft), atol=1e-15)
    _, _, theirs = scipy.signal.stft(
        x, window=window, nperseg=n_fft, noverlap=n_fft - hop, boundary="even", padded=False
    )
    np.testing.assert_allclose(spectra.stft(x, n_fft, hop, "centre"), theirs.swapaxes(1, 2) * window.sum(), atol=1e-10)
    _, _, bare = scipy.signal.stft(x, window=window, nperseg=n_fft, noverlap=n_fft - hop, boundary=None, padded=False)
    np.testing.assert_allclose(spectra.stft(x, n_fft, hop, "none"), bare.swapaxes(1, 2) * window.sum(), atol=1e-10)
    assert spectra.stft(x, n_fft, hop).shape == (2, 512 // hop, n_fft // 2 + 1)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("padding", ["centre", "inside"])
def test_there_and_back(padding):
    x = RNG.normal(size=(2, 512))
    back = spectra.istft(spectra.stft(x, 64, 16, padding), 16, padding)
    # The very first sample lies where no window of "inside" is above 0 by much.
    np.testing.assert_allclose(back[:, 1:-1], x[:, 1 : back.shape[1] - 1], atol=1e-8)
    squares = sum(spectra.hann(64)[i * 16 : (i + 1) * 16] ** 2 for i in range(4))
    np.testing.assert_allclose(squares, 1.5, rtol=1e-12)


def test_gradients_are_finite_at_silence():
    slope = jax.grad(lambda x: spectra.magnitude(spectra.stft(x, 64, 16)).sum())(jnp.zeros((1, 256)))
    assert np.isfinite(np.asarray(slope)).all()
    filters = spectra.mel_matrix(8_000, 64, 8, 0, 4_000)
    mel = spectra.log_mel(jnp.zeros((1, 256)), filters, 16)
    # sqrt(1e-9) times the filters' sums, below the floor
    np.testing.assert_allclose(mel, np.log(1e-5), rtol=1e-6)


def test_mels():
    hertz = np.array([1_000, 4_000, 8_000])
    np.testing.assert_allclose(spectra.to_mel(hertz), [15, 35.1638, 45.2456], atol=1e-4)
    np.testing.assert_allclose(spectra.to_mel(1_000, "htk"), 1_000, atol=0.02)
    some = np.linspace(0, 8_000, 50)
    for scale in ("slaney", "htk"):
        np.testing.assert_allclose(spectra.from_mel(spectra.to_mel(some, scale), scale), some, rtol=1e-9, atol=1e-6)
    filters = spectra.mel_matrix(22_050, 1_024, 80, 0, 8_000)
    assert filters.shape == (80, 513)
    np.testing.assert_allclose(filters.sum(), 3.71369, atol=1e-5)
    np.testing.assert_allclose(filters.max(), 0.026493, atol=1e-6)
    np.testing.assert_allclose(filters[0, :5], [0, 0.015528, 0.022651, 0.007124, 0], atol=1e-6)
    with pytest.raises(UserError, match="of 80 mels between 0 and 4000 Hz hold none of the 33 bins"):
        spectra.mel_matrix(8_000, 64, 80, 0, 4_000)


def test_griffin_lim():
    """Without momentum the distance never grows; a sound's own magnitudes are found better than by phases of 0."""
    t = np.arange(2_048) / 8_000
    x = jnp.float32(0.3 * np.sin(2 * np.pi * 440 * t) + 0.2 * np.sin(2 * np.pi * 1_250 * t * (1 + t)))[None]
    spectrum = jnp.abs(spectra.stft(x, 256, 64))

    def off(iterations, **how):
        made = spectra.griffin_lim(spectrum, 64, iterations, **how)
        return float(jnp.linalg.norm(jnp.abs(spectra.stft(made, 256, 64)) - spectrum) / jnp.linalg.norm(spectrum))

    errors = [off(n, momentum=0.0) for n in (0, 1, 4, 16)]
    assert (np.diff(errors) < 1e-6).all() and errors[-1] < 0.6 * errors[0]
    assert off(32) < errors[-1]


@pytest.mark.parametrize("x, n_fft, hop, words", [
    (jnp.zeros((1, 512)), 64, 24, "24 samples does not divide frames of 64: take 16 or 32"),
    (jnp.zeros((1, 20)), 64, 16, "sounds of 20 samples are shorter than the 24"),
])  # fmt: skip
def test_what_does_not_fit(x, n_fft, hop, words):
    with pytest.raises(UserError, match=words):
        spectra.stft(x, n_fft, hop)

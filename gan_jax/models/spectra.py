"""Spectra of sounds: short-time Fourier transforms, mels, and sounds made of magnitudes (Griffin-Lim), all differentiable.

Sounds are [b t], in [-1, 1]. A frame is n_fft samples times a periodic Hann window, and the next one begins `hop` samples
later; `hop` divides n_fft, so that frames are made by reshaping and joining, without a gather. A transform is plain,
that of librosa and torch; SciPy's is it over the window's sum.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Complex, Float

from gan_jax.types import Array, UserError

Padding = Literal["none", "centre", "inside"]
LOUDEST = 2.0  # log-mel of the loudest frames of sounds whose peak is 1, about


def hann(n_fft: int) -> np.ndarray:
    """Returns the periodic Hann window, (1 - cos(2 pi i / n)) / 2: that of librosa and torch, not `np.hanning`."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)


def padded(x: Float[Array, "b t"], n_fft: int, hop: int, padding: Padding) -> jax.Array:
    """Returns the sounds with what stands around them. "none": nothing. "centre": n_fft/2 mirrored samples on both sides, t/hop +
    1 frames, librosa's default. "inside": (n_fft - hop)/2 mirrored samples on both sides, so that t samples give t/hop
    frames (HiFi-GAN). Raises UserError for a hop that does not divide n_fft, and for sounds that are shorter than what
    is mirrored.
    """
    if n_fft % hop:
        raise UserError(f"a hop of {hop} samples does not divide frames of {n_fft}: take {n_fft // 4} or {n_fft // 2}")
    by = {"none": 0, "centre": n_fft // 2, "inside": (n_fft - hop) // 2}[padding]
    if by >= x.shape[1]:
        raise UserError(f"sounds of {x.shape[1]} samples are shorter than the {by} that are mirrored around them")
    return jnp.pad(x, ((0, 0), (by, by)), mode="reflect") if by else jnp.asarray(x)


def frames(x: Float[Array, "b t"], n_fft: int, hop: int) -> Float[Array, "b f n"]:
    """Returns the whole frames of the sounds, without a window: [b (t - n_fft)/hop + 1 n_fft]."""
    parts = n_fft // hop
    count = (x.shape[1] - n_fft) // hop + 1
    pieces = jnp.asarray(x)[:, : (count + parts - 1) * hop].reshape(x.shape[0], count + parts - 1, hop)
    return jnp.concatenate([pieces[:, i : i + count] for i in range(parts)], -1)  # [b f hop] -> [b f n_fft]


def stft(x: Float[Array, "b t"], n_fft: int, hop: int, padding: Padding = "inside") -> Complex[Array, "b f k"]:
    """Returns the transforms [b frames n_fft/2 + 1]. Raises UserError as `padded`."""
    window = jnp.asarray(hann(n_fft), x.dtype)
    return jnp.fft.rfft(frames(padded(x, n_fft, hop, padding), n_fft, hop) * window[None, None])


def istft(z: Complex[Array, "b f k"], hop: int, padding: Padding = "inside") -> Float[Array, "b t"]:
    """Returns the sounds whose frames are nearest to these transforms in squares: frames times the window, added where they
    overlap, over the summed squares of windows (Griffin and Lim 1984, equation 6). Of `stft` it is the inverse, but where no
    window is above 0.
    """
    n_fft, count = 2 * (z.shape[-1] - 1), z.shape[1]
    window = jnp.asarray(hann(n_fft), z.real.dtype)
    parts = n_fft // hop

    def added(framed: jax.Array) -> jax.Array:
        pieces = framed.reshape(*framed.shape[:2], parts, hop)  # [b f n_fft] -> [b f parts hop]
        later = [jnp.pad(pieces[:, :, i], ((0, 0), (i, parts - 1 - i), (0, 0))) for i in range(parts)]
        return sum(later[1:], later[0]).reshape(framed.shape[0], -1)  # [b t]

    sound = added(jnp.fft.irfft(z, n_fft) * window[None, None])
    weight = added(jnp.broadcast_to(window[None, None] ** 2, (1, count, n_fft)))
    sound = sound / jnp.maximum(weight, 1e-8)
    by = {"none": 0, "centre": n_fft // 2, "inside": (n_fft - hop) // 2}[padding]
    return sound[:, by : sound.shape[1] - by]


def magnitude(z: Complex[Array, "b f k"]) -> Float[Array, "b f k"]:
    """Returns sqrt(re^2 + im^2 + 1e-9), whose gradient is finite at silence (HiFi-GAN's)."""
    return jnp.sqrt(z.real**2 + z.imag**2 + 1e-9)


def to_mel(hertz: np.ndarray | float, scale: Literal["slaney", "htk"] = "slaney") -> np.ndarray:
    """Returns mels of frequencies. Slaney's: 200/3 Hz each up to 1,000 Hz, 15 mels, then 27 for a factor of 6.4; HTK's: 2595
    log10(1 + f / 700).
    """
    hertz = np.asarray(hertz, np.float64)
    if scale == "htk":
        return np.asarray(2595 * np.log10(1 + hertz / 700))
    linear = hertz * 3 / 200
    return np.where(hertz < 1_000, linear, 15 + 27 * np.log(np.maximum(hertz, 1_000) / 1_000) / np.log(6.4))


def from_mel(mels: np.ndarray | float, scale: Literal["slaney", "htk"] = "slaney") -> np.ndarray:
    """Returns frequencies of mels, in Hz."""
    mels = np.asarray(mels, np.float64)
    if scale == "htk":
        return np.asarray(700 * (10 ** (mels / 2595) - 1))
    return np.where(mels < 15, mels * 200 / 3, 1_000 * np.exp((np.maximum(mels, 15) - 15) / 27 * np.log(6.4)))


def mel_matrix(
    rate: int, n_fft: int, mels: int, low: float, high: float, scale: Literal["slaney", "htk"] = "slaney"
) -> np.ndarray:
    """Returns filters [mels n_fft/2 + 1], float64: triangles, linear in Hz, between frequencies that are evenly spaced in mels, each
    of area 1 (times 2 / its width in Hz), as librosa's default. Raises UserError where one is empty: too many for so few bins.
    """
    bins = np.linspace(0, rate / 2, n_fft // 2 + 1)
    edges = from_mel(np.linspace(to_mel(low, scale), to_mel(high, scale), mels + 2), scale)
    rising = (bins[None] - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins[None]) / np.diff(edges)[1:, None]
    filters = np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]
    if empty := int((filters.max(1) == 0).sum()):
        raise UserError(
            f"{empty} of {mels} mels between {low:g} and {high:g} Hz hold none of the {n_fft // 2 + 1} bins: take fewer, or a larger n_fft"
        )
    return filters


def log_mel(
    x: Float[Array, "b t"], filters: np.ndarray, hop: int, padding: Padding = "inside", least: float = 1e-5
) -> Float[Array, "b f m"]:
    """Returns ln max(magnitude of the filters, `least`), [b frames mels]: HiFi-GAN's, of filters as of `mel_matrix`."""
    spectrum = magnitude(stft(x, 2 * (filters.shape[1] - 1), hop, padding))
    mels = jnp.einsum("bfk,mk->bfm", spectrum, jnp.asarray(filters, spectrum.dtype), precision="highest")
    return jnp.log(jnp.maximum(mels, least))


class Mels(NamedTuple):
    """How sounds are heard: log-mels of one setting. `self(sounds)` is `log_mel`, [b t 1] -> [b f m].

    Another setting is another kind of data: a vocoder is of use for its own alone.
    """

    rate: int = 8_000
    n_fft: int = 512
    hop: int = 128
    mels: int = 64
    least: float = 1e-5

    @property
    def filters(self) -> np.ndarray:
        """The filters, from 0 to half of the rate."""
        return mel_matrix(self.rate, self.n_fft, self.mels, 0, self.rate / 2)

    def __call__(self, sounds: Float[Array, "b t 1"]) -> Float[Array, "b f m"]:
        return log_mel(sounds[..., 0], self.filters, self.hop, "inside", self.least)

    def scaled(self, log_mels: Float[Array, "b f m"]) -> Float[Array, "b f m"]:
        """Returns log-mels in [-1, 1], as networks are given them and make them: -1 is `least`, and 1 is LOUDEST."""
        low = np.log(self.least)
        return jnp.clip(2 * (jnp.asarray(log_mels) - low) / (LOUDEST - low) - 1, -1, 1)

    def unscaled(self, scaled: Float[Array, "b f m"]) -> Float[Array, "b f m"]:
        """The inverse of `scaled`."""
        low = np.log(self.least)
        return (jnp.asarray(scaled) + 1) / 2 * (LOUDEST - low) + low


def griffin_lim(
    spectrum: Float[Array, "b f k"], hop: int, iterations: int = 32, padding: Padding = "inside", momentum: float = 0.99
) -> Float[Array, "b t"]:
    """Returns sounds of these magnitudes: from phases of 0 on, each iteration takes the phases of what was made, and goes further by
    the momentum. Griffin and Lim 1984; momentum: Perraudin et al. 2013. With 0 the distance from the magnitudes never grows.
    """
    n_fft = 2 * (spectrum.shape[-1] - 1)

    def again(carry: tuple, _: None) -> tuple[tuple, None]:
        phases, last = carry
        made = stft(istft(spectrum * phases, hop, padding), n_fft, hop, padding)
        ahead = made + momentum * (made - last)
        return (ahead / jnp.maximum(jnp.abs(ahead), 1e-12), made), None

    start = jnp.ones(spectrum.shape, jnp.result_type(spectrum.dtype, jnp.complex64))
    (phases, _), _ = jax.lax.scan(again, (start, jnp.zeros_like(start)), None, length=iterations)
    return istft(spectrum * phases, hop, padding)


def mels_to_magnitude(log_mels: Float[Array, "b f m"], filters: np.ndarray) -> Float[Array, "b f k"]:
    """Returns the magnitudes of least squares for these mels, by the pseudoinverse, cut at 0."""
    inverse = jnp.asarray(np.linalg.pinv(filters), log_mels.dtype)  # [k m]
    return jnp.maximum(jnp.einsum("bfm,km->bfk", jnp.exp(log_mels), inverse, precision="highest"), 0)

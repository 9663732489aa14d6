"""Samples that are heard: one file of sounds one after another, and a picture of their spectra."""

import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.io.wavfile
import scipy.signal
from jaxtyping import Float

from gan_jax.types import Batch, PyTree
from gan_jax.workdir import pictures

HEARD, PAUSE = 20, 0.15  # sounds in one file, and seconds between them
FRAME = 256  # samples of a frame of the spectra, of which each begins a quarter later
SOFTEST = 1e-4  # magnitude that is black, of a loudest one of 1


class Sounding(NamedTuple):
    """How samples are heard: samples in a second, and the function from samples to sounds [b t] in [-1, 1]."""

    rate: int
    heard: Callable[[PyTree], np.ndarray]


def raw(samples: PyTree) -> np.ndarray:
    """Returns samples that are sounds, [b t 1] -> [b t]."""
    return np.asarray(samples, np.float32)[..., 0]


def shown(sounding: Sounding) -> Callable[[PyTree, Batch], dict[str, bytes]]:
    """Returns the `show` of a recipe whose samples are heard: a .wav and a .png. Where it is known what a sample should be, the batch's
    "image" [b t 1], that follows each.
    """

    def show(samples: PyTree, batch: Batch) -> dict[str, bytes]:
        sounds = sounding.heard(samples)
        if "image" in batch and len(batch["image"]) == len(sounds):
            sounds = np.stack([sounds, raw(batch["image"])], 1).reshape(-1, sounds.shape[-1])
        gap = np.zeros(round(PAUSE * sounding.rate), np.float32)
        joined = np.concatenate([part for sound in sounds[:HEARD] for part in (sound, gap)])
        return {"wav": wav(joined, sounding.rate), "png": pictures.png(pictures.grid(spectra(sounds)))}

    return show


def spectra(sounds: Float[np.ndarray, "b t"]) -> Float[np.ndarray, "b h w 1"]:
    """Returns pictures of the logarithms of magnitudes, high tones at the top: 1 is the loudest of all, -1 is SOFTEST of it."""
    _, _, z = scipy.signal.stft(np.asarray(sounds), nperseg=FRAME, noverlap=3 * FRAME // 4)  # [b k f]
    size = np.abs(z)
    logs = np.log(np.maximum(size / max(float(size.max()), 1e-12), SOFTEST)) / np.log(SOFTEST)  # 0 the loudest, 1 black
    return (1 - 2 * logs[:, ::-1, :, None]).astype(np.float32)


def wav(samples: Float[np.ndarray, " t"], rate: int) -> bytes:
    """Returns a WAV file of 16 bits, of samples [t] or [t c] in [-1, 1]; what lies beyond is cut off."""
    file = io.BytesIO()
    scipy.io.wavfile.write(file, rate, np.round(np.clip(samples, -1, 1) * 32_767).astype(np.int16))
    return file.getvalue()

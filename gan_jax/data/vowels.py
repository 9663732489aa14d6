"""Vowels that gan_jax makes itself, so that the first run with sounds needs no recordings: pulses of a voice through the
resonances (formants) of a mouth.
"""

import numpy as np
import scipy.signal

from gan_jax.data.understood import understood
from gan_jax.data.validate import digest
from gan_jax.types import ImageSet

# Hz, of men's voices: Peterson and Barney 1952, table II.
FORMANTS = {
    "ee": (270, 2290, 3010),
    "eh": (530, 1840, 2480),
    "ah": (730, 1090, 2440),
    "aw": (570, 840, 2410),
    "oo": (300, 870, 2240),
}
BANDS = (60, 90, 150)  # widths of the resonances, Hz


def vowels(count: int, rate: int, length: int, seed: int) -> ImageSet:
    """Returns `count` sounds [n length 1] in [-1, 1], the five classes in turn, drawn by the seed: 60 to 100 % of the length,
    of a pitch of 90 to 220 Hz that falls by up to a third, formants up to 8 % off, 0.95 at the loudest.
    """
    rng = np.random.default_rng(seed)
    sounds = np.zeros((count, length, 1), np.float32)
    labels = (np.arange(count) % len(FORMANTS)).astype(np.int32)
    for i, name in enumerate(np.array([*FORMANTS])[labels]):
        long = int(length * rng.uniform(0.6, 1))
        pitch = rng.uniform(90, 220) * np.linspace(1, rng.uniform(2 / 3, 1), long)
        turns = np.cumsum(pitch) / rate
        sound = np.diff(np.floor(turns), prepend=0) + 0.01 * rng.normal(size=long)  # pulses, and a little breath
        sound = scipy.signal.lfilter([1], [1, -0.9], sound)  # a voice is softer in its high tones
        for frequency, band in zip(FORMANTS[name], BANDS, strict=True):
            centre = frequency * rng.uniform(0.92, 1.08)
            if centre < rate / 2:
                radius = np.exp(-np.pi * band / rate)
                sound = scipy.signal.lfilter(
                    [1], [1, -2 * radius * np.cos(2 * np.pi * centre / rate), radius**2], sound
                )
        fade = min(long // 4, rate // 50)
        sound[:fade] *= np.linspace(0, 1, fade)
        sound[-fade:] *= np.linspace(1, 0, fade)
        sounds[i, :long, 0] = 0.95 * sound / np.abs(sound).max()
    name = f"vowels, {count} by {seed}"
    facts = {"layout": f"{count} vowels at {rate} samples a second, made by gan_jax"}
    return understood(ImageSet(sounds, labels, len(FORMANTS), name, digest(sounds, labels), (*FORMANTS,), facts))

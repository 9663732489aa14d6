"""Measures of a vocoder on held-out sounds, whose mels it is given: spectra at resolutions that nobody was trained on, beside
Griffin-Lim's, which takes no training.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gan_jax.evaluation.hearing import Judge
from gan_jax.models.spectra import Mels, griffin_lim, magnitude, mels_to_magnitude, stft
from gan_jax.types import Array, Draw, Evaluate, ImageSet, Record

RESOLUTIONS = (128, 256, 1_024, 2_048)  # samples of a frame, a quarter of which is the hop
FLOOR = 1e-3  # magnitudes below count as this
ITERATIONS = 32
ROWS = 50  # sounds at a time


def spectral(made: Float[Array, "b t"], real: Float[Array, "b t"], lasting: Array, n_fft: int) -> tuple:
    """Returns of each sound the mean of |ln max(|Y|, FLOOR) - ln max(|X|, FLOOR)|, and | |Y| - |X| | / | |X| | (spectral convergence),
    of the frames that lie within the first `lasting` [b] samples.
    """
    hop = n_fft // 4
    y, x = (magnitude(stft(jnp.asarray(one), n_fft, hop)) for one in (made, real))
    within = jnp.arange(x.shape[1])[None] < jnp.maximum(1, jnp.asarray(lasting)[:, None] // hop)
    where = within[..., None]
    logs = jnp.abs(jnp.log(jnp.maximum(y, FLOOR)) - jnp.log(jnp.maximum(x, FLOOR)))
    log = jnp.sum(where * logs, (1, 2)) / (jnp.sum(where, (1, 2)) * x.shape[2])
    apart, all_of = (jnp.sqrt(jnp.sum(where * z**2, (1, 2))) for z in (y - x, x))
    return log, apart / jnp.maximum(all_of, 1e-9)


def voiced(sounds: Float[Array, "b t"], rate: int) -> np.ndarray:
    """Returns whether each frame of 64 ms, a quarter of it after the last one, is of a voice: as loud as -40 dB, and as its own
    copy by 2.5 to 17 ms later with a correlation of 0.5 or more. [b frames]
    """
    size = 4 * (rate // 62)
    pieces = np.lib.stride_tricks.sliding_window_view(np.asarray(sounds, np.float64), size, axis=1)[:, :: size // 4]
    power = np.fft.rfft(pieces - pieces.mean(-1, keepdims=True), 2 * size)
    same = np.fft.irfft(power * power.conj(), 2 * size)[..., :size]  # [b f lag]
    lags = slice(rate // 400, rate // 60 + 1)
    near = same[..., lags] / np.maximum(same[..., :1], 1e-12) / (1 - np.arange(size)[lags] / size)
    return np.asarray((near.max(-1) >= 0.5) & (same[..., 0] / size >= 1e-4))


def lasting(sounds: Float[Array, "b t"]) -> np.ndarray:
    """Returns how many samples each sound has, but for the silence after it."""
    heard = np.asarray(sounds) != 0
    return np.where(heard.any(1), heard.shape[1] - heard[:, ::-1].argmax(1), 0)


def measures(test: ImageSet, mels: Mels, judges: Mapping[str, Judge]) -> Evaluate:
    """Returns the measures of a generator that makes sounds of "mel", scaled, on the sounds of `test`: "log_spectral" and "convergence"
    (`spectral`), means over RESOLUTIONS, and "log_spectral_N" of each; "mel_l1", of its mels and those that it was given;
    "voicing", the share of frames that are of a voice in both or in none; and for each of `judges` the share of sounds that are
    heard as what they are, "NAME_kept".

    Protocols hold as "answers" the values of Griffin-Lim's 32 iterations from these mels, and of another sound in the place of each.
    """
    real = np.asarray(test.images)[..., 0]
    long = lasting(real)
    heard = jax.jit(lambda x: mels(x[..., None]))
    given = np.concatenate([np.asarray(heard(part)) for part in _parts(real)])
    measured = {n: jax.jit(lambda y, x, long, n=n: spectral(y, x, long, n)) for n in RESOLUTIONS}

    def voices(sounds: np.ndarray) -> np.ndarray:
        return np.concatenate([voiced(part, mels.rate) for part in _parts(sounds)])

    true = voices(real)
    # Frames that begin in the sound: the silence after it is told from a voice by anybody.
    spoken = np.arange(true.shape[1])[None] * (mels.rate // 62) < long[:, None]

    def values(made: np.ndarray) -> dict[str, float]:
        found: dict[str, float] = {}
        each = {
            n: [measured[n](*part) for part in zip(_parts(made), _parts(real), _parts(long), strict=True)]
            for n in RESOLUTIONS
        }
        for which, name in enumerate(("log_spectral", "convergence")):
            by = {n: float(np.concatenate([np.asarray(one[which]) for one in each[n]]).mean()) for n in RESOLUTIONS}
            found[name] = float(np.mean([*by.values()]))
            if name == "log_spectral":
                found |= {f"{name}_{n}": value for n, value in by.items()}
        logs = np.concatenate([np.asarray(heard(part)) for part in _parts(made)])
        within = np.arange(given.shape[1])[None] < np.maximum(1, long[:, None] // mels.hop)
        found["mel_l1"] = float(((np.abs(logs - given).mean(-1) * within).sum(1) / within.sum(1)).mean())
        found["voicing"] = float((voices(made) == true)[spoken].mean())
        return found | {f"{name}_kept": float(judge.right(made[..., None]).mean()) for name, judge in judges.items()}

    def answers() -> dict[str, dict[str, float]]:
        inverted = jax.jit(lambda x: griffin_lim(mels_to_magnitude(x, mels.filters), mels.hop, ITERATIONS))
        made = np.concatenate([np.asarray(inverted(part)) for part in _parts(given)])
        found = {"griffin_lim": values(made), "another": values(np.roll(real, len(real) // 2, 0))}
        return found | {"real": {key: value for key, value in values(real).items() if key.endswith("_kept")}}

    beside: dict[str, dict[str, float]] = {}
    how = {
        "real": len(real), "real_split": "test", "data": test.name, "data_digest": test.digest,
        "mels": f"{mels.mels} of {mels.rate} Hz, frames of {mels.n_fft} every {mels.hop}",
    }  # fmt: skip

    def measure(draw: Draw) -> dict[str, Record]:
        if not beside:  # a run that is only loaded needs none
            beside.update(answers())
        found = values(np.asarray(draw({"mel": np.asarray(mels.scaled(given))}))[..., 0])
        return {
            key: Record(
                value,
                key == "voicing" or key.endswith("_kept"),
                {
                    **how,
                    **(judges[key.removesuffix("_kept")].how if key.endswith("_kept") else {}),
                    "answers": {answer: of[key] for answer, of in beside.items() if key in of},
                },
            )
            for key, value in found.items()
        }

    kept = tuple(f"{name}_kept" for name in judges)
    names = ("log_spectral", "convergence", *(f"log_spectral_{n}" for n in RESOLUTIONS), "mel_l1", "voicing", *kept)
    return Evaluate(measure, names)


def _parts(x: np.ndarray) -> list[np.ndarray]:
    return [x[i : i + ROWS] for i in range(0, len(x), ROWS)]

"""Sounds from WAV files: of one rate, one length and one loudness, [n t 1] floats in [-1, 1].

Other kinds of files (FLAC, OGG, MP3) are read where soundfile is installed: pip install soundfile.
"""

import io
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import scipy.io.wavfile
import scipy.signal

from gan_jax.data.folders import entries
from gan_jax.data.understood import understood
from gan_jax.data.validate import digest
from gan_jax.types import ImageSet, UserError

WAV, OTHER = (".wav", ".wave"), (".flac", ".ogg", ".oga", ".mp3", ".aif", ".aiff")
SILENT = 1e-4  # peak below which there is nothing to hear, -80 dB
CLIPPED = 0.999  # of the largest value; a sound with CLIPS such samples in a row was cut off when it was recorded
CLIPS = 4
SHOWN = 3  # files named in a message


class Sound(NamedTuple):
    """One sound as it was read."""

    samples: np.ndarray  # [t] float64 in [-1, 1], the mean of its channels
    rate: int  # samples in a second


def read_file(path: str | os.PathLike) -> Sound:
    """Reads one file. Raises ValueError or OSError for a damaged one, and UserError where soundfile is needed."""
    if Path(path).suffix.lower() in WAV:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", scipy.io.wavfile.WavFileWarning)  # chunks that are not understood
            rate, held = scipy.io.wavfile.read(path)
        samples = np.asarray(held, np.float64)
        if held.dtype == np.uint8:
            samples = (samples - 128) / 128
        elif held.dtype.kind == "i":
            samples = samples / -float(np.iinfo(held.dtype).min)
    else:
        try:
            import soundfile
        except ImportError as error:
            raise UserError(f"{path}: only WAV files are read without soundfile: pip install soundfile") from error
        samples, rate = soundfile.read(path)
    if not samples.size:
        raise ValueError("no samples")
    if not np.isfinite(samples).all():
        raise ValueError("samples that are not finite")
    return Sound(samples.mean(1) if samples.ndim > 1 else samples, int(rate))


def prepared(sound: Sound, rate: int, length: int, loudness: Literal["peak", "as_is"] = "peak") -> np.ndarray:
    """Returns the sound [length] float32 at that rate: resampled by a polyphase filter, with "peak" scaled so that the loudest sample
    is 0.95, cut off or followed by silence.
    """
    samples = sound.samples
    if sound.rate != rate:
        common = int(np.gcd(sound.rate, rate))
        samples = scipy.signal.resample_poly(samples, rate // common, sound.rate // common)
    if loudness == "peak":
        samples = 0.95 * samples / max(float(np.abs(samples).max()), 1e-12)
    samples = np.clip(samples, -1, 1)[:length]
    return np.pad(samples, (0, length - len(samples))).astype(np.float32)


def read(
    path: str | os.PathLike,
    *,
    rate: int = 0,
    length: int,
    loudness: Literal["peak", "as_is"] = "peak",
) -> ImageSet:
    """Reads all sounds of a folder, in the order of their names, as floats [n length 1]; sub-folders are the classes.

    `rate` is the number of samples in a second to which all are resampled; 0: that of the files, which must be one. Several
    channels become their mean. What was understood is in `facts`: the rate, how long the sounds are, how many are
    clipped, or cut off by `length`. Raises UserError for files that are damaged, silent or too short to be anything (under a
    hundredth of a second), with three of them named, and for several rates without `rate`.
    """
    name, root = os.fspath(path), Path(path).expanduser()
    if rate < 0 or length < 1:
        raise UserError(f"rate {rate}, length {length}: a rate in samples a second, or 0, and at least one sample")
    files, labels, names = _listed(root, name)
    sounds, wrong = [], []
    for file in files:
        try:
            sound = read_file(file)
        except (OSError, ValueError, EOFError, RuntimeError) as error:
            wrong.append(f"{file.name} (damaged: {error})")
            continue
        if np.abs(sound.samples).max() < SILENT:
            wrong.append(f"{file.name} (silent)")
        elif len(sound.samples) < sound.rate / 100:
            wrong.append(f"{file.name} ({len(sound.samples)} samples)")
        sounds.append(sound)
    if wrong:
        shown = ", ".join(wrong[:SHOWN])
        raise UserError(f"{name}: {len(wrong)} of {len(files)} sounds cannot be used: {shown}; replace or remove them")
    rates = sorted({sound.rate for sound in sounds})
    if len(rates) > 1 and not rate:
        raise UserError(
            f"{name}: sounds of several rates, {', '.join(map(str, rates))}: bring them to one by rate={rates[0]}"
        )
    rate = rate or rates[0]
    held = np.stack([prepared(sound, rate, length, loudness) for sound in sounds])[..., None]
    seconds = [len(sound.samples) / sound.rate for sound in sounds]
    longer = sum(one * rate > length + 1 for one in seconds)
    facts: dict[str, Any] = {
        "layout": f"{len(sounds)} sounds at {rate} samples a second, {min(seconds):.2f} to {max(seconds):.2f} s, of which {length / rate:.2f} s"
        f" are taken: {longer} are cut off; {sum(map(clipped, sounds))} were recorded too loud",
        "folder": str(root.absolute()),
        "path": str(root.absolute()),
    }  # fmt: skip
    found = ImageSet(held, labels, len(names), name, digest(held, labels), names, facts)
    return understood(found)


def clipped(sound: Sound) -> bool:
    """Returns whether CLIPS samples in a row are at the largest value that there is: it was cut off when it was recorded."""
    most = np.abs(sound.samples) >= CLIPPED
    return bool(np.convolve(most, np.ones(CLIPS), "valid").max() >= CLIPS) if len(most) >= CLIPS else False


def wav(samples: np.ndarray, rate: int) -> bytes:
    """Returns a WAV file of 16 bits, of samples [t] or [t c] in [-1, 1]; what lies beyond is cut off."""
    file = io.BytesIO()
    scipy.io.wavfile.write(file, rate, np.round(np.clip(samples, -1, 1) * 32_767).astype(np.int16))
    return file.getvalue()


def _listed(root: Path, name: str) -> tuple[list[Path], np.ndarray | None, tuple[str, ...]]:
    """The files, and their classes where there are sub-folders."""
    if not root.is_dir():
        raise UserError(f"{name}: no such folder ({root.absolute()})")
    _, deeper, others = entries(root)
    flat = _sounds(others)
    if flat and deeper:
        raise UserError(
            f"{name}: holds sounds ({flat[0].name}) and sub-folders ({deeper[0].name}): either all lie flat, or all in classes"
        )
    if flat:
        return flat, None, ()
    files: list[Path] = []
    labels: list[int] = []
    for number, folder in enumerate(deeper):
        inside = _sounds(entries(folder)[2])
        if not inside:
            raise UserError(f"{name}: class {folder.name} has no sounds: delete it, or fill it")
        files += inside
        labels += [number] * len(inside)
    if not files:
        raise UserError(f"{name}: no sounds: {', '.join((*WAV, *OTHER))} are read")
    return files, np.array(labels, np.int32), tuple(folder.name for folder in deeper)


def _sounds(files: Sequence[Path]) -> list[Path]:
    return [file for file in files if file.suffix.lower() in (*WAV, *OTHER)]

"""Measures of sounds by classifiers of their log-mels: what is heard, and by whom it is spoken.

Features are the 128 before the logits, of pictures of mels that are floats: nothing is rounded to eight bits. Speakers are known
where a folder has train and test, and its files are named SPEAKER_NUMBER.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from gan_jax.data import sounds
from gan_jax.data.validate import digest
from gan_jax.evaluation import classifier
from gan_jax.metrics.frechet import frechet
from gan_jax.metrics.inception_score import inception_score
from gan_jax.metrics.kid import mmd2
from gan_jax.metrics.two_sample import nearest
from gan_jax.models.spectra import Mels
from gan_jax.system.terminal import say
from gan_jax.types import Draw, Evaluate, ImageSet, PyTree, Record, UserError

ROWS = 100  # sounds at a time
FOUND = 0.01  # share of fakes from which on a speaker counts as found
FEWEST = 40


def pictures_of(waves: np.ndarray, mels: Mels) -> np.ndarray:
    """Returns pictures [n f m 1] in [-1, 1] of sounds [n t 1]: scaled mels."""
    heard = jax.jit(lambda x: mels.scaled(mels(x))[..., None])
    return np.concatenate([np.asarray(heard(waves[i : i + ROWS])) for i in range(0, len(waves), ROWS)])


def halved(pictures: np.ndarray) -> np.ndarray:
    """Returns means of 2x2 values, [n f m 1] -> [n f/2 m/2 1], by which sounds are classified: faster, and no worse."""
    n, f, m, c = pictures.shape
    return pictures[:, : f // 2 * 2, : m // 2 * 2].reshape(n, f // 2, 2, m // 2, 2, c).mean((2, 4))


def seen(images: ImageSet, mels: Mels) -> ImageSet:
    """Returns the set of sounds as pictures of mels."""
    return _with(images, pictures_of(np.asarray(images.images), mels))


def _listener(learnt: ImageSet, mels: Mels) -> classifier.Trained:
    """A classifier of the sounds, which is given what `halved` makes of their pictures."""
    return classifier.trained(_with(learnt, halved(pictures_of(np.asarray(learnt.images), mels))), classifier.STEPS)


def _with(images: ImageSet, held: np.ndarray) -> ImageSet:
    return images._replace(images=held, digest=digest(held, images.labels))


def spoken(learnt: ImageSet, test: ImageSet, folder: str) -> tuple[ImageSet, ImageSet] | None:
    """Returns both sets with speakers as their classes, where these are known, else None."""
    try:
        found = [sounds.speakers(Path(folder) / split) for split in ("train", "test")]
    except UserError:
        return None
    (first, names), (second, others) = found
    if names != others or len(names) < 2 or [len(first), len(second)] != [len(learnt.images), len(test.images)]:
        return None
    both = zip((learnt, test), (first, second), strict=True)
    made = [
        one._replace(labels=who, classes=len(names), names=names, digest=digest(np.asarray(one.images), who))
        for one, who in both
    ]
    return made[0], made[1]


class Judge(NamedTuple):
    """Says of sounds [n t 1] made of those held out whether each is heard as what it is; and how it knows."""

    right: Callable[[np.ndarray], np.ndarray]
    how: dict[str, Any]


def judges(learnt: ImageSet, test: ImageSet, mels: Mels, folder: str) -> dict[str, Judge]:
    """Returns judges of the class and of the speaker, {"class": .., "speaker": ..}, as far as they are known."""
    sets = {"class": (learnt, test)} if learnt.classes else {}
    if (by := spoken(learnt, test, folder)) is not None:
        sets["speaker"] = by

    def judge(learnt: ImageSet, test: ImageSet) -> Judge:
        network = _listener(learnt, mels)
        return Judge(
            lambda waves: np.asarray(network(halved(pictures_of(waves, mels)))[1]).argmax(1) == test.labels,
            {"classifier": f"of {learnt.name}, {network.steps} steps", "network_weights": network.digest},
        )

    return {name: judge(*both) for name, both in sets.items()}


def measures(
    learnt: ImageSet,
    test: ImageSet,
    mels: Mels,
    folder: str,
    heard: Callable[[PyTree], np.ndarray],
    *,
    conditional: bool,
    through: Callable[[np.ndarray], np.ndarray] | None = None,
    voice: str = "none",
) -> Evaluate | None:
    """Returns the measures of a generator of sounds, as many as were learnt, of their classes if it is `conditional`:
    "frechet_sounds", the Fréchet distance of features from those of the sounds learnt; "kid_sounds", the unbiased MMD from those of
    `test`, times 1,000; "inception_score_sounds"; "class_accuracy"; "speakers", the share of those who speak at least 1 % of the
    fakes; and "nearest", the median distance of a fake to the nearest sound that was learnt, over that of held-out ones: far below 1 where
    sounds are copied, far above where they are unlike any. None, with a word, for sounds without classes or with fewer than FEWEST held out.

    `heard` makes sounds [n t] of samples, by what `voice` names. Protocols hold the floor of Fréchet distance, of two halves of
    what was learnt, and as "answers" the values of test sounds, of these backwards, of noise with the mean spectrum and
    envelope of real ones and, with `through`, of test sounds through the voice (sounds [n t 1] to sounds [n t 1]): all of
    as many as there are test sounds, "answers_of". The real ones of KID are as many that were learnt.
    """
    if not learnt.classes or len(test.images) < FEWEST:
        few = (
            f"{len(test.images)} held-out sounds, and {FEWEST} are needed"
            if learnt.classes
            else "no classes (sub-folders)"
        )
        say(f"{learnt.name} has {few}: nothing is measured, but by --data that has them", error=True)
        return None
    network = _listener(learnt, mels)
    by = spoken(learnt, test, folder)
    who = None if by is None else _listener(by[0], mels)
    real, held = (np.asarray(one.images) for one in (learnt, test))
    features, held_features = (np.asarray(network(halved(pictures_of(x, mels)))[0]) for x in (real, held))
    order = np.random.default_rng(0).permutation(len(features))
    halves = features[order[: len(order) // 2]], features[order[len(order) // 2 : len(order) // 2 * 2]]
    away = np.median(nearest(held_features, features, 1)[0])
    labels = np.asarray(learnt.labels, np.int32)

    def values(waves: np.ndarray, asked: np.ndarray | None) -> dict[str, float]:
        seen_as = halved(pictures_of(waves, mels))
        found, logits = (np.asarray(x) for x in network(seen_as))
        out = {
            "frechet_sounds": frechet(features, found),
            "kid_sounds": 1e3 * mmd2(held_features, found),
            "inception_score_sounds": inception_score(logits, splits=1).mean,
            "nearest": float(np.median(nearest(found, features, 1)[0]) / away),
        }
        if asked is not None:
            out["class_accuracy"] = float((logits.argmax(1) == asked).mean())
        if who is not None:
            spoke = np.bincount(np.asarray(who(seen_as)[1]).argmax(1), minlength=who.classes)
            out["speakers"] = float((spoke >= FOUND * len(waves)).mean())
        return out

    trivial: dict[str, np.ndarray] = {"real": held, "backwards": held[:, ::-1], "noise": noise_like(real, len(held))}
    if through is not None:
        trivial["vocoder"] = through(held)
    beside = {
        answer: values(x, test.labels if conditional and answer != "noise" else None) for answer, x in trivial.items()
    }
    beside["real"]["kid_sounds"] = 1e3 * mmd2(held_features, features[order[: len(held)]])
    how: dict[str, Any] = {
        "voice": voice, "answers_of": len(held), "real": len(real), "fake": len(real), "real_split": "train", "data": learnt.name, "data_digest": learnt.digest,
        "features": f"classifier of {learnt.name}, {network.steps} steps, the layer before the logits",
        "network_weights": network.digest,
        "mels": f"{mels.mels} of {mels.rate} Hz, frames of {mels.n_fft} every {mels.hop}",
    }  # fmt: skip
    own: dict[str, dict[str, Any]] = {
        "frechet_sounds": {"floor": frechet(*halves), "floor_of": f"two halves, {len(halves[0])} each"},
        "kid_sounds": {"real": len(held), "real_split": "test"},
    }
    if who is not None:
        told = {"features": f"a classifier of its speakers, {who.steps} steps", "network_weights": who.digest}
        own["speakers"] = {**told, "found_from": FOUND}
    higher = {"frechet_sounds": False, "kid_sounds": False, "nearest": None}

    def measure(draw: Draw) -> dict[str, Record]:
        samples = draw({"label": labels}) if conditional else draw(len(labels))
        found = values(np.asarray(heard(samples))[..., None], labels if conditional else None)
        out = {}
        for key, value in found.items():
            answers = {answer: of[key] for answer, of in beside.items() if key in of}
            out[key] = Record(value, higher.get(key, True), {**how, **own.get(key, {}), "answers": answers})
        return out

    more = [*(["class_accuracy"] if conditional else []), *([] if who is None else ["speakers"])]
    names = ("frechet_sounds", "kid_sounds", "inception_score_sounds", "nearest", *more)
    return Evaluate(measure, names)


def noise_like(real: np.ndarray, count: int) -> np.ndarray:
    """Returns noise [count t 1] with the mean spectrum and the mean envelope of real sounds [n t 1]."""
    rng, t = np.random.default_rng(0), real.shape[1]
    some = real[rng.permutation(len(real))[:500]]
    power = np.mean([np.abs(np.fft.rfft(x[:, 0])) ** 2 for x in some], 0)
    noise = np.fft.irfft(np.fft.rfft(rng.normal(size=(count, t))) * np.sqrt(power), t)
    smooth = np.ones(256) / 256
    envelope = np.sqrt(np.convolve(np.mean(np.asarray(real[:, :, 0], np.float64) ** 2, 0), smooth, "same"))
    shaped = noise * envelope / np.maximum(np.abs(noise).max(), 1e-9)
    return (0.95 * shaped / np.abs(shaped).max(1, keepdims=True)).astype(np.float32)[..., None]

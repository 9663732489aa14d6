"""Which images people are asked about: samples of runs, and real images or, of runs that are given images, what should be made
of those.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from gan_jax import data
from gan_jax.data.sounds import load as sounds_of
from gan_jax.evaluation.hearing import spoken
from gan_jax.evaluation.judging import CLASSES, COUNT, PAIRS, PRACTICE, REAL, TIME, Plan
from gan_jax.evaluation.measurement import renumbered
from gan_jax.types import HeldOut, ImageSet, UserError, rows_of
from gan_jax.workdir import pictures
from gan_jax.workdir.audible import Sounding
from gan_jax.workdir.load import Saved, load, saved_run, sound_of
from gan_jax.workdir.sampler import Sampler


def questions(
    runs: Sequence[str],
    names: Sequence[str],
    *,
    protocol: str,
    count: int,
    seed: int,
    data_name: str = "",
    best: bool = False,
    member: int = 0,
) -> tuple[Plan, list[np.ndarray], dict[str, Any]]:
    """Returns the plan, what is shown of each contestant, images uint8 [n h w c] or sounds [n t] in [-1, 1], and what identifies the
    questions: of sounds with their "rate", and for the protocol "classes" with the names of all and "labels", of what is shown.

    Contestants are real images, unless several runs are compared, and the runs, by these names. `count` 0 is the
    protocol's. Runs that are given images make theirs of the held-out images of the first one; what is given stands to the left
    where it and what should be made of it are a pair. A single image and a real one are then never of the same pair,
    since one would give the other away. Raises UserError for what cannot be shown.
    """
    samplers, saved = [load(run, best=best, member=member) for run in runs], [saved_run(run) for run in runs]
    sounds = [sound_of(run) for run in saved]
    for run, sampler, sound in zip(runs, samplers, sounds, strict=True):
        _require_shown(run, sampler, sound, protocol)
    if len({None if sound is None else sound.rate for sound in sounds}) > 1:
        raise UserError("these runs are heard and seen, or heard at several rates, so their samples do not compare")
    if len({*names}) < len(names):
        raise UserError("a run is named twice")
    with_real = protocol != PAIRS or len(samplers) == 1
    contestants = (*([REAL] if with_real else []), *names)
    held_out = _held_out(saved[0], samplers, data_name)
    if held_out is not None and not count:
        count = _fitting(protocol, len(contestants), held_out)
    plan = Plan(protocol, seed, count or COUNT[protocol], contestants)
    asked: dict[str, Any] = {
        **{"protocol": plan.protocol, "seed": plan.seed, "count": plan.count, "contestants": [*contestants]},
        "runs": {
            name: {
                **{"step": sampler.step, **sampler.how, "member": member},
                **{"data_digest": sampler.data_digest, "weights_digest": weights_digest(sampler)},
            }
            for name, sampler in zip(names, samplers, strict=True)
        },
    }
    if held_out is not None:
        return (
            plan,
            _of_given(plan, held_out, samplers, with_real),
            asked | {"data": "held-out images", "given": held_out.beside is not None},
        )
    real, labels, heard = None, None, sounds[0]
    if heard is not None:
        asked["rate"] = heard.rate
    if with_real:
        images = (
            _real(saved[0], samplers[0], data_name) if heard is None else _real_sounds(saved[0], samplers[0], data_name)
        )
        if len(images.images) < plan.needed:
            most = plan.count - plan.needed + len(images.images)
            raise UserError(_too_few(images.name, len(images.images), plan.needed, most))
        rows = np.random.default_rng(plan.seed).permutation(len(images.images))[: plan.needed]
        real = pictures.to_uint8(images.scaled(rows)) if heard is None else np.asarray(images.images)[rows][..., 0]
        labels = None if images.labels is None else images.labels[rows]
        if protocol == CLASSES:
            if labels is None:
                raise UserError(
                    f"--protocol {CLASSES}: {images.name} has no labels, so nobody knows what is right: name other --data"
                )
            names_of = samplers[0].class_names
            asked |= {"classes": [*names_of], "labels": [names_of[label] for label in labels]}
        asked |= {"data": images.name, "data_digest": images.digest}
    elif (
        heard is None
        and len({(sampler.spec.shape, sampler.classes and sampler.class_names) for sampler in samplers}) > 1
    ):
        raise UserError(
            f"samples side by side have one size and one list of classes: {[sampler.spec.shape for sampler in samplers]}"
        )
    made = [
        pictures.to_uint8(_samples(sampler, plan, labels))
        if sound is None
        else sound.heard(_samples(sampler, plan, labels))
        for sampler, sound in zip(samplers, sounds, strict=True)
    ]
    if len({x.shape[1:] for x in made}) > 1:
        raise UserError(f"sounds side by side are of one length: {[x.shape[1] for x in made]} samples")
    return plan, [*([real] if real is not None else []), *made], asked


def weights_digest(sampler: Sampler) -> str:
    """Returns what tells a generator from all others, also of the same name: a digest of its arrays."""
    sha = hashlib.sha256()
    for leaf in jax.tree.leaves((sampler.generator.params, sampler.generator.stats)):
        sha.update(np.ascontiguousarray(leaf).tobytes())
    return sha.hexdigest()[:16]


def _too_few(name: str, there: int, needed: int, most: int, other: str = "name other --data") -> str:
    mend = f"give --count {most}, or less" if most > 0 else other
    return f"{name} has {there} images, and {needed} are shown: {mend}"


def _require_shown(run: str, sampler: Sampler, sound: Sounding | None, protocol: str) -> None:
    if protocol == CLASSES and not sampler.classes:
        raise UserError(f"--protocol {CLASSES}: the generator of {run} is not told classes: name one that is")
    if sound is not None and protocol == TIME:
        raise UserError(f"--protocol {TIME}: {run} makes sounds, which take their time")
    if sampler.programs.kinds.needs:
        if sound is not None:
            raise UserError(f"the generator of {run} is given mels: judge the one that makes them")
        return
    if sound is not None:
        return
    shape = sampler.spec.shape
    if len(shape) != 3 or shape[-1] not in (1, 3):
        raise UserError(f"samples of {run} are of shape {list(shape)}: only pictures are judged")


def _held_out(run: Saved, samplers: Sequence[Sampler], data_name: str) -> HeldOut | None:
    """What people judge runs by that are given images; None for others."""
    needs = {sampler.programs.kinds.needs for sampler in samplers}
    if needs == {()}:
        return None
    if len(needs) > 1:
        raise UserError("these runs are given different things, so their samples do not compare")
    if data_name:
        raise UserError(
            f"--data {data_name}: a run that is given images is judged by its own held-out images: leave it out"
        )
    setup = getattr(run.module, "setup", None)
    made = setup(run.config) if setup else None
    found = None if made is None else made.held_out
    if made is not None and made.source.digest != run.identity.get("data_digest", ""):
        raise UserError(
            f"{made.source.name} is no longer what {run.workdir} was trained on, so what was held out is not known"
        )
    if found is None:
        raise UserError(f"the setup of {run.module.__name__} has no held_out images, by which it could be judged")
    return found


def _fitting(protocol: str, contestants: int, held_out: HeldOut) -> int:
    """The protocol's number of questions, or as many as there are held-out images for."""
    there = _rows_of(held_out)
    if protocol == PAIRS:
        return max(1, min(COUNT[PAIRS], there // max(1, contestants * (contestants - 1) // 2)))
    return max(1, min(COUNT[protocol], there // 2 - PRACTICE))


def _rows_of(held_out: HeldOut) -> int:
    return min(len(held_out.real), rows_of(held_out.given))


def _of_given(plan: Plan, held_out: HeldOut, samplers: Sequence[Sampler], with_real: bool) -> list[np.ndarray]:
    there, apart = _rows_of(held_out), plan.protocol != PAIRS
    needed = plan.needed * (1 + apart)
    if needed > there:
        most = there // 2 - PRACTICE if apart else there * plan.count // plan.needed
        raise UserError(_too_few("the held-out part", there, needed, most, "there are too few to ask about"))
    rows = np.random.default_rng(plan.seed).permutation(there)
    own = rows[plan.needed : needed] if apart else rows[: plan.needed]
    batch = {name: np.asarray(x)[own] for name, x in held_out.given.items()}
    made = [(np.asarray(sampler.draw(batch, plan.seed)), own) for sampler in samplers]
    real = [(held_out.real[rows[: plan.needed]], rows[: plan.needed])] if with_real else []
    return [_beside(images, which, held_out) for images, which in [*real, *made]]


def _beside(images: np.ndarray, rows: np.ndarray, held_out: HeldOut) -> np.ndarray:
    """Images [n h w c], to the right of what is given."""
    images = np.clip(images, -1, 1)
    if held_out.beside is None:
        return pictures.to_uint8(images)
    left, gap = held_out.beside[rows], np.ones((len(images), images.shape[1], 2, 1), np.float32)
    channels = max(left.shape[-1], images.shape[-1])
    parts = [np.broadcast_to(part, (*part.shape[:3], channels)) for part in (left, gap, images)]
    return pictures.to_uint8(np.concatenate(parts, 2))


def _real(run: Saved, sampler: Sampler, data_name: str) -> ImageSet:
    flags = run.config
    name = data_name or getattr(flags, "data", "")
    if not name:
        raise UserError(f"{run.workdir} was not trained on the images of a set: name real images by --data")
    size, fit, stream = getattr(flags, "size", 0), getattr(flags, "fit", "crop"), getattr(flags, "stream", False)
    images = data.load(name, size=size or None, fit=fit, stream=stream)
    if images.spec.shape != sampler.spec.shape:
        raise UserError(
            f"{name} has images {images.spec.shape}, and samples are {sampler.spec.shape}: name other --data"
        )
    if sampler.classes and images.classes:
        images = renumbered(images, sampler.class_names, str(run.workdir))
    return images


def _real_sounds(run: Saved, sampler: Sampler, data_name: str) -> ImageSet:
    """The held-out sounds of a run, with the classes that its generator is told."""
    flags = run.config
    if not hasattr(flags, "loudness"):
        raise UserError(
            f"{run.workdir}: its experiment has no flags of sounds (`config.FromSounds`), so none can be read"
        )
    name = data_name or flags.data
    both = sounds_of(name, rate=flags.rate, length=flags.length, loudness=flags.loudness, every=flags.every)
    if sampler.classes and both[1].class_names != sampler.class_names:
        told = spoken(*both, name)
        both = both if told is None or told[1].class_names != sampler.class_names else told
    return (
        renumbered(both[1], sampler.class_names, str(run.workdir)) if sampler.classes and both[1].classes else both[1]
    )


def _samples(sampler: Sampler, plan: Plan, labels: np.ndarray | None) -> np.ndarray:
    """Samples [n h w c], of a conditional generator of the classes of the real images, or else of all in turn."""
    if not sampler.classes or labels is None:
        return np.asarray(sampler.draw(plan.needed, plan.seed))
    return np.asarray(sampler.draw({"label": labels.astype(np.int32)}, plan.seed))

"""Measures of clips in which one object moves on black, by what is read out of them, without a network."""

from typing import Any

import numpy as np
from jaxtyping import UInt8

from gan_jax.metrics.trajectories import Tracks, content_distance, directions, tracks, trajectory_frechet
from gan_jax.types import Draw, Evaluate, ImageSet, Record
from gan_jax.workdir.pictures import to_uint8

MOST = 400  # clips that are generated
READ = 1_600  # clips that are learnt from, of which the moments of what moves are


def measures(learnt: ImageSet, test: ImageSet, *, conditional: bool = False) -> Evaluate:
    """Returns the measures of clips: "trajectories" (`metrics.trajectories.trajectory_frechet`, from those learnt from), "content", the
    average content distance, "objects", the share of frames with exactly one object, and of a conditional generator "motion", the
    share of clips that move the way that those of their class do.

    The way of a class is what most of its clips that are learnt from do. Protocols hold as "answers" the values of clips held
    out ("real"), and of these made wrong: "frozen" at the first frame, "shuffled" frames, frames of "others" clips, and of the
    first class only ("one class").
    """
    pixels = int(np.prod(test.images.shape[2:4]))
    known = tracks(np.asarray(learnt.images[:READ]))
    ways = np.array(
        [
            np.bincount(directions(known)[learnt.labels[:READ] == label], minlength=4).argmax()
            for label in range(learnt.classes)
        ]
        if learnt.labels is not None
        else []
    )

    def values(clips: UInt8[np.ndarray, "n t h w c"], asked: np.ndarray | None) -> dict[str, float]:
        found: Tracks = tracks(clips)
        out = {
            "trajectories": trajectory_frechet(known, found, pixels),
            "content": content_distance(found),
            "objects": float((found.objects == 1).mean()),
        }
        if asked is not None:
            out["motion"] = float((directions(found) == ways[asked]).mean())
        return out

    rng, real = np.random.default_rng(0), np.asarray(test.images[:MOST])
    order = np.stack([rng.permutation(real.shape[1]) for _ in real])
    trivial = {
        "real": (real, test.labels),
        "frozen": (np.repeat(real[:, :1], real.shape[1], 1), test.labels),
        "shuffled": (np.take_along_axis(real, order[..., None, None, None], 1), test.labels),
        "others": (np.stack([real[rng.permutation(len(real)), i] for i in range(real.shape[1])], 1), test.labels),
    }
    if test.labels is not None and conditional:
        first = np.asarray(test.images)[test.labels == 0]
        trivial["one class"] = (np.resize(first, (len(real), *first.shape[1:])), test.labels)
    beside = {
        name: values(clips, labels[: len(real)] if conditional and labels is not None else None)
        for name, (clips, labels) in trivial.items()
    }
    better = {"trajectories": False, "content": False, "objects": True, "motion": True}
    names = ("trajectories", "content", "objects", *(("motion",) if conditional else ()))
    how: dict[str, Any] = {"real": len(known.objects), "fake": MOST, "data": learnt.name, "real_split": "train"}

    def measure(draw: Draw) -> dict[str, Record]:
        labels = np.arange(MOST, dtype=np.int32) % max(1, learnt.classes)
        found = values(to_uint8(draw(MOST)), labels if conditional else None)
        answers: dict[str, dict[str, float]] = {
            key: {name: of[key] for name, of in beside.items() if key in of} for key in names
        }
        return {key: Record(found[key], better[key], {**how, "answers": answers[key]}) for key in names}

    return Evaluate(measure, names)

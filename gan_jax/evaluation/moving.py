"""Measures of clips in which one object moves on black, by what is read out of them, without a network."""

from typing import Any

import numpy as np
from jaxtyping import UInt8

from gan_jax.metrics.trajectories import Tracks, content_distance, directions, tracks, trajectory_frechet
from gan_jax.types import Draw, Evaluate, ImageSet, Record
from gan_jax.workdir.pictures import to_uint8

MOST = 400  # clips that are generated, and of those held out
READ = 1_600  # clips that are learnt from, of which the moments of what moves are


def measures(learnt: ImageSet, test: ImageSet, *, conditional: bool = False) -> Evaluate:
    """Returns the measures of as many clips as are held out, at most MOST: "trajectories", the distance of `trajectory_frechet` from
    those learnt from, "content", the average content distance, "objects", the share of frames with exactly one object, and of a
    conditional generator "motion", the share of clips that move the way that those of their class do.

    The way of a class is what most of its clips that are learnt from do. Protocols hold as "answers" the values of clips held
    out ("real"), and of these made wrong: "frozen" at the first frame, "shuffled" frames, frames of "others" clips, and of the
    first class only ("one class").
    """
    rng = np.random.default_rng(0)
    # Of folders with classes the first clips are of the first classes.
    rows, held = rng.permutation(len(learnt.images))[:READ], rng.permutation(len(test.images))[:MOST]
    pixels, count = int(np.prod(test.images.shape[2:4])), len(held)
    known, real = tracks(np.asarray(learnt.images)[rows]), np.asarray(test.images)[held]
    of = np.zeros(0, int) if learnt.labels is None else learnt.labels[rows]
    went = directions(known)
    ways = np.array([np.bincount(went[of == label], minlength=4).argmax() for label in range(learnt.classes)])

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

    labels_of = None if test.labels is None else test.labels[held]
    order = np.stack([rng.permutation(real.shape[1]) for _ in real])
    trivial = {
        "real": (real, labels_of),
        "frozen": (np.repeat(real[:, :1], real.shape[1], 1), labels_of),
        "shuffled": (np.take_along_axis(real, order[..., None, None, None], 1), labels_of),
        "others": (np.stack([real[rng.permutation(len(real)), i] for i in range(real.shape[1])], 1), labels_of),
    }
    if labels_of is not None and conditional:
        first = real[labels_of == 0]
        trivial["one class"] = (np.resize(first, real.shape), labels_of)
    beside = {name: values(clips, labels if conditional else None) for name, (clips, labels) in trivial.items()}
    better = {"trajectories": False, "content": False, "objects": True, "motion": True}
    names = ("trajectories", "content", "objects", *(("motion",) if conditional else ()))
    how: dict[str, Any] = {
        "real": len(rows), "fake": count, "answers_of": count, "data": learnt.name, "data_digest": learnt.digest,
        "test_digest": test.digest, "clips": list(learnt.images.shape[1:]), "real_split": "train",
    }  # fmt: skip

    def measure(draw: Draw) -> dict[str, Record]:
        labels = np.arange(count, dtype=np.int32) % max(1, learnt.classes)
        found = values(to_uint8(draw(count)), labels if conditional else None)
        answers: dict[str, dict[str, float]] = {
            key: {name: of[key] for name, of in beside.items() if key in of} for key in names
        }
        return {key: Record(found[key], better[key], {**how, "answers": answers[key]}) for key in names}

    return Evaluate(measure, names)

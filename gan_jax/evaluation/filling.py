"""Measures of images whose missing parts were filled, on these parts alone, beside trivial fillings."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from gan_jax.metrics.fidelity import l1, psnr
from gan_jax.metrics.two_sample import nearest
from gan_jax.types import Draw, Evaluate, ImageSet, Record, UserError
from gan_jax.workdir.pictures import to_uint8

FEWEST = 4


def harmonic(images: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Returns images [n h w c] whose missing pixels are each the mean of their neighbours, above, below and beside (at the
    border of those that there are): Laplace's equation, with the known pixels around. `mask` [h w] is 1 where it is missing.
    Raises ValueError where nothing is known.
    """
    missing = np.asarray(mask) > 0
    if missing.all():
        raise ValueError("a harmonic filling needs known pixels around what is missing")
    if not missing.any():
        return images.copy()
    h, w = missing.shape
    number = np.full((h, w), -1)
    number[missing] = np.arange(missing.sum())
    at = np.argwhere(missing)
    rows, columns, counts = [], [], np.zeros(len(at))
    known = np.zeros((len(images), len(at), images.shape[-1]))
    for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        y, x = at[:, 0] + dy, at[:, 1] + dx
        inside = (y >= 0) & (y < h) & (x >= 0) & (x < w)
        counts += inside
        own = np.flatnonzero(inside)
        neighbour = number[y[own], x[own]]
        rows += own[neighbour >= 0].tolist()
        columns += neighbour[neighbour >= 0].tolist()
        outer = own[neighbour < 0]
        known[:, outer] += images[:, y[outer], x[outer]]
    matrix = scipy.sparse.diags(counts) - scipy.sparse.csr_array(
        (np.ones(len(rows)), (rows, columns)), shape=(len(at),) * 2
    )
    solve = scipy.sparse.linalg.factorized(matrix.tocsc())
    filled = images.copy()
    for i in range(len(images)):
        for c in range(images.shape[-1]):
            filled[i, missing, c] = solve(known[i, :, c])
    return filled


def measures(
    train: ImageSet,
    test: ImageSet,
    mask: np.ndarray,
    name: str,
    classify: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Evaluate:
    """Returns the measures of a generator that is given "image" and "mask" and fills what is missing, by the images of `test`
    with one `mask` [h w 1]: "psnr" (dB) and "l1" (in [0, 2]) of the missing pixels alone, and with `classify`, from images to
    classes, "class_accuracy", the share of filled images of the right class.

    Protocols hold as "answers" the values of other fillings: "laplace" (`harmonic`), "mean", that of the training images there, and
    "nearest", what stands there in the training image whose known pixels are nearest; for classes also those of
    "unfilled" and "real" images. `name` describes the mask. Raises UserError for fewer than FEWEST images.
    """
    if (fewest := min(len(train.images), len(test.images))) < FEWEST:
        raise UserError(
            f"{test.name}: to measure fillings, {FEWEST} images of each split are needed; there are {fewest}"
        )
    real, learnt = test.scaled(), train.scaled()
    classify = classify if test.labels is not None else None
    missing = np.broadcast_to(mask > 0, real.shape[1:])
    known = [x[:, ~missing] for x in (real, learnt)]
    near = nearest(known[0], known[1], 1)[1][:, 0]
    masks = np.broadcast_to(mask, (len(real), *mask.shape)).astype(np.float32)

    def fill(by: np.ndarray) -> np.ndarray:
        return np.where(missing[None], by, real)

    answers = {
        "laplace": harmonic(np.where(missing[None], 0, real), mask[..., 0]), "mean": fill(learnt.mean(0, keepdims=True)),
        "nearest": fill(learnt[near]),
    }  # fmt: skip
    how = {
        "real": len(real), "fake": len(real), "real_split": "test", "data": test.name, "data_digest": test.digest, "pixels": "8 bits",
        "missing": name,
    }  # fmt: skip
    truth = to_uint8(real)

    def values(made: np.ndarray) -> dict[str, float]:
        made = to_uint8(np.clip(made, -1, 1))
        found = {"psnr": float(psnr(made, truth, masks).mean()), "l1": float(l1(made, truth, masks).mean())}
        if classify is not None:
            found["class_accuracy"] = float((classify(made) == test.labels).mean())
        return found

    beside: Mapping[str, Any] = {answer: values(made) for answer, made in answers.items()}
    if classify is not None:
        of = {"unfilled": fill(np.full_like(real, -1)), "real": real}
        beside = {**beside, **{key: {"class_accuracy": values(made)["class_accuracy"]} for key, made in of.items()}}

    def measure(draw: Draw) -> dict[str, Record]:
        found = values(np.asarray(draw({"image": real, "mask": masks})))
        return {
            key: Record(
                value,
                key != "l1",
                {**how, "answers": {answer: one[key] for answer, one in beside.items() if key in one}},
            )
            for key, value in found.items()
        }

    names = ("psnr", "l1") + (() if classify is None else ("class_accuracy",))
    return Evaluate(measure, names)

"""Measures of images that are made of given ones, where it is known what they should be, beside trivial answers."""

from collections.abc import Callable
from typing import Any

import numpy as np

from gan_jax.data.pairs import Pairs
from gan_jax.evaluation.features import projection
from gan_jax.evaluation.returning import nearest_colours, way_back
from gan_jax.metrics.fidelity import l1, psnr
from gan_jax.metrics.kid import mmd2
from gan_jax.metrics.two_sample import nearest
from gan_jax.models.perceptual import vgg19, weights_digest
from gan_jax.types import Array, Draw, Evaluate, Record, UserError
from gan_jax.workdir.pictures import to_uint8

FEWEST = 8
# What can be answered without learning anything.
COPY, MEAN, NEAREST = "copy", "mean_target", "target of the nearest input"


def measures(train: Pairs, test: Pairs, perceptual: str = "", colours: np.ndarray | None = None) -> Evaluate:
    """Returns the measures of a generator that is given "a" and makes "b", on the pairs of `test`: "l1" (in [0, 2], pixels in
    [-1, 1]), "psnr" (dB), "kid_FEATURES", the unbiased MMD of features with a cubic kernel, times 1,000, and "return_l1", the L1
    of what was given and what a network that learnt the way back (`returning`) makes of the results; where a has
    a few `colours` [k c] that mean something, also "return_colours", the share of pixels whose nearest colour is the same.

    Features are the means over pixels of VGG-19's relu3_1 where `perceptual` names its weights, else random sums of pixels. Of
    few pairs KID is unbiased and Fréchet distance is not. Protocols hold as "answers" the values of copying what is given (of as many
    channels), of the mean target of `train` for every input, and of the target of the nearest input of `train`; for
    KID also "floor", that of the targets of `train`, and for the way back "real", that of the right answers. Raises UserError for fewer than FEWEST pairs.
    """
    if (fewest := min(len(test.a.images), len(train.a.images))) < FEWEST:
        raise UserError(f"{test.a.name}: to measure by pairs, {FEWEST} of each split are needed; there are {fewest}")
    given, real = test.a.scaled(), test.b.scaled()
    learnt = train.b.scaled()
    flat = [x.reshape(len(x), -1) for x in (given, train.a.scaled())]
    answers = {
        MEAN: np.broadcast_to(learnt.mean(0, keepdims=True), real.shape),
        NEAREST: learnt[nearest(flat[0], flat[1], 1)[1][:, 0]],
    } | ({COPY: given} if given.shape == real.shape else {})  # fmt: skip
    features, kind, network = features_of(perceptual, real.shape[-1])
    of_real = features(to_uint8(real))
    how = {
        "real": len(real), "fake": len(real), "real_split": "test", "data": test.b.name, "data_digest": test.b.digest, "pixels": "8 bits",
    }  # fmt: skip
    sums: dict[str, tuple[Callable[[np.ndarray], float], bool, dict[str, Any]]] = {
        "l1": (lambda made: float(l1(made, to_uint8(real)).mean()), False, {}),
        "psnr": (lambda made: float(psnr(made, to_uint8(real)).mean()), True, {}),
        f"kid_{kind}": (
            lambda made: 1e3 * mmd2(of_real, features(made)),
            False,
            {**network, "floor": 1e3 * mmd2(of_real, features(to_uint8(learnt)))},
        ),
    }
    found: list[tuple[Callable[[np.ndarray], np.ndarray], dict[str, Any]]] = []

    def back(made: np.ndarray) -> np.ndarray:
        if not found:  # learnt when it is first needed: a run that is only loaded needs none
            found.append(way_back(train))
        return found[0][0](made.astype(np.float32) / 127.5 - 1)

    sums["return_l1"] = (lambda made: float(l1(np.clip(back(made), -1, 1), given).mean()), False, {})
    if colours is not None:
        asked = nearest_colours(given, colours)
        sums["return_colours"] = (
            lambda made: float((nearest_colours(back(made), colours) == asked).mean()),
            True,
            {"colours": colours.tolist()},
        )
    beside: dict[str, dict[str, float]] = {}

    def prepare() -> None:
        for key, (of, _, _) in sums.items():
            trivial = answers | ({"real": real} if key.startswith("return") else {})
            beside[key] = {answer: of(to_uint8(np.ascontiguousarray(made))) for answer, made in trivial.items()}

    def measure(draw: Draw) -> dict[str, Record]:
        made = to_uint8(np.asarray(draw({"a": given})))
        if not beside:
            prepare()
        return {
            key: Record(
                of(made),
                higher,
                {**how, **own, **(found[0][1] if key.startswith("return") else {}), "answers": beside[key]},
            )
            for key, (of, higher, own) in sums.items()
        }

    return Evaluate(measure, tuple(sums), prepare=prepare)


def features_of(perceptual: str, channels: int) -> tuple[Callable[[Array], np.ndarray], str, dict[str, Any]]:
    """Returns the function from uint8 images to features [n d], a word for them, and their protocol."""
    if not perceptual or channels != 3:
        sums = projection(2_048)
        return lambda x: sums(x)[0], sums.kind, {**sums.protocol, "network_weights": "none", "resizer": "none"}
    network = vgg19(perceptual)

    def features(images: Array) -> np.ndarray:
        parts = np.array_split(np.asarray(images, np.float32) / 127.5 - 1, max(1, len(images) // 32))
        return np.concatenate([np.asarray(network(part)["relu3_1"]).mean((1, 2)) for part in parts])

    told = "VGG-19's relu3_1, normalised, the mean over pixels"
    return features, "vgg", {"features": told, "network_weights": weights_digest(perceptual), "resizer": "none"}

"""Measures of a translation between two domains without pairs: how near its results are to the other domain, in features and
not in colours alone, and how much of what was given they keep.
"""

from typing import Any

import numpy as np

from gan_jax.data.pairs import Pairs
from gan_jax.evaluation.translation import FEWEST, features_of
from gan_jax.metrics.kid import mmd2
from gan_jax.metrics.ssim import ssim
from gan_jax.types import Draw, Evaluate, Record, UserError
from gan_jax.workdir.pictures import to_uint8


def matched(images: np.ndarray, others: np.ndarray, seed: int = 0) -> np.ndarray:
    """Returns images [n h w c] in [-1, 1], each with the mean and standard deviation of each channel of one of `others`, drawn by
    the seed, and clipped: a transfer of colours that learns nothing.
    """
    rows = np.random.default_rng(seed).integers(0, len(others), len(images))
    to = others[rows]
    (mean, std), (to_mean, to_std) = (
        (x.mean((1, 2), keepdims=True), x.std((1, 2), keepdims=True)) for x in (images, to)
    )
    return np.clip((images - mean) / np.maximum(std, 1e-6) * to_std + to_mean, -1, 1)


def measures(train: Pairs, test: Pairs, perceptual: str = "") -> Evaluate:
    """Returns the measures of a generator that is given "a" and makes what should be of domain b, on the images of `test`:
    "kid_FEATURES", the unbiased MMD (cubic kernel) beside the images of b, times 1,000; and "content", the SSIM of its
    results and what was given, both grey.

    Features are the means over pixels of VGG-19's relu3_1 where `perceptual` names its weights, else random sums of pixels.
    Protocols hold as "answers" the values of copying what is given ("copy"), of transferring colours to it ("colours", `matched`), and for KID of
    the images of b that were learnt ("floor"). Raises UserError for fewer than FEWEST images.
    """
    if (fewest := min(len(one.images) for one in (*train, *test))) < FEWEST:
        raise UserError(f"{test.a.name}: to measure domains {FEWEST} images of each are needed; there are {fewest}")
    given, real, learnt = test.a.scaled(), test.b.scaled(), train.b.scaled()
    features, kind, network = features_of(perceptual, real.shape[-1])
    of_real = features(to_uint8(real))

    def distance(images: np.ndarray) -> float:
        return 1e3 * mmd2(of_real, features(to_uint8(images)))

    def content(images: np.ndarray) -> float:
        grey = (np.clip(x, -1, 1).mean(-1, keepdims=True) for x in (given, images))
        return float(ssim(*grey).mean())

    answers = {"copy": given, "colours": matched(given, learnt)}
    how = {
        "real": len(real), "fake": len(given), "real_split": "test", "data": test.b.name, "data_digest": test.b.digest,
        "pixels": "8 bits",
    }  # fmt: skip
    kid_how: dict[str, Any] = {
        **how, **network, "floor": distance(learnt), "answers": {key: distance(x) for key, x in answers.items()}
    }  # fmt: skip
    content_how = {**how, "answers": {key: content(x) for key, x in answers.items()}}

    def measure(draw: Draw) -> dict[str, Record]:
        made = np.asarray(draw({"a": given}))
        return {
            f"kid_{kind}": Record(distance(made), False, kid_how),
            "content": Record(content(made), True, content_how),
        }

    return Evaluate(measure, (f"kid_{kind}", "content"))

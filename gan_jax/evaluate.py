"""How a generator is measured while it trains and at the end; every value travels with the protocol by which it was
taken.
"""

import functools

import numpy as np

from gan_jax.metrics import frechet, manifold
from gan_jax.metrics import modes as mode_count
from gan_jax.types import Draw, Evaluate, ImageSet, Record, UserError

NEIGHBOURS = 5  # Naeem et al. 2020
COLLAPSED = {"modes": "fewer than half of the modes found", "pixels": "recall under a quarter of the floor's"}
SAMPLES = {"weights": "averaged (EMA)", "batch_norm": "running averages", "sample_seed": 0}


def mixture(centres: np.ndarray, std: float, count: int = 2_500) -> Evaluate:
    """Modes found, share of high quality (3 std) and reverse KL of `count` samples, as PacGAN counts them; `collapsed` is 1
    where fewer than half of the modes are found, else 0.
    """

    def evaluate(draw: Draw) -> dict[str, Record]:
        protocol = {"fake": count, "reach": "3 std", "std": std, "modes": len(centres), **SAMPLES}
        values = mode_count.modes(centres, draw(count), std)
        records = {name: Record(value, name != "reverse_kl", protocol) for name, value in values.items()}
        collapsed = float(values["modes"] < len(centres) / 2)
        return records | {"collapsed": Record(collapsed, False, {"rule": COLLAPSED["modes"], **protocol})}

    return Evaluate(evaluate, ("high_quality", "modes", "reverse_kl", "collapsed"))


def pixels(real: ImageSet, most: int = 5_000, labels: str = "none") -> Evaluate:
    """Fréchet distance, precision, recall, density and coverage (k = 5) on the pixels themselves, [-1, 1] flattened.

    n = min(`most`, half the set) real images, drawn without replacement with seed 0, against as many fakes; `floor` in
    the protocol is what n other real images score in the fakes' place. `labels` tells which a conditional generator is
    given. `collapsed` is 1 where recall is less than a quarter of the floor's, else 0. Pixels are no perceptual features:
    the numbers rank runs on one data set, and compare with nothing published.
    UserError for a set too small to be halved and measured.
    """
    count = min(most, len(real.images) // 2)
    if count <= NEIGHBOURS:
        raise UserError(
            f"{real.name} has {len(real.images)} images; to measure a generator at least {2 * (NEIGHBOURS + 1)} are needed"
        )
    chosen = np.random.default_rng(0).permutation(len(real.images))[: 2 * count]

    def features(images: np.ndarray) -> np.ndarray:
        scaled = images.astype(np.float32) / 127.5 - 1 if images.dtype == np.uint8 else images
        return scaled.reshape(len(images), -1)

    def measure(fake: np.ndarray) -> dict[str, float]:
        reference = features(real.images[chosen[:count]])
        return {"frechet": frechet.frechet(reference, fake), **manifold.prdc(reference, fake, NEIGHBOURS)}

    @functools.cache
    def floor() -> dict[str, float]:
        return measure(features(real.images[chosen[count:]]))

    def evaluate(draw: Draw) -> dict[str, Record]:
        fake = features(np.asarray(draw(count)))
        protocol = {
            "features": "pixels in [-1, 1]",
            "k": NEIGHBOURS,
            "real": count,
            "fake": count,
            "labels": labels,
            "data": real.name,
            "data_digest": real.digest,
            **SAMPLES,
        }
        measured = measure(fake)
        records = {
            f"{name}_pixels": Record(value, name != "frechet", {**protocol, "floor": floor()[name]})
            for name, value in measured.items()
        }
        collapsed = float(measured["recall"] < floor()["recall"] / 4)
        return records | {
            "collapsed": Record(collapsed, False, {"rule": COLLAPSED["pixels"], **protocol, "floor": 0.0})
        }

    names = ("frechet", "precision", "recall", "density", "coverage")
    return Evaluate(evaluate, (*(f"{name}_pixels" for name in names), "collapsed"))

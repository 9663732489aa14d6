"""How a generator is measured while it trains and at the end; every value travels with the protocol by which it was
taken.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from gan_jax import data
from gan_jax.config import ImageRun
from gan_jax.evaluation import features as features_of
from gan_jax.evaluation import resize
from gan_jax.evaluation.features import Features
from gan_jax.metrics import frechet, inception_score, kid, precision_recall
from gan_jax.metrics import modes as mode_count
from gan_jax.types import Draw, Evaluate, ImageSet, NoSplit, Record, UserError

IN_TURN = "every class as often, in turn"  # the labels that a conditional generator is given
NEIGHBOURS = 5  # Naeem et al. 2020
CLASSIFIER_STEPS = 5_000
SPLITS = 10  # of the Inception Score
COLLAPSED = {"modes": "fewer than half of the modes found", "recall": "recall under a quarter of the floor's"}
SAMPLES = {"weights": "averaged (EMA)", "batch_norm": "running averages", "sample_seed": 0}
# Of an experiment that keeps no average: what stands in its place is the generator itself.
RAW = {**SAMPLES, "weights": "raw"}
HIGHER = {"inception_score": True, "precision": True, "recall": True, "density": True, "coverage": True}  # is better


def mixture(centres: np.ndarray, std: float, count: int = 2_500, samples: dict[str, Any] = SAMPLES) -> Evaluate:
    """Modes found, share of high quality (3 std) and reverse KL of `count` samples, as PacGAN counts them, and their overlap
    with equal modes, by which the best is chosen; `collapsed` is 1 where fewer than half of the modes are found, else 0.
    """

    def evaluate(draw: Draw) -> dict[str, Record]:
        protocol = {"fake": count, "reach": "3 std", "std": std, "modes": len(centres), **samples}
        fake = draw(count)
        values = {**mode_count.modes(centres, fake, std), "overlap": mode_count.overlap(centres, fake, std)}
        records = {name: Record(value, name != "reverse_kl", protocol) for name, value in values.items()}
        collapsed = float(values["modes"] < len(centres) / 2)
        return records | {"collapsed": Record(collapsed, False, {"rule": COLLAPSED["modes"], **protocol})}

    return Evaluate(evaluate, ("overlap", "modes", "high_quality", "reverse_kl", "collapsed"))


def stacked(digits: ImageSet, count: int = 26_000, samples: dict[str, Any] = SAMPLES) -> Evaluate:
    """Of images of three digits, one a channel, how many of the 1,000 combinations a classifier of `digits` sees, and the
    reverse KL of their shares in nats; `floor` in the protocol is what `count` real triples score, `collapsed` is 1 where
    fewer than half are there, else 0. The protocol of PacGAN, arXiv:1712.04086, section 4.2, but for the classifier.
    """
    network = features_of.classifier(digits, CLASSIFIER_STEPS)

    def counted(channels: list[np.ndarray]) -> dict[str, float]:
        first, second, third = (np.asarray(network(images)[1]).argmax(1) for images in channels)
        return mode_count.categories(100 * first + 10 * second + third, 1_000)

    @functools.cache
    def floor() -> dict[str, float]:
        rows = np.random.default_rng(0).integers(0, len(digits.images), (3, count))
        return counted([np.asarray(digits.images[which]) for which in rows])

    def evaluate(draw: Draw) -> dict[str, Record]:
        fake = np.asarray(draw(count))
        values, least = counted([fake[..., i : i + 1] for i in range(3)]), floor()
        how = {**network.ready().protocol, "fake": count, "data": digits.name, "data_digest": digits.digest, **samples}
        records = {
            name: Record(value, name == "modes", {**how, "floor": least[name]}) for name, value in values.items()
        }
        rule = {"rule": COLLAPSED["modes"], **how}
        return records | {"collapsed": Record(float(values["modes"] < 500), False, rule)}

    return Evaluate(evaluate, ("reverse_kl", "modes", "collapsed"), None, network.ready)


def for_run(config: ImageRun, real: ImageSet, labels: str = "none") -> Evaluate:
    """The measures of a run on the images it is trained on, as its flags say: features, numbers of samples."""
    return images(
        real,
        chosen(config.features, real),
        test=held_out(config.data, config.size, config.fit, config.stream),
        few=config.evaluate_samples,
        many=config.final_samples,
        labels=labels,
        samples=SAMPLES if getattr(config, "ema_images", 0) else RAW,
    )


def chosen(name: str, real: ImageSet, resizer: Callable = resize.tensorflow) -> Features:
    """The features that --features names: "" for a classifier of the set, or where it has no labels its pixels, or of more
    than 4,096 pixels 2,048 random sums of them; else pixels, inception, or the path of another Inception file.
    """
    if name == "pixels" or (not name and not real.classes):
        many = not name and np.prod(real.spec.shape) > 4_096
        return features_of.projection(2_048) if many else features_of.pixels()
    if not name:
        return features_of.classifier(real, CLASSIFIER_STEPS)
    if real.spec.shape[-1] not in (1, 3):
        raise UserError(
            f"--features {name}: the Inception network takes images of 1 or 3 channels, and {real.name} has {real.spec.shape[-1]}"
        )
    return features_of.inception("" if name == "inception" else name, resizer)


def held_out(name: str, size: int = 0, fit: str = "crop", stream: bool = False) -> ImageSet | None:
    """The data's test images, where it has some. UserError where they cannot be read."""
    try:
        return data.load(name, "test", size=size or None, fit=fit, stream=stream)
    except NoSplit:
        return None


def images(
    real: ImageSet,
    features: Features,
    *,
    test: ImageSet | None = None,
    few: int = 2_000,
    many: int = 10_000,
    labels: str = "none",
    samples: dict[str, Any] = SAMPLES,
) -> Evaluate:
    """Fréchet distance, KID, precision, recall, density and coverage (k = 5), and of a classifier's logits the Inception
    Score, all named after the features' kind; `few` fakes while training, `many` at the end.

    The real images are all of `real`, for distances between neighbours as many of them as fakes; `floor` in the protocol
    is what the images of `test` score in the fakes' place. Without `test`, `real` is halved, by seed 0, and the second
    half takes that place. `labels` tells which a conditional generator is given, `samples` how its samples are made; where
    it is given every class in turn, and the floor's images are of every class, the Fréchet distance within classes is
    taken too, intra_frechet, their mean.
    `collapsed` is 1 where recall is less than a quarter of the floor's, else 0. UserError for a set too small to be halved
    and measured.
    """
    order = np.random.default_rng(0).permutation(len(real.images))
    if test is None:
        half = len(order) // 2
        reference, held, rows = order[:half], real, order[half:]
        split = {"real": half, "real_split": "a half"}
    else:
        reference, held, rows = order, test, np.random.default_rng(0).permutation(len(test.images))
        split = {"real": len(order), "real_split": "all"}
    fewest = max(NEIGHBOURS + 1, SPLITS if features.classes else 0)
    if min(len(reference), len(rows)) < fewest:
        raise UserError(
            f"{real.name} has {len(real.images)} images; to measure a generator at least {2 * fewest} are needed"
            if test is None
            else f"{real.name} has {len(reference)} images and {len(rows)} test images; to measure a generator at least {fewest} of each are needed"
        )
    if few < fewest:
        raise UserError(f"--evaluate-samples {few}: at least {fewest}, for the neighbours and splits of the metrics")

    own_classes, held_classes = (
        np.zeros(len(y), int) if x.labels is None else x.labels[y] for x, y in ((real, reference), (held, rows))
    )
    least_of_each = min(
        np.bincount(x, minlength=real.classes).min() for x in (own_classes, held_classes[: min(few, len(reference))])
    )
    by_class = labels == IN_TURN and real.labels is not None and bool(least_of_each >= 2)

    @functools.cache
    def moments() -> frechet.Moments:
        return features.moments(real, reference)

    @functools.cache
    def near(count: int) -> np.ndarray:
        return features.cached(real, reference[:count])[0]

    @functools.cache
    def floor(count: int) -> dict[str, float]:
        return score(*features.cached(held, rows[:count]), held_classes[:count] if by_class else None)

    def score(fake: np.ndarray, logits: np.ndarray | None, classes: np.ndarray | None) -> dict[str, float]:
        count = len(fake)
        own = near(count)
        values = {
            "frechet": frechet.frechet_distance(moments(), frechet.moments([fake])),
            "kid": kid.mmd2(own, fake),
            **({} if logits is None else {"inception_score": inception_score.inception_score(logits, SPLITS).mean}),
            **precision_recall.prdc(own, fake, NEIGHBOURS),
        }
        if classes is not None:
            each = frechet.intra_frechet(near(len(reference)), own_classes, fake, classes)
            values["intra_frechet"] = float(np.mean(list(each.values())))
        return values

    def measure(draw: Draw, count: int) -> dict[str, Record]:
        count = min(count, len(reference), len(rows))
        classes = np.arange(count) % real.classes if by_class else None
        values, least = score(*features(draw(count)), classes), floor(count)
        protocol = {
            **features.ready().protocol,
            "fake": count,
            **split,
            "k": NEIGHBOURS,
            "kid": "of all",
            "splits": SPLITS,
            "pixels": "8 bits",
            "labels": labels,
            "data": real.name,
            "data_digest": real.digest,
            **samples,
        }
        between = {**protocol, "real": count}  # of as many reals as fakes
        records = {
            f"{name}_{features.kind}": Record(
                value,
                HIGHER.get(name, False),
                {**(protocol if "frechet" in name else between), "floor": least[name]},
            )
            for name, value in values.items()
        }
        rule = {"rule": COLLAPSED["recall"], **protocol, "floor": 0.0}
        return records | {"collapsed": Record(float(values["recall"] < least["recall"] / 4), False, rule)}

    scored = ["inception_score"] if features.classes else []
    within = ["intra_frechet"] if by_class else []
    names = ["frechet", "kid", *scored, "precision", "recall", "density", "coverage", *within]
    most = min(many, len(reference), len(rows))
    return Evaluate(
        lambda draw: measure(draw, few),
        (*(f"{name}_{features.kind}" for name in names), "collapsed"),
        (lambda draw: measure(draw, most)) if most > few else None,
        features.ready,
    )

"""The table of metrics of images, for runs during and after training, and for `gan-jax evaluate`.

An entry is a function from a `measurement.Candidate` to values, each with whether higher is better, and the metric's
fields of the protocol. The name of a value is followed by the kind of features: "frechet_classifier".
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from gan_jax.data.validate import image_set
from gan_jax.evaluation import classifier
from gan_jax.evaluation.measurement import Candidate
from gan_jax.metrics import frechet, inception_score, kid, path_length, precision_recall, sliced, ssim, two_sample
from gan_jax.types import UserError

NEIGHBOURS = 5  # Naeem et al. 2020
SPLITS = 10  # of the Inception Score
TWO_SAMPLE = ("1nn_accuracy", "1nn_real", "1nn_fake", "c2st_accuracy", "c2st_p_value")
# Protocol fields of metrics that use the images themselves instead of features.
NO_FEATURES = {"features": "none: the images", "network_weights": "none", "resizer": "none"}


class Found(NamedTuple):
    """Values of a metric, each with whether higher is better (None: neither), and the metric's fields of the protocol.

    Fields that include "features" replace those of the feature network, which the metric did not use.
    """

    values: Mapping[str, tuple[float, bool | None]]
    own: Mapping[str, Any]


def _frechet(x: Candidate) -> Found:
    rows = len(x.reference.rows)
    if x.features.shape[1] > max(rows, x.count):  # such as pixels: the same value without a matrix [d d]
        value = frechet.frechet(x.reference.near(rows), x.features)
    else:
        value = frechet.frechet_distance(x.reference.moments, frechet.moments([x.features]))
    return Found({"frechet": (value, False)}, {"real": rows})


def _frechet_infinity(x: Candidate) -> Found:
    least = min(5_000, x.count // 2)
    value = frechet.frechet_infinity(x.reference.moments, x.features, least, seed=x.seed)
    fields = {"real": len(x.reference.rows), "points": f"15 numbers of fakes, from {least}"}
    return Found({"frechet_infinity": (value, False)}, fields)


def _intra_frechet(x: Candidate) -> Found:
    labels, rows = x.reference.labels, len(x.reference.rows)
    if x.labels is None or labels is None:
        raise UserError("the Fréchet distance within classes needs a conditional run, and data with the same classes")
    each = frechet.intra_frechet(x.reference.near(rows), labels, x.features, x.labels)
    return Found({"intra_frechet": (float(np.mean(list(each.values()))), False)}, {"real": rows, "classes": len(each)})


def _kid(x: Candidate) -> Found:
    real = x.reference.near(x.count)
    return Found({"kid": (kid.mmd2(real, x.features), False)}, {"real": len(real), "pairs": "all"})


def _kid_subsets(x: Candidate) -> Found:
    real = x.reference.near(len(x.reference.rows))
    size = min(1_000, len(real), x.count)  # subsets of a whole set are always the same: there is no standard deviation
    estimate = kid.kid(real, x.features, 100, size)
    std = {"kid_subsets_std": (estimate.std, False)} if size < min(len(real), x.count) else {}
    fields = {"real": len(real), "subsets": f"100 of {size}, seed 2020"}
    return Found({"kid_subsets": (estimate.mean, False), **std}, fields)


def _inception_score(x: Candidate) -> Found:
    if x.logits is None:
        raise UserError("the Inception Score needs a classifier's logits: --features inception, or data with labels")
    estimate = inception_score.inception_score(x.logits, SPLITS)
    return Found({"inception_score": (estimate.mean, True)}, {"splits": SPLITS})


def _class_accuracy(x: Candidate) -> Found:
    """The share of fakes that the classifier puts into the class that the generator was given."""
    if x.labels is None or x.logits is None or x.logits.shape[1] != x.reference.train.classes:
        raise UserError(
            "the accuracy of classes needs a conditional run, and the classifier of its data: leave --features out"
        )
    return Found({"class_accuracy": (float(np.mean(x.logits.argmax(1) == x.labels)), True)}, {})


def _prdc(x: Candidate) -> Found:
    real = x.reference.near(x.count)
    results = precision_recall.prdc(real, x.features, NEIGHBOURS)
    return Found({name: (value, True) for name, value in results.items()}, {"k": NEIGHBOURS, "real": len(real)})


def _precision_recall(x: Candidate) -> Found:
    real = x.reference.near(x.count)
    results = precision_recall.precision_recall(real, x.features, 3)
    return Found({f"{name}_3": (value, True) for name, value in results.items()}, {"k": 3, "real": len(real)})


def _cas(x: Candidate) -> Found:
    """Classification accuracy score: the accuracy on real test images of a classifier trained on fakes (Ravuri and
    Vinyals 2019, arXiv:1905.10887), and for comparison that of one trained on as many real images.
    """
    train, test = x.reference.train, x.reference.test
    if x.labels is None or train.labels is None or test is None or test.labels is None:
        raise UserError(
            "the classification accuracy score needs a conditional run, and data of the same classes with test images, all with labels"
        )
    rows = np.random.default_rng(0).permutation(len(train.images))[: x.count]
    learnt = {
        "cas": image_set(x.images, x.labels, "the fakes", train.classes),
        "cas_real": image_set(np.asarray(train.images[rows]), train.labels[rows], "real images", train.classes),
    }
    trained = {key: classifier.trained(one, classifier.STEPS) for key, one in learnt.items()}
    values = {key: (classifier.accuracy(one, test), True) for key, one in trained.items()}
    steps = " and ".join(str(one.steps) for one in trained.values())
    how = f"gan_jax's classifier, version {classifier.VERSION}, {steps} steps"
    fields = {"real": len(test.images), "real_split": "test", "test_digest": test.digest, "real_learnt": len(rows)}
    return Found(
        values, {"features": how, "network_weights": "learnt from what is measured", "resizer": "none", **fields}
    )


def _path_length(x: Candidate) -> Found:
    """Path length over whole paths, by squared Euclidean distances of features; the class is constant along a path."""
    sampler = x.sampler
    if sampler is None:
        raise UserError("path length needs a run: it is the generator's")
    if sampler.how["batch_norm"] == "batch":
        raise UserError("path length needs a generator whose images do not hang on their batch: not --batch-norm batch")
    if any(sampler.config.get(key, "float32") != "float32" for key in ("precision", "matmul_precision")):
        raise UserError("path length needs a run with --precision and --matmul-precision float32: this one rounds more")
    rng = np.random.default_rng(x.seed)
    start, end = rng.standard_normal((2, x.count, sampler.latents(1).shape[-1]))
    apply = x.reference.features.ready().apply

    def distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return ((apply(one)[0].astype(np.float64) - apply(other)[0]) ** 2).sum(1)

    value = path_length.path_length(
        lambda z: sampler(z.astype(np.float32)),
        distance,
        start,
        end,
        rng.uniform(size=x.count),
        between=path_length.slerp,
    )
    how = (
        f"whole paths in Z, slerp, epsilon {path_length.EPSILON:g}, squared Euclidean distances, 1st to 99th percentile"
    )
    return Found({"path_length": (value, False)}, {"paths": how, "pixels": "not rounded"})


def _sliced(x: Candidate) -> Found:
    count = len(real := x.reference.images(x.count))
    results = sliced.patch_sliced_wasserstein(real, x.images[:count], seed=x.seed)
    values = {f"swd_{level}": (value, False) for level, value in results.items()}
    return Found(values, {**NO_FEATURES, "real": count, "fake": count})


def _ms_ssim(x: Candidate) -> Found:
    real = x.reference.images(x.count)
    scales = ssim.scales_for(*x.images.shape[1:3])
    results = ssim.diversity(real, x.images, 1_000, x.seed)
    values = {key.replace("ssim", f"ssim_{scales}"): (value, False) for key, value in results.items()}
    return Found(values, {**NO_FEATURES, "pairs": "1000, of all classes", "real": len(real)})


def _neighbours(x: Candidate) -> Found:
    """Whether fakes are nearer to the training images than test images are (`two_sample.memorised`)."""
    train, test, features = x.reference.train, x.reference.test, x.reference.features
    if test is None:
        raise UserError(f"memorised neighbours need images not seen in training: {train.name} has no test images")
    learnt, other = (features.cached(one, np.arange(len(one.images)))[0] for one in (train, test))
    result = two_sample.memorised(x.features, learnt, other)
    values = {name: (float(value), name != "share") for name, value in result._asdict().items() if np.ndim(value) == 0}
    fields = {"real": len(learnt), "real_split": "train", "held_out": len(other), "test_digest": test.digest}
    return Found(values, fields)


def _two_sample(x: Candidate) -> Found:
    count = min(len(x.reference.rows), x.count, 5_000)
    real, fake = x.reference.near(count), x.features[:count]
    both = {f"1nn_{key}": value for key, value in two_sample.one_nearest_neighbour(real, fake).items()}
    both |= {f"c2st_{key}": value for key, value in two_sample.classifier_two_sample(real, fake, x.seed).items()}
    values = {name: (both[name], True if name == "c2st_p_value" else None) for name in TWO_SAMPLE}
    return Found(values, {"real": count, "fake": count})


METRICS: dict[str, Callable[[Candidate], Found]] = {
    "frechet": _frechet,
    "kid": _kid,
    "inception_score": _inception_score,
    "class_accuracy": _class_accuracy,
    "prdc": _prdc,
    "intra_frechet": _intra_frechet,
    "frechet_infinity": _frechet_infinity,
    "kid_subsets": _kid_subsets,
    "precision_recall": _precision_recall,
    "cas": _cas,
    "sliced": _sliced,
    "ms_ssim": _ms_ssim,
    "path_length": _path_length,
    "neighbours": _neighbours,
    "two_sample": _two_sample,
}

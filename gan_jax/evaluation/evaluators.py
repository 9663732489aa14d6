"""Measures of generators: during a run, at its end, and by `gan-jax evaluate`. Every value comes with its protocol, the
description of how it was measured.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import numpy as np

from gan_jax import data
from gan_jax.evaluation import classifier, resize
from gan_jax.evaluation import features as features_of
from gan_jax.evaluation.features import Features
from gan_jax.evaluation.measurement import Candidate, Reference, how_read
from gan_jax.evaluation.table import METRICS, NEIGHBOURS, SPLITS, TWO_SAMPLE, Found
from gan_jax.metrics import modes as mode_count
from gan_jax.types import Draw, Evaluate, ImageSet, NoSplit, Record, UserError

# Labels of a conditional generator, as protocols describe them: for metrics within classes, and of the whole.
IN_TURN, SHARES = "every class as often, in turn", "classes in the shares of the real images"
BY_CLASS = {"intra_frechet", "cas", "class_accuracy"}
WIDEST = 8_192  # values of an image up to which their covariance is computed
COLLAPSED = {"modes": "fewer than half of the modes found", "recall": "recall under a quarter of the floor's"}
DURING = ("frechet", "kid", "inception_score", "prdc", "intra_frechet")  # metrics of a run, where they can be computed
FLOORED = (*DURING, "two_sample", "class_accuracy", "sliced")


class Flags(Protocol):
    """The flags that determine the measures of a run (`config.FromImages` and `config.Measured`)."""

    @property
    def data(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def fit(self) -> str: ...
    @property
    def stream(self) -> bool: ...
    @property
    def features(self) -> str: ...
    @property
    def evaluate_samples(self) -> int: ...
    @property
    def final_samples(self) -> int: ...


def mixture(centres: np.ndarray, std: float, count: int = 2_500) -> Evaluate:
    """Returns the measures for mixtures of Gaussians, on `count` samples.

    Values are the number of modes, the share of samples of high quality (within 3 std) and the reverse KL, as in PacGAN
    (`metrics.modes.modes`); the overlap with equally likely modes, by which the best checkpoint is chosen; and
    `collapsed`, 1 where fewer than half of the modes are found, else 0.
    """

    def evaluate(draw: Draw) -> dict[str, Record]:
        protocol = {"fake": count, "reach": "3 std", "std": std, "modes": len(centres)}
        fake = draw(count)
        values = {**mode_count.modes(centres, fake, std), "overlap": mode_count.overlap(centres, fake, std)}
        records = {name: Record(value, name != "reverse_kl", protocol) for name, value in values.items()}
        collapsed = float(values["modes"] < len(centres) / 2)
        return records | {"collapsed": Record(collapsed, False, {"rule": COLLAPSED["modes"], **protocol})}

    return Evaluate(evaluate, ("overlap", "modes", "high_quality", "reverse_kl", "collapsed"))


def stacked(digits: ImageSet, count: int = 26_000) -> Evaluate:
    """Returns the measures for stacked digits, images [b h w 3] with one digit in each channel, on `count` samples.

    Values are the number of the 1,000 combinations that a classifier of `digits` finds; the reverse KL of their shares,
    in nats; and `collapsed`, 1 where fewer than half of the combinations are found, else 0. `floor` in a protocol is
    the value of `count` real triples. This is the protocol of PacGAN, arXiv:1712.04086, section 4.2, with another
    classifier.
    """
    network = features_of.classifier(digits, classifier.STEPS)

    def count_triples(channels: list[np.ndarray]) -> dict[str, float]:
        first, second, third = (np.asarray(network(images)[1]).argmax(1) for images in channels)
        return mode_count.categories(100 * first + 10 * second + third, 1_000)

    @functools.cache
    def floor() -> dict[str, float]:
        rows = np.random.default_rng(0).integers(0, len(digits.images), (3, count))
        return count_triples([np.asarray(digits.images[which]) for which in rows])

    def evaluate(draw: Draw) -> dict[str, Record]:
        fake = np.asarray(draw(count))
        values, least = count_triples([fake[..., i : i + 1] for i in range(3)]), floor()
        how = {**network.ready().protocol, "fake": count, "data": digits.name, "data_digest": digits.digest}
        records = {
            name: Record(value, name == "modes", {**how, "floor": least[name]}) for name, value in values.items()
        }
        rule = {"rule": COLLAPSED["modes"], **how}
        return records | {"collapsed": Record(float(values["modes"] < 500), False, rule)}

    return Evaluate(evaluate, ("reverse_kl", "modes", "collapsed"), None, network.ready)


def for_run(config: Flags, real: ImageSet, labels: str = "none", more: tuple[str, ...] = ()) -> Evaluate | None:
    """Returns the measures of a run against its training images, and `more` of the table; its flags choose features and
    numbers of samples. None with --features none.
    """
    if config.features == "none":
        return None
    measures = measures_of(config, real, labels)
    return measures.evaluate(config.evaluate_samples, config.final_samples, more)


def measures_of(config: Flags, real: ImageSet, labels: str = "none") -> "ImageMeasures":
    """Returns, for the same flags, an object that computes any metric of the table."""
    return ImageMeasures(
        Reference(real, chosen(config.features, real), held_out(config.data, config.size, config.fit, config.stream)),
        labels,
        how_read(real, config.size, config.fit),
    )


def chosen(name: str, real: ImageSet, resizer: Callable = resize.tensorflow) -> Features:
    """Returns the features that --features names: "pixels", "inception", the path of Inception weights, or "".

    "" stands for a classifier of the set; for a set without labels, its pixels, or where an image has more than 4,096
    values, 2,048 random sums of them. Raises UserError for Inception features of images without 1 or 3 channels, and
    for pixels of more than WIDEST values where there are more images than that.
    """
    name = "" if name == "none" else name  # of a run that measures nothing, asked for metrics
    if name == "pixels" and WIDEST < np.prod(real.spec.shape) < len(real.images):
        raise UserError(
            f"--features pixels: {np.prod(real.spec.shape):,} values of an image, of which a covariance takes hours: "
            "leave it out, and 2,048 random sums of them are taken"
        )
    if name == "pixels" or (not name and not real.classes):
        project = not name and np.prod(real.spec.shape) > 4_096
        return features_of.projection(2_048) if project else features_of.pixels()
    if not name:
        return features_of.classifier(real, classifier.STEPS)
    if real.spec.shape[-1] not in (1, 3):
        raise UserError(
            f"--features {name}: the Inception network takes images of 1 or 3 channels, and {real.name} has {real.spec.shape[-1]}"
        )
    return features_of.inception("" if name == "inception" else name, resizer)


def held_out(name: str, size: int = 0, fit: str = "crop", stream: bool = False) -> ImageSet | None:
    """Returns the test images of the data; None where there is no test split. Raises UserError if it cannot be read."""
    try:
        return data.load(name, "test", size=size or None, fit=fit, stream=stream)
    except NoSplit:
        return None


class ImageMeasures:
    """Computes any metric of the table (`table.METRICS`) against one set of real images.

    `labels` is IN_TURN for a generator that is given labels, else "none"; metrics of the whole then take classes in the
    shares of the real images. `how` describes how the real images were read. `floor` in a protocol is the value of
    held-out real images in place of the fakes (`Reference`). Raises UserError for a set that is too small.
    """

    def __init__(self, reference: Reference, labels: str, how: Mapping[str, Any]):
        self.reference, self.labels, self.how = reference, labels, how
        self.features = reference.features
        self._floors: dict[tuple[str, int], Found] = {}
        real, held = reference.real, reference.held
        self.fewest = max(NEIGHBOURS + 1, SPLITS if self.features.classes else 0)
        if reference.most(self.fewest) < self.fewest:
            raise UserError(
                f"{real.name} has {len(real.images)} images; to measure a generator at least {2 * self.fewest} are needed"
                if held is real
                else f"{real.name} has {len(real.images)} images and {len(reference.held_rows)} test images; "
                f"to measure a generator at least {self.fewest} of each are needed"
            )

    def evaluate(self, during: int = 2_000, final: int = 10_000, more: tuple[str, ...] = ()) -> Evaluate:
        """Returns the measures of a run, on `during` samples while it trains, and on `final` at its end.

        Values are Fréchet distance, KID, precision, recall, density and coverage (k = 5); where the features have
        logits, the Inception Score; for a conditional generator, where there are two images of each class, also the
        Fréchet distance within classes; `more` of the table; and `collapsed`, 1 where recall is less than a quarter of
        its floor, else 0.
        The numbers of samples are limited to those of the real images. Raises UserError where `during` is too small.
        """
        if during < self.fewest:
            raise UserError(
                f"--evaluate-samples {during}: at least {self.fewest}, for the neighbours and splits of the metrics"
            )
        during, most = self.reference.most(during), self.reference.most(final)
        metrics = (*self.during(during), *more)
        values = {"prdc": ("precision", "recall", "density", "coverage"), "two_sample": TWO_SAMPLE}
        names = [name for metric in metrics for name in values.get(metric, (metric,))]
        return Evaluate(
            lambda draw: self._run_records(metrics, draw, during),
            (*(f"{name}_{self.features.kind}" for name in names), "collapsed"),
            (lambda draw: self._run_records(metrics, draw, most)) if most > during else None,
            self.features.ready,
        )

    def at_end(self, evaluate: Evaluate, metrics: tuple[str, ...], count: int) -> Evaluate:
        """Returns the same measures, and at the end of a run, of `count` samples, these too, which take longer."""
        if (whole := evaluate.final) is None:
            return evaluate
        most = self.reference.most(count)
        return evaluate._replace(final=lambda draw: {**whole(draw), **self.records(metrics, draw, most)})

    def during(self, count: int) -> tuple[str, ...]:
        """Returns the names of the metrics of a run with `count` samples."""
        left_out = set() if self.features.classes else {"inception_score"}
        return tuple(
            name for name in DURING if name not in left_out | (set() if self._by_class(count) else {"intra_frechet"})
        )

    def _by_class(self, count: int) -> bool:
        """Whether fakes have classes, and there are two real and two held-out images of each that the reals have."""
        real, held = self.reference.labels, self.reference.held
        if self.labels != IN_TURN or real is None or held is None or held.labels is None:
            return False
        others = held.labels[self.reference.held_rows][: min(count, len(real))]
        return all(np.bincount(x, minlength=real.max() + 1)[self.reference.present].min() >= 2 for x in (real, others))

    def records(
        self, metrics: Iterable[str], draw: Draw, count: int, *, sampler: Any = None, seed: int = 0
    ) -> dict[str, Record]:
        """Computes metrics of `count` samples. Their labels, if any, are in the shares of the real images, and for metrics
        within classes the classes in turn.
        """
        metrics = tuple(metrics)
        candidate = functools.partial(Candidate, self.reference, count=count, sampler=sampler, seed=seed)
        if self.labels != IN_TURN:
            return self.measured(metrics, candidate(draw(count), None))
        turns, shares = self.reference.turns(count), self.reference.shares(count)
        whole = tuple(metric for metric in metrics if metric not in BY_CLASS)
        within = tuple(metric for metric in metrics if metric in BY_CLASS)
        records: dict[str, Record] = {}
        for part, labels, how in ((whole, shares, SHARES), (within, turns, IN_TURN)):
            if part:
                records |= self.measured(part, candidate(draw({"label": labels}), labels), how)
        return records

    def measured(self, metrics: Iterable[str], candidate: Candidate, labels: str = "none") -> dict[str, Record]:
        """Computes metrics of a given set of images, whose labels are so described. Raises ValueError, with the metric's name, where one cannot be."""
        records = {}
        for metric in metrics:
            try:
                result = METRICS[metric](candidate)
            except ValueError as error:
                raise ValueError(f"{metric}: {error}") from error
            floor = self._floor(metric, candidate.count) if metric in FLOORED else None
            network = {} if "features" in result.own else self.features.protocol
            suffix = "" if "features" in result.own else f"_{self.features.kind}"
            split = {"real_split": self.reference.split} if "real" in result.own else {}
            how = {**network, "fake": candidate.count, **split, "labels": labels, **self.how, **result.own}
            for name, (value, higher) in result.values.items():
                least = {} if floor is None else {"floor": floor.values[name][0]}
                records[name + suffix] = Record(value, higher, {**how, **least})
        return records

    def _floor(self, metric: str, count: int) -> Found | None:
        if (metric, count) not in self._floors:
            held = self.reference.held_out(count)
            if held is None or (metric in BY_CLASS and held.labels is None):
                return None
            self._floors[metric, count] = METRICS[metric](held)
        return self._floors[metric, count]

    def _run_records(self, metrics: tuple[str, ...], draw: Draw, count: int) -> dict[str, Record]:
        records = self.records(metrics, draw, count)
        recall = records[f"recall_{self.features.kind}"]
        collapsed = float(recall.value < recall.protocol["floor"] / 4)
        rule = {"rule": COLLAPSED["recall"], **recall.protocol, "floor": 0.0}
        return records | {"collapsed": Record(collapsed, False, rule)}


def images(
    real: ImageSet,
    features: Features,
    *,
    test: ImageSet | None = None,
    during: int = 2_000,
    final: int = 10_000,
    labels: str = "none",
) -> Evaluate:
    """Returns the measures of a run (`ImageMeasures.evaluate`) against images in memory."""
    measures = ImageMeasures(Reference(real, features, test), labels, how_read(real, 0, "none"))
    return measures.evaluate(during, final)

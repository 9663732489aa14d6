"""How a generator is measured while it trains, when the run is over, and by `gan-jax evaluate`; every value travels with
the protocol by which it was taken.
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
from gan_jax.evaluation.table import METRICS, NEIGHBOURS, SPLITS, Found
from gan_jax.metrics import modes as mode_count
from gan_jax.types import Draw, Evaluate, ImageSet, NoSplit, Record, UserError

IN_TURN = "every class as often, in turn"  # the labels that a conditional generator is given
COLLAPSED = {"modes": "fewer than half of the modes found", "recall": "recall under a quarter of the floor's"}
DURING = ("frechet", "kid", "inception_score", "prdc", "intra_frechet")  # what a run measures, where it can


class Flags(Protocol):
    """Of a configuration what a run's measures take (`config.FromImages` and `config.Measured`)."""

    @property
    def data(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def fit(self) -> Any: ...
    @property
    def stream(self) -> bool: ...
    @property
    def features(self) -> str: ...
    @property
    def evaluate_samples(self) -> int: ...
    @property
    def final_samples(self) -> int: ...


def mixture(centres: np.ndarray, std: float, count: int = 2_500) -> Evaluate:
    """Modes found, share of high quality (3 std) and reverse KL of `count` samples, as PacGAN counts them, and their overlap
    with equal modes, by which the best is chosen; `collapsed` is 1 where fewer than half of the modes are found, else 0.
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
    """Of images of three digits, one a channel, how many of the 1,000 combinations a classifier of `digits` sees, and the
    reverse KL of their shares in nats; `floor` in the protocol is what `count` real triples score, `collapsed` is 1 where
    fewer than half are there, else 0. The protocol of PacGAN, arXiv:1712.04086, section 4.2, but for the classifier.
    """
    network = features_of.classifier(digits, classifier.STEPS)

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
        how = {**network.ready().protocol, "fake": count, "data": digits.name, "data_digest": digits.digest}
        records = {
            name: Record(value, name == "modes", {**how, "floor": least[name]}) for name, value in values.items()
        }
        rule = {"rule": COLLAPSED["modes"], **how}
        return records | {"collapsed": Record(float(values["modes"] < 500), False, rule)}

    return Evaluate(evaluate, ("reverse_kl", "modes", "collapsed"), None, network.ready)


def for_run(config: Flags, real: ImageSet, labels: str = "none") -> Evaluate:
    """The measures of a run on the images it is trained on, as its flags say: features, numbers of samples."""
    measures = measures_of(config, real, labels)
    return measures.evaluate(config.evaluate_samples, config.final_samples)


def measures_of(config: Flags, real: ImageSet, labels: str = "none") -> "ImageMeasures":
    """The same, of which any metric of the table can be asked."""
    return ImageMeasures(
        Reference(real, chosen(config.features, real), held_out(config.data, config.size, config.fit, config.stream)),
        labels,
        how_read(real, config.size, config.fit),
    )


def chosen(name: str, real: ImageSet, resizer: Callable = resize.tensorflow) -> Features:
    """The features that --features names: "" for a classifier of the set, or where it has no labels its pixels, or of more
    than 4,096 pixels 2,048 random sums of them; else pixels, inception, or the path of another Inception file.
    """
    if name == "pixels" or (not name and not real.classes):
        many = not name and np.prod(real.spec.shape) > 4_096
        return features_of.projection(2_048) if many else features_of.pixels()
    if not name:
        return features_of.classifier(real, classifier.STEPS)
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


class ImageMeasures:
    """Any metric of the table (`table.METRICS`) beside one set of real images.

    `labels` tells which a conditional generator is given; `how` how the real images were read. `floor` in a protocol is what
    held-out images score in the fakes' place (`Reference`). UserError for a set too small to be measured beside.
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

    def evaluate(self, during: int = 2_000, final: int = 10_000) -> Evaluate:
        """What a run is measured by: Fréchet distance, KID, precision, recall, density and coverage (k = 5), and of a
        classifier's logits the Inception Score; of a conditional generator, where there are two images of each class, also
        the Fréchet distance within classes. `during` fakes while it trains, `final` at the end. `collapsed` is 1 where
        recall is less than a quarter of the floor's, else 0.
        """
        if during < self.fewest:
            raise UserError(
                f"--evaluate-samples {during}: at least {self.fewest}, for the neighbours and splits of the metrics"
            )
        during, most = self.reference.most(during), self.reference.most(final)
        metrics = self.during(during)
        values = {"prdc": ("precision", "recall", "density", "coverage")}
        names = [name for metric in metrics for name in values.get(metric, (metric,))]
        return Evaluate(
            lambda draw: self._run_records(metrics, draw, during),
            (*(f"{name}_{self.features.kind}" for name in names), "collapsed"),
            (lambda draw: self._run_records(metrics, draw, most)) if most > during else None,
            self.features.ready,
        )

    def during(self, count: int) -> tuple[str, ...]:
        """Which metrics a run of so many samples is measured by."""
        left_out = set() if self.features.classes else {"inception_score"}
        return tuple(
            name for name in DURING if name not in left_out | (set() if self._by_class(count) else {"intra_frechet"})
        )

    def _by_class(self, count: int) -> bool:
        """Whether fakes are of every class in turn, and there are two real and two held-out images of each."""
        real, held = self.reference.labels, self.reference.held
        if self.labels != IN_TURN or real is None or held is None or held.labels is None:
            return False
        others = held.labels[self.reference.held_rows][: min(count, len(real))]
        return all(np.bincount(x, minlength=self.reference.real.classes).min() >= 2 for x in (real, others))

    def records(
        self, metrics: Iterable[str], draw: Draw, count: int, *, sampler: Any = None, seed: int = 0
    ) -> dict[str, Record]:
        """These metrics of `count` samples, whose labels, where they have some, are the classes of the real images in turn."""
        labels = np.arange(count) % self.reference.real.classes if self.labels == IN_TURN else None
        made = Candidate(self.reference, draw(count), labels, count, sampler=sampler, seed=seed)
        return self.measured(metrics, made)

    def measured(self, metrics: Iterable[str], made: Candidate) -> dict[str, Record]:
        """These metrics of images that are there."""
        records = {}
        for metric in metrics:
            try:
                found = METRICS[metric](made)
            except ValueError as error:
                raise ValueError(f"{metric}: {error}") from error
            floor = self._floor(metric, made.count) if metric in DURING else None
            network = {} if "features" in found.own else self.features.protocol
            suffix = "" if "features" in found.own else f"_{self.features.kind}"
            told = {"real_split": self.reference.split} if "real" in found.own else {}
            how = {**network, "fake": made.count, **told, "labels": self.labels, **self.how, **found.own}
            for name, (value, higher) in found.values.items():
                least = {} if floor is None else {"floor": floor.values[name][0]}
                records[name + suffix] = Record(value, higher, {**how, **least})
        return records

    def _floor(self, metric: str, count: int) -> Found | None:
        if (metric, count) not in self._floors:
            held = self.reference.held_out(count)
            if held is None:
                return None
            self._floors[metric, count] = METRICS[metric](held)
        return self._floors[metric, count]

    def _run_records(self, metrics: tuple[str, ...], draw: Draw, count: int) -> dict[str, Record]:
        records = self.records(metrics, draw, count)
        recall = records[f"recall_{self.features.kind}"]
        fallen = float(recall.value < recall.protocol["floor"] / 4)
        rule = {"rule": COLLAPSED["recall"], **recall.protocol, "floor": 0.0}
        return records | {"collapsed": Record(fallen, False, rule)}


def images(
    real: ImageSet,
    features: Features,
    *,
    test: ImageSet | None = None,
    during: int = 2_000,
    final: int = 10_000,
    labels: str = "none",
) -> Evaluate:
    """The measures of a run (`ImageMeasures.evaluate`) beside images that are at hand."""
    measures = ImageMeasures(Reference(real, features, test), labels, how_read(real, 0, "none"))
    return measures.evaluate(during, final)

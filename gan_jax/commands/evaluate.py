"""Measures saved runs, or folders of images, against a data set, or another folder, and says how.

    gan-jax evaluate --workdir runs/dcgan_mnist --metrics fid,kid,prdc --samples 10000
    gan-jax evaluate --workdir runs/one runs/two        # beside each other, if they can be compared
    gan-jax evaluate --workdir pictures/ --data photos/ --features inception

Of a run the averaged generator of its last checkpoint is measured, on the data that it was trained on. Values are printed
with their protocol and, with --json, written with it. Values of several targets are set beside each other only where the
protocols are the same; otherwise the fields that differ are named.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from gan_jax import data
from gan_jax.data.validate import image_set
from gan_jax.evaluation import batch_norm, classifier, evaluators, resize
from gan_jax.evaluation.features import Features
from gan_jax.metrics import (
    frechet,
    inception_score,
    kid,
    path_length,
    precision_recall,
    protocol,
    sliced,
    ssim,
    two_sample,
)
from gan_jax.types import ImageSet, Record, UserError
from gan_jax.workdir import manifest
from gan_jax.workdir.load import Sampler, load
from gan_jax.workdir.pictures import to_uint8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    workdir: tuple[str, ...] = ()
    """What is measured: directories of runs, folders of images, or an .npy or .npz of them."""
    metrics: str = "fid,kid,is,prdc"
    """Which, with commas: fid fid_infinity kid is precision_recall prdc intra_fid cas sliced ms_ssim path_length neighbours
    two_sample."""
    samples: int = 10_000
    """Fakes of a run, or images of a folder."""
    data: str = ""
    """What it is measured against, as of an experiment: by default what the run was trained on."""
    split: str = "train"
    """Which part of it."""
    size: int = 0
    """Side that a folder's images are brought to."""
    features: str = ""
    """pixels; inception, or the path of its weights; by default a classifier of the data, where it has labels."""
    resizer: Literal["tensorflow", "pytorch", "pillow"] = "tensorflow"
    """How images are brought to the Inception network's size: as in the original and torch-fidelity, pytorch-fid, or clean-fid."""
    raw: bool = False
    """The generator that was trained, instead of the averaged one."""
    best: bool = False
    """The best checkpoint, instead of the last."""
    batch_norm: Literal["running", "batch", "standing"] = "running"
    """Statistics of batch norm: running averages, each batch of 100 its own, or gathered anew over 50 batches."""
    member: int = 0
    """Of a population which, from 0."""
    seed: int = 0
    """Of latents, and of the images of a folder that has more than --samples."""
    json: str = ""
    """Also write the values with their protocols to this file."""


class Made(NamedTuple):
    """What is measured: images, uint8, their labels, how they were made, and of a run its generator."""

    images: np.ndarray
    labels: np.ndarray | None
    how: dict[str, Any]
    sampler: Sampler | None


class Against(NamedTuple):
    """What it is measured against: the split asked for, what a classifier may learn, and test images, where there are some."""

    real: ImageSet
    train: ImageSet
    held: ImageSet | None


class Images:
    """Both sides of a measurement, and their features, each computed once, when a metric asks for them."""

    def __init__(self, config: Config, features: Features, against: Against, made: Made):
        self.config, self.features, self.against, self.real = config, features, against, against.real
        self.fake, self.labels, self.made = made.images, made.labels, made
        self.count = len(self.fake)
        self.order = np.random.default_rng(0).permutation(len(self.real.images))

    @functools.cached_property
    def real_features(self) -> np.ndarray:
        return self.features.cached(self.real, self.order)[0]

    @functools.cached_property
    def _of_fakes(self) -> tuple[np.ndarray, np.ndarray | None]:
        return self.features(self.fake)

    @property
    def fake_features(self) -> np.ndarray:
        return self._of_fakes[0]

    @property
    def logits(self) -> np.ndarray | None:
        return self._of_fakes[1]

    def some_real(self) -> np.ndarray:
        """As many images as there are fakes, or all."""
        return np.asarray(self.real.images[self.order[: self.count]])


class Found(NamedTuple):
    """Values, each with whether higher is better (None: best at 0.5), and what their protocol has beyond the features'."""

    values: Mapping[str, tuple[float, bool | None]]
    told: dict[str, Any]


def _fid(x: Images) -> Found:
    return Found({"fid": (frechet.frechet(x.real_features, x.fake_features), False)}, {})


def _fid_infinity(x: Images) -> Found:
    moments = frechet.moments([x.real_features])
    least = min(5_000, x.count // 2)
    value = frechet.frechet_infinity(moments, x.fake_features, least, seed=x.config.seed)
    return Found({"fid_infinity": (value, False)}, {"points": f"15 numbers of fakes, from {least}"})


def _kid(x: Images) -> Found:
    size = min(1_000, len(x.real_features), x.count)  # where it is all of one side, subsets tell no deviation
    found = kid.kid(x.real_features, x.fake_features, 100, size)
    std = {"kid_std": (found.std, False)} if size < min(len(x.real_features), x.count) else {}
    return Found({"kid": (found.mean, False), **std}, {"subsets": f"100 of {size}, seed 2020"})


def _inception_score(x: Images) -> Found:
    if x.logits is None:
        raise UserError("the Inception Score needs a classifier's logits: --features inception, or data with labels")
    found = inception_score.inception_score(x.logits, 10)
    return Found({"is": (found.mean, True), "is_std": (found.std, False)}, {"splits": 10, "real": 0})


def _precision_recall(x: Images) -> Found:
    own = x.real_features[: x.count]
    found = precision_recall.precision_recall(own, x.fake_features, 3)
    return Found({name: (value, True) for name, value in found.items()}, {"k": 3, "real": len(own)})


def _prdc(x: Images) -> Found:
    own = x.real_features[: x.count]
    found = precision_recall.prdc(own, x.fake_features, 5)
    return Found({f"{name}_5": (value, True) for name, value in found.items()}, {"k": 5, "real": len(own)})


def _intra_fid(x: Images) -> Found:
    if x.labels is None or x.real.labels is None:
        raise UserError("intra-class FID needs a conditional run and data with labels")
    each = frechet.intra_frechet(x.real_features, x.real.labels[x.order], x.fake_features, x.labels)
    return Found({"intra_fid": (float(np.mean(list(each.values()))), False)}, {"classes": len(each)})


def _cas(x: Images) -> Found:
    """Classification accuracy score: of a classifier that has learnt the fakes alone, on real test images (Ravuri and Vinyals
    2019, arXiv:1905.10887); beside it that of one that has learnt as many real images.
    """
    train, held = x.against.train, x.against.held
    if x.labels is None or train.labels is None or held is None or held.labels is None:
        raise UserError(
            "the classification accuracy score needs a conditional run, and data with test images, all with labels"
        )
    rows = np.random.default_rng(0).permutation(len(train.images))[: x.count]
    learnt = {
        "cas": image_set(x.fake, x.labels, "the fakes", train.classes),
        "cas_real": image_set(np.asarray(train.images[rows]), train.labels[rows], "real images", train.classes),
    }
    classifiers = {key: classifier.trained(one, evaluators.CLASSIFIER_STEPS) for key, one in learnt.items()}
    values = {key: (classifier.accuracy(one, held), True) for key, one in classifiers.items()}
    steps = " and ".join(str(one.steps) for one in classifiers.values())
    how = f"gan_jax's classifier, version {classifier.VERSION}, {steps} steps"
    told = {"real": len(held.images), "real_split": "test", "test_digest": held.digest, "real_learnt": len(rows)}
    return Found(values, {"features": how, "network_weights": "learnt from what is measured", **told})


def _path_length(x: Images) -> Found:
    """Of whole paths, by squared Euclidean distances of features, of one class from end to end."""
    sampler = x.made.sampler
    if sampler is None:
        raise UserError("path length needs a run: it is the generator's")
    if x.config.batch_norm == "batch":
        raise UserError("path length needs a generator whose images do not hang on their batch: not --batch-norm batch")
    if any(sampler.config.get(key, "float32") != "float32" for key in ("precision", "matmul_precision")):
        raise UserError("path length needs a run with --precision and --matmul-precision float32: this one rounds more")
    rng = np.random.default_rng(x.config.seed)
    start, end = rng.standard_normal((2, x.count, sampler.z_dim))
    apply = x.features.ready().apply

    def moved(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return ((apply(one)[0].astype(np.float64) - apply(other)[0]) ** 2).sum(1)

    value = path_length.path_length(
        lambda z: sampler(z.astype(np.float32)), moved, start, end, rng.uniform(size=x.count), between=path_length.slerp
    )
    how = (
        f"whole paths in Z, slerp, epsilon {path_length.EPSILON:g}, squared Euclidean distances, 1st to 99th percentile"
    )
    return Found({"path_length": (value, False)}, {"paths": how, "pixels": "not rounded", "real": 0})


def _sliced(x: Images) -> Found:
    count = len(real := x.some_real())
    found = sliced.patch_sliced_wasserstein(real, x.fake[:count], seed=x.config.seed)
    values = {f"swd_{level}": (value, False) for level, value in found.items()}
    return Found(values, {**PIXELS, "real": count, "fake": count})


def _ms_ssim(x: Images) -> Found:
    scales, real = ssim.scales_for(*x.fake.shape[1:3]), x.some_real()
    found = ssim.diversity(real, x.fake, 1_000, x.config.seed)
    values = {key.replace("ssim", f"ssim_{scales}"): (value, False) for key, value in found.items()}
    return Found(values, {**PIXELS, "pairs": "1000, of all classes", "real": len(real)})


def _neighbours(x: Images) -> Found:
    """Whether fakes stand nearer to the images that the generator has learnt than others do that it has not seen."""
    train, held = x.against.train, x.against.held
    if held is None:
        raise UserError(f"memorised neighbours need images not seen in training: {train.name} has no test images")
    learnt, other = (x.features.cached(one, np.arange(len(one.images)))[0] for one in (train, held))
    found = two_sample.memorised(x.fake_features, learnt, other)
    values = {name: (float(value), name != "share") for name, value in found._asdict().items() if np.ndim(value) == 0}
    told = {"real": len(learnt), "real_split": "train", "held_out": len(other), "test_digest": held.digest}
    return Found(values, told)


def _two_sample(x: Images) -> Found:
    count = min(len(x.real_features), x.count, 5_000)
    found = two_sample.one_nearest_neighbour(x.real_features[:count], x.fake_features[:count])
    test = two_sample.classifier_two_sample(x.real_features[:count], x.fake_features[:count], x.config.seed)
    both = {f"1nn_{k}": v for k, v in found.items()} | {f"c2st_{k}": v for k, v in test.items()}
    values = {name: (value, True if name == "c2st_p_value" else None) for name, value in both.items()}
    return Found(values, {"real": count, "fake": count})


# Of metrics on the images themselves, whatever the features.
PIXELS = {"features": "none: the images", "network_weights": "none", "resizer": "none"}
METRICS: dict[str, Callable[[Images], Found]] = {
    "fid": _fid,
    "fid_infinity": _fid_infinity,
    "kid": _kid,
    "is": _inception_score,
    "precision_recall": _precision_recall,
    "prdc": _prdc,
    "intra_fid": _intra_fid,
    "cas": _cas,
    "sliced": _sliced,
    "ms_ssim": _ms_ssim,
    "path_length": _path_length,
    "neighbours": _neighbours,
    "two_sample": _two_sample,
}


def fakes(config: Config, target: str) -> Made:
    """A run's samples, or the images of a folder."""
    drawn_by = {"sample_seed": config.seed}
    if not (Path(target).expanduser() / "config.json").exists():
        images = data.load(target, size=config.size or None)
        order = np.random.default_rng(config.seed).permutation(len(images.images))[: config.samples]
        rows = np.asarray(images.images[np.sort(order)])
        rows = rows if rows.dtype == np.uint8 else to_uint8(rows)
        return Made(rows, None, {**dict.fromkeys(("weights", "batch_norm", "labels"), "none"), **drawn_by}, None)
    sample = load(target, raw=config.raw, member=config.member, best=config.best)
    assert sample.spec is not None
    made = {
        "weights": "raw" if config.raw or not sample.config.get("ema_images") else "averaged (EMA)",
        "batch_norm": config.batch_norm,
        "labels": evaluators.IN_TURN if sample.classes else "none",
        **drawn_by,
    }
    labels = np.arange(config.samples) % sample.classes if sample.classes else None
    if config.batch_norm == "batch":
        drawn = batch_norm.batch_samples(sample.recipe.game, sample.generator, sample.spec, config.samples, config.seed)
        if labels is not None:  # each batch has the classes in turn
            labels = np.arange(config.samples) % batch_norm.ROWS % sample.classes
        return Made(_finite(drawn, target), labels, made, sample)
    generator = sample.generator
    if config.batch_norm == "standing":
        generator = batch_norm.standing(sample.recipe.game, generator, sample.spec, config.seed)
    sample = sample.with_generator(generator)
    z = np.asarray(sample.latents(config.samples, config.seed))
    parts = [
        _finite(sample(z[i : i + 500], None if labels is None else labels[i : i + 500]), target)
        for i in range(0, len(z), 500)
    ]
    return Made(np.concatenate(parts), labels, made, sample)


def _finite(images: np.ndarray, target: str) -> np.ndarray:
    """As uint8. UserError for values that are not finite, which would become black."""
    if not np.isfinite(images).all():
        raise UserError(f"{target}: of the generator's pixels {np.mean(~np.isfinite(images)):.2%} are not finite")
    return to_uint8(images)


def _against(config: Config, target: str, sampler: Sampler | None) -> Against:
    """The data of the flags, or those that the run was trained on, read as it read them."""
    if config.data or sampler is None:
        name, size, how = config.data, config.size or None, {}
        if not name:
            raise UserError(f"{target} is a set of images: say by --data what it is measured against")
    else:
        flags = sampler.config
        if not {"data", "fit", "stream"} <= set(flags):
            raise UserError(
                f"{target} was not trained on the images of a set: its own result.json has its measures, and --data names another set"
            )
        name, size = str(flags["data"]), flags["size"] or None
        how = {"fit": flags["fit"], "stream": flags["stream"]}
    train = data.load(name, size=size, **how)
    real = train if config.split == "train" else data.load(name, config.split, size=size, **how)
    return Against(real, train, evaluators.held_out(name, size or 0, **how))


def measured(config: Config, target: str, chosen: list[str]) -> dict[str, Record]:
    made = fakes(config, target)
    against = _against(config, target, made.sampler)
    real = against.real
    if real.spec.shape != made.images.shape[1:]:
        raise UserError(
            f"{target} has images {made.images.shape[1:]} and {real.name} {real.spec.shape}: give --size, or other data"
        )
    digest = None if config.data or made.sampler is None else made.sampler.data_digest
    if digest not in (None, against.train.digest):
        raise UserError(
            f"{real.name} is no longer what {target} was trained on: its digest was {digest} and is {against.train.digest}. "
            "Say by --data what it is measured against"
        )
    features = evaluators.chosen(config.features, against.train, getattr(resize, config.resizer))
    both = Images(config, features, against, made)
    how = {
        "real": len(real.images),
        "real_split": config.split,
        "fake": len(made.images),
        "pixels": "8 bits",
        "data": real.name,
        "data_digest": real.digest,
        "checkpoint": "none" if made.sampler is None else "best" if config.best else "last",
        **made.how,
    }
    records = {}
    for metric in chosen:
        try:
            found = METRICS[metric](both)
        except ValueError as error:
            raise UserError(f"{metric} of {target}: {error}") from error
        for key, (value, higher) in found.values.items():
            network = {} if "features" in found.told else features.ready().protocol
            records[key] = Record(value, higher, {"metric": metric, **network, **how, **found.told})
    return records


def main(config: Config) -> dict[str, Any]:
    chosen = config.metrics.split(",")
    if unknown := set(chosen) - set(METRICS):
        raise UserError(f"--metrics {','.join(sorted(unknown))}: there are {','.join(METRICS)}")
    if not config.workdir:
        raise UserError("--workdir is missing: the directory of a run, or a folder of images")
    if config.samples < 20:
        raise UserError(f"--samples {config.samples}: at least 20")
    found = {target: measured(config, target, chosen) for target in config.workdir}
    names = list(next(iter(found.values())))
    for target, records in found.items():
        if [*records] != names:
            raise UserError(
                f"{config.workdir[0]} and {target} have not the same values: {', '.join({*records} ^ {*names})}"
            )
    for name in names:
        protocol.require_same({target: records[name].protocol for target, records in found.items()})
    width = max(map(len, names))
    print("".join([" " * width, *(f"  {target[-24:]:>24}" for target in found)]))
    for name in names:
        print("".join([f"{name:<{width}}", *(f"  {records[name].value:>24.6g}" for records in found.values())]))
    told = {name: one.protocol for name, one in next(iter(found.values())).items()}
    shared = [key for key, value in told[names[0]].items() if all(how.get(key) == value for how in told.values())]
    print("  ".join(f"{key}: {told[names[0]][key]}" for key in shared))
    lines: dict[str, list[str]] = {}  # values of one metric share theirs
    for name, how in told.items():
        own = "  ".join(f"{key}: {value}" for key, value in how.items() if key not in {*shared, "metric"})
        lines.setdefault(own, []).append(name)
    print(*(f"{', '.join(sharing)}:  {own}" for own, sharing in lines.items() if own), sep="\n")
    result = {
        "command": manifest.command(config, ("json",)),
        **manifest.environment(),
        "values": {target: {name: one._asdict() for name, one in records.items()} for target, records in found.items()},
    }
    if config.json:
        Path(config.json).write_text(json.dumps(result, indent=2, default=dict) + "\n")
    return result

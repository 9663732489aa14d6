"""Measures saved runs, or folders of images, and prints the values with their protocols.

    gan-jax evaluate runs/dcgan_mnist                  # repeats the measurement of its result.json
    gan-jax evaluate runs/dcgan_mnist --metrics frechet,kid,prdc --samples 10000
    gan-jax evaluate runs/one runs/two                 # side by side, if they can be compared
    gan-jax evaluate pictures/ --data photos/ --features inception

For a run, the averaged generator of the last checkpoint is measured, by the measures of its experiment; with --metrics,
--samples, --data or another flag of what is measured, by metrics of images. With --json, values and protocols are also
written to a file. Values of several targets are compared only where their protocols agree; otherwise the command fails
and names the fields that differ.
"""

import dataclasses
import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from tyro.conf import Positional, arg

from gan_jax import data
from gan_jax.evaluation import batch_norm, evaluators, resize
from gan_jax.evaluation.evaluators import ImageMeasures
from gan_jax.evaluation.measurement import Candidate, Reference, how_read, renumbered
from gan_jax.evaluation.table import METRICS
from gan_jax.metrics import protocol
from gan_jax.system.terminal import say
from gan_jax.types import Batch, Evaluate, ImageSet, Record, UserError
from gan_jax.workdir import provenance
from gan_jax.workdir.load import Saved, load, saved_run
from gan_jax.workdir.sampler import Draw, Sampler


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    targets: Positional[Annotated[tuple[str, ...], arg(metavar="RUN|FOLDER ...")]] = ()
    """What to measure: directories of runs, folders of images, or .npy or .npz files of images."""
    metrics: str = ""
    """Metrics, separated by commas: frechet kid inception_score class_accuracy prdc intra_frechet frechet_infinity kid_subsets
    precision_recall cas sliced ms_ssim path_length neighbours two_sample. Default: for a run what it measures itself,
    for a folder the first four."""
    samples: int = 0
    """Number of samples of a run, or of images of a folder. 0: as many as the run measures itself; all images of a folder."""
    data: str = ""
    """Real images to compare with, as in an experiment. Default: the training data of the run."""
    split: str = "train"
    """Split of the real images."""
    size: int = 0
    """Side to which images of --data, and of a measured folder, are resized. 0: as in the run."""
    fit: Literal["same", "crop", "stretch", "pad"] = "same"
    """How they are resized. same: as in the run; for a folder, crop."""
    features: str = ""
    """pixels, inception, or the path of Inception weights. Default: those of the run; for a folder, a classifier of the data if it has labels."""
    resizer: Literal["tensorflow", "pytorch", "pillow"] = "tensorflow"
    """How images are resized for the Inception network: as in the original FID and torch-fidelity, pytorch-fid, or clean-fid."""
    raw: bool = False
    """Measure the trained generator instead of its average."""
    best: bool = False
    """Measure the best checkpoint instead of the last."""
    batch_norm: Literal["running", "batch", "standing"] = "running"
    """Statistics of batch norm: running averages, of each batch of 100, or gathered anew over 50 batches."""
    member: int = 0
    """Index of the member of a population, from 0."""
    seed: int = 0
    """Seed of the latents, and of the choice of images from a folder with more than --samples."""
    json: str = ""
    """File to which the values and their protocols are written as JSON."""


FEWEST = 20  # images of which values are told
# With all of these at their defaults, a run is measured by its experiment.
OWN = ("metrics", "samples", "data", "split", "size", "fit", "features", "resizer")


def main(config: Config) -> dict[str, Any]:
    """Runs the command; returns what --json writes. Raises UserError if targets cannot be measured or compared."""
    chosen = tuple(filter(None, config.metrics.split(",")))
    if unknown := set(chosen) - set(METRICS):
        raise UserError(f"--metrics {','.join(sorted(unknown))}: there are {','.join(METRICS)}")
    if not config.targets:
        raise UserError(
            "nothing is named to be measured: gan-jax evaluate RUN, the directory of a run, or a folder of images"
        )
    if config.samples and config.samples < FEWEST:
        raise UserError(f"--samples {config.samples}: at least {FEWEST}")
    _require_writable(config.json)
    results = {target: measured(config, target, chosen) for target in config.targets}
    names = list(next(iter(results.values())))
    for target, records in results.items():
        if [*records] != names:
            raise UserError(
                f"{config.targets[0]} and {target} have not the same values: {', '.join({*records} ^ {*names})}"
            )
    for name in names:
        protocol.require_same({target: records[name].protocol for target, records in results.items()})
    _print_values(results)
    result = {
        "command": provenance.command(config, ("json",), positional=("targets",)),
        **provenance.environment(),
        "values": {
            target: {name: one._asdict() for name, one in records.items()} for target, records in results.items()
        },
    }
    if config.json:
        Path(config.json).parent.mkdir(parents=True, exist_ok=True)
        Path(config.json).write_text(json.dumps(result, indent=2, default=dict) + "\n", encoding="utf-8")
    return result


def measured(config: Config, target: str, metrics: tuple[str, ...]) -> dict[str, Record]:
    """Measures one target; returns records with complete protocols. Raises UserError where it cannot be measured."""
    path = Path(target).expanduser()
    if not (path / "config.json").exists():
        _require_images(path, target)
        return _measured_folder(config, target, metrics)
    run = saved_run(target)
    sampler = load(target, raw=config.raw, member=config.member, best=config.best)
    draw = _drawing(config, sampler)
    try:
        if all(getattr(config, name) == getattr(Config(), name) for name in OWN):
            evaluate = _evaluate_of(run)
            records = (evaluate.final or evaluate.measure)(draw)
        else:
            measures, count = _measures(config, run, sampler)
            names = metrics or measures.during(count)
            if not metrics:
                say(f"{target}: by metrics of images, {','.join(names)}; without flags by its own measures", error=True)
            records = measures.records(names, draw, count, sampler=draw.sampler, seed=config.seed)
    except ValueError as error:
        raise UserError(f"{target}: {error}") from error
    which = {"checkpoint": "best" if config.best else "last"}
    if run.config.population:
        members = run.config.members()
        which["member"] = f"{members[config.member].label}, of {len(members)}"
    return protocol.completed(records, {**draw.how, **which})


def _require_writable(path: str) -> None:
    """Raises UserError for a file of values that could not be written, before anything is measured."""
    if not path:
        return
    above = next(folder for folder in Path(path).absolute().parents if folder.exists())
    if Path(path).is_dir() or not above.is_dir() or not os.access(above, os.W_OK):
        raise UserError(f"--json {path} cannot be written: name a file in a folder that can")


def _require_images(path: Path, target: str) -> None:
    """Raises UserError for a path that does not exist, and for a folder that contains runs or is part of one."""
    if not path.exists() and os.sep in target:
        raise UserError(f"{target}: no such file or folder ({path.absolute()})")
    if path.is_dir() and (inside := sorted(config_file.parent.name for config_file in path.glob("*/config.json"))):
        raise UserError(f"{target} is no run, but holds some: {', '.join(inside[:8])}: name one of them")
    if path.is_dir() and (path.absolute().parent / "config.json").exists():
        raise UserError(f"{target} is a part of a run: name {path.absolute().parent}")


def _evaluate_of(run: Saved) -> Evaluate:
    """The measures of the run's experiment; raises UserError where it has none, or its data have changed."""
    if not hasattr(run.module, "setup"):
        raise UserError(f"the experiment {run.module.__name__} has no setup(config), which makes its data and measures")
    setup = run.module.setup(run.config)
    was, now = run.identity.get("data_digest", ""), setup.source.digest
    if was != now:
        raise _other_data(run, setup.source.name, was, now)
    if setup.evaluate is None:
        raise UserError(
            f"{run.workdir}: its experiment, {run.module.__name__}, measures nothing; --metrics and --data may"
        )
    return setup.evaluate


def _other_data(run: Saved, name: str, was: str, now: str) -> UserError:
    return UserError(
        f"{name} is no longer what {run.workdir} was trained on: its digest was {was} and is {now}. "
        "Say by --data what it is measured against"
    )


def _measures(config: Config, run: Saved, sampler: Sampler) -> tuple[ImageMeasures, int]:
    """Metrics of images against the run's training data, read in the same way, or against --data; and the number of
    samples.
    """
    flags = run.config
    from_images = hasattr(flags, "stream")  # whether the run was trained on a set of images
    size = config.size or getattr(flags, "size", 0)
    fit = getattr(flags, "fit", "crop") if config.fit == "same" else config.fit
    if not config.data and not from_images:
        raise UserError(
            f"{run.workdir} was not trained on the images of a set: leave --metrics and --samples out, and its own measures are taken; --data names another set"
        )
    stream = getattr(flags, "stream", False)
    name = config.data or flags.data
    train = data.load(name, size=size or None, fit=fit, stream=stream)
    was = run.identity.get("data_digest", "")
    if not config.data and train.digest != was:
        raise _other_data(run, train.name, was, train.digest)
    features = config.features or getattr(flags, "features", "")
    labels = "none"
    if sampler.classes and train.classes:
        labels = evaluators.IN_TURN
        train = renumbered(train, sampler.class_names, str(run.workdir))
    measures = _image_measures(config, name, train, size, fit, features, labels, halve=not config.data, stream=stream)
    _require_shape(measures, sampler.spec.shape, str(run.workdir))
    return measures, config.samples or measures.reference.most(getattr(flags, "final_samples", 10_000))


def _measured_folder(config: Config, target: str, metrics: tuple[str, ...]) -> dict[str, Record]:
    if not config.data:
        raise UserError(f"{target} is a set of images: say by --data what it is measured against")
    size, fit = config.size, "crop" if config.fit == "same" else config.fit
    train = data.load(config.data, size=size or None, fit=fit)
    measures = _image_measures(config, config.data, train, size, fit, config.features, "none", halve=False)
    images = data.load(target, size=size or None, fit=fit)
    _require_shape(measures, images.spec.shape, target)
    count = min(config.samples or len(images.images), len(images.images))
    if count < FEWEST:
        raise UserError(f"{target} has {count} images: at least {FEWEST} are needed to measure anything")
    rows = np.sort(np.random.default_rng(config.seed).permutation(len(images.images))[:count])
    candidate = Candidate(measures.reference, np.asarray(images.images[rows]), None, count, seed=config.seed)
    try:
        records = measures.measured(metrics or measures.during(count), candidate)
    except ValueError as error:
        raise UserError(f"{target}: {error}") from error
    none = dict.fromkeys(("weights", "batch_norm", "checkpoint"), "none")
    return protocol.completed(records, {**none, "sample_seed": config.seed})


def _image_measures(
    config: Config,
    name: str,
    train: ImageSet,
    size: int,
    fit: str,
    features: str,
    labels: str,
    *,
    halve: bool,
    stream: bool = False,
) -> ImageMeasures:
    """Metrics against the split that the flags name. Classifiers are always trained on the training set, and memorised
    neighbours searched there.
    """
    test = evaluators.held_out(name, size, fit, stream)
    on_train = config.split == "train"
    real = train if on_train else data.load(name, config.split, size=size or None, fit=fit, stream=stream)
    if not on_train and real.classes and train.classes:
        real = renumbered(real, train.class_names, train.name)
    network = evaluators.chosen(features, train, getattr(resize, config.resizer))
    # Against the test images nothing is held out: there are no further images for a floor.
    reference = Reference(
        real, network, test, split=config.split, train=train, halve=halve and on_train, floor=on_train
    )
    return ImageMeasures(reference, labels, how_read(real, size, fit))


def _require_shape(measures: ImageMeasures, shape: tuple[int, ...], target: str) -> None:
    real = measures.reference.real
    if real.spec.shape != shape:
        channels = "" if real.spec.shape[-1] == shape[-1] else " (the last are the channels: 1 of grey, 3 of colour)"
        mend = "give other data" if channels else "give --size, or other data"
        raise UserError(f"{target} has images {shape} and {real.name} {real.spec.shape}{channels}: {mend}")


def _refuse(view: str, /, *inputs: Any) -> Any:
    raise UserError(f"the view {view!r} takes the running averages of batch norm: leave --batch-norm out")


class _Drawing(Draw):
    """Draws samples as the measures of a run do, with the batch norm statistics that the flags choose."""

    def __init__(self, sampler: Sampler, seed: int):
        super().__init__(sampler, seed)
        self.sampler, self.seed = sampler, seed
        if self.how["batch_norm"] != "running averages":
            self.ask = _refuse

    def __call__(self, rows: int | Batch, /) -> Any:
        if self.how["batch_norm"] != "batch":
            return super().__call__(rows)
        if not isinstance(rows, int):
            raise UserError("--batch-norm batch draws of noise alone, and a batch is named: leave it out")
        sampler = self.sampler
        return batch_norm.batch_samples(sampler, rows, self.seed)


def _drawing(config: Config, sampler: Sampler) -> _Drawing:
    if config.batch_norm != "running" and (needs := sampler.programs.kinds.needs):
        raise UserError(
            f"--batch-norm {config.batch_norm} is for generators of noise, and this one is given {' and '.join(needs)}: leave it out"
        )
    if config.batch_norm != "running" and not batch_norm.batch_normed(sampler.own):
        raise UserError(f"--batch-norm {config.batch_norm}: this generator has no batch norm, leave it out")
    if config.batch_norm == "standing":
        sampler = sampler.with_generator(batch_norm.standing(sampler, config.seed))
    how = {"running": "running averages"}.get(config.batch_norm, config.batch_norm)
    return _Drawing(dataclasses.replace(sampler, how={**sampler.how, "batch_norm": how}), config.seed)


def _print_values(results: dict[str, dict[str, Record]]) -> None:
    """Prints the values, the fields that all protocols share, and the other fields of each metric's protocol."""
    names = list(next(iter(results.values())))
    width = max(map(len, names))
    say("".join([" " * width, *(f"  {target[-24:]:>24}" for target in results)]))
    for name in names:
        say("".join([f"{name:<{width}}", *(f"  {records[name].value:>24.6g}" for records in results.values())]))
    protocols = {name: one.protocol for name, one in next(iter(results.values())).items()}
    shared = [
        key for key, value in protocols[names[0]].items() if all(how.get(key) == value for how in protocols.values())
    ]
    say("  ".join(f"{key}: {protocols[names[0]][key]}" for key in shared))
    lines: dict[str, list[str]] = {}  # by text, since several values may share it
    for name, how in protocols.items():
        specific = "  ".join(f"{key}: {_short(value)}" for key, value in how.items() if key not in shared)
        lines.setdefault(specific, []).append(name)
    for specific, sharing in lines.items():
        if specific:
            say(f"{', '.join(sharing)}:  {specific}")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)

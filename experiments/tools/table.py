"""Keeps finished runs' results and writes the README's tables from all that are kept.

    python -m experiments.tools.table runs/dcgan_mnist runs/gan_ring

copies each run's result.json and last picture to experiments/results/NAME.json and NAME.png, then rewrites what stands
between the README's two marks. Without arguments only the tables are written.
"""

import dataclasses
import importlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

from PIL import Image
from tyro.conf import Positional

from experiments.tools.earlier import as_today, today
from experiments.tools.published import COLLAPSE
from gan_jax.metrics import protocol
from gan_jax.training import cli
from gan_jax.types import UserError

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "experiments" / "results"
LARGEST = 400_000  # bytes of a picture in the repository
MARKS = ("<!-- results: written by `python -m experiments.tools.table` -->", "<!-- end of results -->")
MIXTURES = ("gan_ring", "gan_grid")
# Of which no table stands in the README yet.
APART = ("infogan_mnist", "cyclegan_digits")
IMAGES = (
    "gan_digits", "dcgan_digits", "gan_mnist", "gan_minimax_mnist", "dcgan_mnist", "lsgan_mnist", "wgan_mnist", "wgan_gp_mnist",
    "cgan_mnist", "dcgan_fashion", "dcgan_cifar10", "wgan_gp_cifar10", "sngan_cifar10",
)  # fmt: skip
# Runs of published protocols, kept apart by these flags, and with fewer --steps where the paper's take days.
VARIANTS = {
    "pacgan_mixtures": ("mixture", "packing"),
    "unrolled_ring": ("unroll",),
    "stacked_mnist": ("width", "packing"),
    "stacked_mnist_dcgan": ("width",),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    workdirs: Positional[tuple[Path, ...]] = ()
    """Directories of finished runs to keep."""


def keep(workdir: Path) -> None:
    """Copies a run's result and the files that show its last samples; UserError unless it is finished and all its starts are of one commit,
    without changes.
    """
    path = workdir / "result.json"
    if not path.exists():
        raise UserError(f"{workdir} holds no result.json: it is no run's directory, or the run is not finished")
    result = json.loads(path.read_text())
    if result["name"] not in {*MIXTURES, *IMAGES, *VARIANTS, *APART}:
        raise UserError(f"{result['name']} has no row yet: add it to MIXTURES, IMAGES, VARIANTS or APART in {__file__}")
    commits = {start["commit"] for start in result.get("starts", [result])}
    if len(commits) > 1 or None in commits or any(commit.endswith("+") for commit in commits):
        raise UserError(
            f"{workdir} was not made by one commit, without changes, but by {', '.join(sorted(map(str, commits)))}: commit, and run it anew"
        )
    if not set(flags(result)) <= allowed(result["name"]):
        raise UserError(f"{workdir} was not made with the defaults, but by: {result['command']}")
    member = f"_{result['members'][0].replace(' ', '')}" if "members" in result else ""
    RESULTS.mkdir(exist_ok=True)
    name = kept_as(result)
    shutil.copy(path, RESULTS / f"{name}.json")
    for shown in sorted((workdir / "samples").glob(f"{result['steps']:08d}{member}.*")):
        shutil.copy(shown, RESULTS / f"{name}{shown.suffix}")
    kept = RESULTS / f"{name}.png"
    if kept.exists() and kept.stat().st_size >= LARGEST:  # what is all noise: its upper half
        with Image.open(kept) as picture:
            upper = picture.crop((0, 0, picture.width, picture.height // 2))
        upper.save(kept)


def flags(result: dict[str, Any]) -> dict[str, str]:
    """Those that the command was given."""
    return dict(re.findall(r" --([a-z0-9-]+)(?: ((?!--)\S+))?", result["command"]))


def _config(result: dict[str, Any]) -> Any:
    """The experiment's defaults."""
    return importlib.import_module(f"experiments.{result['name']}").Config()


def allowed(name: str) -> set[str]:
    """Flags that a kept run may be given."""
    return {"seeds"} | ({"steps", *VARIANTS[name]} if name in VARIANTS else set())


def kept_as(result: dict[str, Any]) -> str:
    """The name of a result's file: the experiment's, and the values of the flags that keep its runs apart."""
    name, config = result["name"], _config(result)
    values = {flag: str(getattr(config, flag)) for flag in VARIANTS.get(name, ())} | flags(result)
    return "_".join([name, *(values[flag] for flag in VARIANTS.get(name, ()))])


def read(name: str) -> dict[str, Any] | None:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def _value(metric: dict[str, Any] | None, form: str) -> str:
    """last (best), of a population each with its standard deviation"""
    if metric is None:
        return "not run"

    def told(which: str) -> str:
        if metric[which] is None:
            return "infinite"
        spread = f" ± {metric[f'{which}_std']:{form}}" if f"{which}_std" in metric else ""
        return f"{metric[which]:{form}}{spread}"

    last = [one["last"] for one in metric.get("members", {}).values()]
    if 0 < last.count(None) < len(last):  # which the mean leaves out
        return f"{told('last')} ({told('best')}), of {len(last) - last.count(None)} seeds, else not finite"

    return f"{told('last')} ({told('best')})"


def _seeds(result: dict[str, Any] | None) -> str:
    """How many, and how many of them collapsed or diverged."""
    if result is None:
        return "not run"
    lost, count = len(result.get("diverged", ())), len(result["seeds"])
    collapsed = result["metrics"].get("collapsed", {}).get("last")
    fallen = "" if collapsed is None else f", {round(collapsed * (count - lost))} collapsed"
    return f"{count}{fallen}{f', {lost} diverged' if lost else ''}"


def _effort(result: dict[str, Any] | None) -> str:
    if result is None:
        return "not run"
    steps = f"{result['steps']:,}"
    if "steps" in flags(result):
        steps += f" of {_config(result).steps:,}"
    return f"{steps} steps, {result['images']:,} images, {result['seconds'] / 60:.1f} min"


def _require_one_way(names: tuple[str, ...], metric: str) -> None:
    """UserError where two results on one set were not measured in one way; a conditional generator's labels apart."""
    by_set: dict[str, dict[str, Any]] = {}
    for result in filter(None, map(read, names)):
        metrics = result["metrics"] | result.get("final", {})
        if metric in metrics:
            how = as_today(metric, metrics[metric]["protocol"])
            how.pop("labels", None)
            by_set.setdefault(result["data"]["name"], {})[result["name"]] = how
    for protocols in by_set.values():
        protocol.require_same(protocols)


def _rows(names: tuple[str, ...], columns: dict[str, tuple[str, str]]) -> list[str]:
    _require_one_way(names, next(iter(columns.values()))[0])
    lines = ["| experiment | " + " | ".join(columns) + " | seeds | effort |", "|---" * (len(columns) + 3) + "|"]
    for name in names:
        result = read(name)
        metrics = result["metrics"] | result.get("final", {}) if result else {}
        lines.append(
            f"| `{name}` | "
            + " | ".join(_value(metrics.get(key), form) for key, form in columns.values())
            + f" | {_seeds(result)} | {_effort(result)} |"
        )
    return lines


def collapse() -> list[str]:
    """The benchmarks of mode collapse, beside what is published."""
    lines = [
        "| mode collapse | modes | high quality | reverse KL (nats) | seeds | effort | published, ± standard error: modes | high quality | reverse KL | by |"
    ]
    lines.append("|---" * 10 + "|")
    for bench, rows in COLLAPSE.items():
        for what, name, published in rows:
            result = read(name) if name else None
            metrics = result["metrics"] if result else {}
            cells = [
                _value(metrics.get(key), form)
                for key, form in (("modes", ".1f"), ("high_quality", ".3f"), ("reverse_kl", ".3f"))
            ]
            if result and "high_quality" not in metrics:
                cells[1] = ""
            cells += [_seeds(result), _effort(result)] if name else ["", ""]
            lines.append(f"| {bench}: {what} | " + " | ".join([*(cells if name else [""] * 5), *published]) + " |")
        found = {what: result["metrics"]["reverse_kl"]["protocol"] for what, name, _ in rows if (result := read(name))}
        # Which rows are of averaged weights, they say; the unit of length is each experiment's own.
        alike = {what: {k: v for k, v in how.items() if k not in ("weights", "std")} for what, how in found.items()}
        if alike:
            protocol.require_same(alike)
        floors = [how.get("floor") for how in found.values()]
        if floor := next(filter(None, floors), None):
            lines.append(f"| {bench}: *real images* | | | {floor:.3f} |" + " |" * 6)
    return lines


def _floor(names: tuple[str, ...], columns: dict[str, tuple[str, str]]) -> list[str]:
    """What other real images score in the fakes' place, once for each data set."""
    lines, seen = [], set()
    for result in filter(None, map(read, names)):
        digest, metrics = result["data"]["digest"], result["metrics"] | result.get("final", {})
        if digest not in seen and all(key in metrics for key, _ in columns.values()):
            seen.add(digest)
            cells = [f"{metrics[key]['protocol']['floor']:{form}}" for key, form in columns.values()]
            lines.append(f"| *real {result['data']['name']}* | " + " | ".join(cells) + " | | |")
    return lines


def tables() -> str:
    """The Markdown between the marks."""
    mixtures = {
        "modes": ("modes", ".0f"),
        "high quality": ("high_quality", ".4f"),
        "reverse KL (nats)": ("reverse_kl", ".4f"),
    }
    learnt = {
        "Fréchet": ("frechet_classifier", ".2f"),
        "KID": ("kid_classifier", ".4f"),
        "Inception Score": ("inception_score_classifier", ".2f"),
        "precision": ("precision_classifier", ".3f"),
        "recall": ("recall_classifier", ".3f"),
    }
    kept = [result for result in map(read, MIXTURES + IMAGES) if result]
    # A population has one virtual device a core; the cores are the same.
    hardware = sorted({re.sub(r"^\d+ x cpu, ", "", result["hardware"]) for result in kept})
    lines = [
        "Last value, and in brackets the best of the run's evaluations; of several seeds the mean ± standard deviation, "
        "and how many collapsed. Steps and images are those of each seed; minutes are wall-clock of all together on "
        + (", ".join(hardware) or "no machine yet")
        + ", shared with other work.",
        "",
        *_rows(MIXTURES, mixtures),
        "",
        *collapse(),
        "",
        *_rows(IMAGES, learnt),
        *_floor(IMAGES, learnt),
        "",
        *speed(),
        "",
        *torture(),
        "",
        *equivalence(),
        "",
        *references(),
        "",
        *costs(),
    ]
    return "\n".join(lines)


def speed() -> list[str]:
    """The last kept run of the benchmark."""
    result = read("benchmark")
    if result is None:
        return ["Speed: not run."]
    rates = (
        f"{result['matrix_gflop_per_second']:.0f} GFLOP/s and memory at {result['memory_gigabyte_per_second']:.0f} GB/s"
    )
    lines = [
        f"Speed (`{today(result['command'])}`, {result['hardware']}, where a large {result['settings']['precision']} matrix product runs at {rates}). "
        "Medians, with the least and the most of the timings; beside other programs, each run in turn with ours, "
        "the times they need over the time that ours needs. "
        "Memory is the compiled round's, and that over what the method cannot do without: state, batch, gradients and activations.",
        "",
        "| round of | batch | ms (range) | images/s | GFLOP/s | of the matrix rate | the whole loop adds | MB (over needed) | over the others |",
        "|---" * 9 + "|",
    ]
    for name, game in result["games"].items():
        peers = [f"{_peer(peer['command'])} {peer['ratio']:.2f}" for peer in game.get("peers", ())]
        cells = [str(game["batch_size"]), f"{game['ms']:.2f} ({game['ms_min']:.2f} - {game['ms_max']:.2f})"]
        cells += [
            f"{game['images_per_second']:,.0f}",
            f"{game['gflop_per_second']:.0f}",
            f"{game['share_of_matrix_rate']:.0%}",
        ]
        cells += [f"{game['loop_overhead']:.1%}", f"{game['peak_mb']:.0f} ({game['peak_mb'] / game['needed_mb']:.2f})"]
        lines.append(f"| {name} | " + " | ".join([*cells, ", ".join(peers)]) + " |")
    if "growth" not in result:
        return lines
    starts = result["starts"]
    lines += [
        "",
        f"The first round of dcgan_mnist is done {starts['cold_seconds']:.1f} s after the process starts, "
        f"and {starts['warm_seconds']:.1f} s after where an earlier start has compiled it.",
        "",
        "| what grows | game | ms a round (of members, of each) |",
        "|---" * 3 + "|",
    ]
    for what, rows in result["growth"].items():
        for game in dict.fromkeys(row["game"] for row in rows):
            own = [row for row in rows if row["game"] == game]
            key = next(key for key in own[0] if key != "game")
            lines.append(
                f"| {what} | {game} | " + ", ".join(f"{_size(row[key])}: {row['ms']:.2f}" for row in own) + " |"
            )
    return lines


def _peer(command: str) -> str:
    """What tells one peer's command from another's: its flags without values."""
    flags = re.findall(r" --([a-z][a-z-]*)(?= --| *$)", command)
    return "PyTorch " + (", ".join(flags) or "eager")


def _size(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, list) else str(value)


def torture() -> list[str]:
    """The run that was killed again and again."""
    result = read("torture")
    if result is None:
        return ["Killed and resumed: not run."]
    phases = ", ".join(f"{count} while {phase}" for phase, count in result["killed while"].items())
    same = result["compared"]
    outcome = f"{len(result['differences'])} differences from" if result["differences"] else "bit for bit as in"
    return [
        f"Killed and resumed (`{today(result['command'])}`): {result['kills']} times SIGKILL ({phases}); in the end {same['arrays']} arrays of the state, "
        f"{same['rows']} rows of the log and {same['pictures']} pictures are {outcome} the run left alone."
    ]


def equivalence() -> list[str]:
    """How far one round on several devices or processes is from the round on one."""
    result = read("equivalence")
    if result is None:
        return ["Devices and processes: not run."]
    table = result["largest relative difference"]
    columns = list(next(iter(table.values())))
    lines = [
        f"Devices and processes (`{today(result['command'])}`, virtual CPU devices): the largest difference of any array, or metric, after one round with SGD, "
        "from the round on one device, beside the array's largest entry (at least 0.1, the learning rate; of metrics at least 1).",
        "",
        "| game | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    return lines + [
        f"| {name} | " + " | ".join(f"{row[key]:.0e}" for key in columns) + " |" for name, row in table.items()
    ]


def references() -> list[str]:
    """How far the metrics are from the published packages."""
    result = read("metrics")
    if result is None:
        return ["Metrics beside the published packages: not run."]
    lines = [
        f"Metrics (`{today(result['command'])}`): the largest difference from what the published packages say of the same features or images "
        f"({', '.join(result['cases'])}), relative, of values under 1 absolute. Where covariances are singular the packages take roots of rounding errors.",
        "",
        "| metric, package | largest difference |",
        "|---|---|",
    ]
    return lines + [f"| {name} | {value:.0e} |" for name, value in result["difference"].items()]


def costs() -> list[str]:
    """What metrics cost."""
    result = read("benchmark_metrics")
    if result is None:
        return ["What metrics cost: not run."]
    each = [
        f"{name} {cost['seconds']:.0f} s ({cost['peak_mb'] / 1e3:.1f} GB)" for name, cost in result["metrics"].items()
    ]
    return [
        f"What metrics cost (`{today(result['command'])}`, {result['hardware']}; {result['count']:,} real and {result['count']:,} fake features of "
        f"{result['dimensions']:,} dimensions, and the most memory of the whole process): {'; '.join(each)}."
    ]


def write_readme(path: Path) -> None:
    text = path.read_text()
    head, rest = text.split(MARKS[0])
    path.write_text(f"{head}{MARKS[0]}\n{tables()}\n{MARKS[1]}{rest.split(MARKS[1])[1]}")


def main(config: Config) -> None:
    for workdir in config.workdirs:
        keep(workdir)
    write_readme(ROOT / "README.md")


if __name__ == "__main__":
    cli.run(main, Config)

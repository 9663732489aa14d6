"""Keeps the results of finished runs, and writes the gallery and the tables of experiments/README.md from all kept
results.

    python -m experiments.tools.table runs/dcgan_mnist runs/gan_ring

copies each run's result.json and last picture to experiments/results/NAME.json and NAME.png, then rewrites the text
between the marks of each section. Without arguments it only writes the sections.
"""

import dataclasses
import json
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from PIL import Image
from tyro.conf import Positional

from experiments.tools import arms, checked, given, golden, greats, heard, moved, texts
from experiments.tools.earlier import today
from experiments.tools.kept import (
    EFFORT,
    RESULTS,
    VARIANTS,
    allowed,
    flags,
    head,
    kept_as,
    made,
    measured,
    read,
    require_one_way,
    row,
    value,
)
from experiments.tools.published import COLLAPSE
from gan_jax.commands import first_line
from gan_jax.metrics import protocol
from gan_jax.training import cli
from gan_jax.types import UserError

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "experiments" / "README.md"
LARGEST = 400_000  # bytes of a picture in the repository
LINES, WIDEST = 8, 40  # of a kept text that a table shows, and their characters
MIXTURES = ("gan_ring", "gan_grid")
IMAGES = (
    "gan_digits", "dcgan_digits", "gan_mnist", "gan_minimax_mnist", "dcgan_mnist", "lsgan_mnist", "wgan_mnist", "wgan_gp_mnist",
    "progressive_mnist", "best_mnist", "best_mnist_conditional", "cgan_mnist", "dcgan_fashion", "progressive_fashion", "stylegan2_fashion", "r3gan_fashion",
    "best_fashion", "best_fashion_conditional", "biggan_fashion",
    "dcgan_cifar10", "wgan_gp_cifar10", "sngan_cifar10", "biggan_cifar10",
    "r3gan_cifar10",
)  # fmt: skip
CODES = ("infogan_mnist",)
NAMED = {name.removesuffix("_conditional") for name in (*MIXTURES, *IMAGES, *CODES)} | {*VARIANTS}  # every experiment
MODES = {"ring": 8, "grid": 25, "stacked MNIST": 1000}
KMEANS = "0.49 to 0.56"  # of k-means, k = 10, on MNIST's pixels, depending on the start: experiments/infogan_mnist.py
# Metric -> its title in a table, and its format.
COUNTED = {
    "modes": ("modes found", ".1f"),
    "high_quality": ("high quality (share of samples)", ".3f"),
    "reverse_kl": ("reverse KL (nats)", ".3f"),
}
LEARNT = {
    "frechet_classifier": ("Fréchet distance (less is better)", ".2f"),
    "kid_classifier": ("KID (less is better)", ".3f"),
    "inception_score_classifier": ("Inception Score (more is better)", ".2f"),
    "precision_classifier": ("precision (share)", ".3f"),
    "recall_classifier": ("recall (share)", ".3f"),
}
MATCHED = {"matched_accuracy": ("accuracy of the codes (share)", ".3f"), "used_codes": ("codes in use (share)", ".2f")}
ERRORS = {"test_errors": ("errors on the test images", ".0f")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    workdirs: Positional[tuple[Path, ...]] = ()
    """Directories of finished runs to keep."""


def keep(workdir: Path) -> None:
    """Copies a run's result and the files of its last samples. Raises UserError unless the run is finished, its
    experiment is in a table, it has the default flags (`allowed`), and all its starts are of one commit, without
    changes.
    """
    path = workdir / "result.json"
    if not path.exists():
        raise UserError(f"{workdir} holds no result.json: it is no run's directory, or the run is not finished")
    result = json.loads(path.read_text(encoding="utf-8"))
    if result["name"] not in NAMED:
        raise UserError(f"{result['name']} has no row yet: add it to a table of {__file__}")
    commits = {start["commit"] for start in result.get("starts", [result])}
    if len(commits) > 1 or None in commits or any(commit.endswith("+") for commit in commits):
        raise UserError(
            f"{workdir} was not made by one commit, without changes, but by {', '.join(sorted(map(str, commits)))}: commit, and run it anew"
        )
    if not set(flags(result)) <= allowed(result["name"]):
        raise UserError(f"{workdir} was not made with the defaults, but by: {result['command']}")
    member = f"_{result['members'][0].replace(', ', '_').replace(' ', '')}" if "members" in result else ""
    RESULTS.mkdir(exist_ok=True)
    name = kept_as(result)
    result["first_steps"] = golden.at(result["commit"], result["name"])
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for shown in sorted((workdir / "samples").glob(f"{result['steps']:08d}{member}.*")):
        # An animation of noise is large, and the picture has its frames.
        if shown.suffix != ".gif" or shown.stat().st_size < LARGEST:
            shutil.copy(shown, RESULTS / f"{name}{shown.suffix}")
    image = RESULTS / f"{name}.png"
    if image.exists() and image.stat().st_size >= LARGEST:  # a picture of noise compresses badly: keep its upper half
        with Image.open(image) as picture:
            upper = picture.crop((0, 0, picture.width, picture.height // 2))
        upper.save(image)


def _rows(names: tuple[str, ...], columns: dict[str, tuple[str, str]]) -> list[str]:
    require_one_way(names, next(iter(columns)))
    lines = head("experiment", *(title for title, _ in columns.values()), *EFFORT)
    for name in names:
        result = read(name)
        found = measured(result)
        values = [value(found.get(key), form) for key, (_, form) in columns.items()]
        file = name.removesuffix("_conditional")
        title = f"[`{file}`]({file}.py)" + (" `--conditional`" if name.endswith("_conditional") else "")
        lines.append(row(title, *values, *made(result)))
    return lines


def mixtures() -> list[str]:
    return _rows(MIXTURES, COUNTED)


def images() -> list[str]:
    return _rows(IMAGES, LEARNT) + _floor(IMAGES, LEARNT)


def _floor(names: tuple[str, ...], columns: dict[str, tuple[str, str]]) -> list[str]:
    """The scores of other real images in place of fakes, once for each data set."""
    lines, seen = [], set()
    for result in filter(None, map(read, names)):
        digest, found = result["data"]["digest"], measured(result)
        if digest not in seen and all(key in found for key in columns):
            seen.add(digest)
            cells = [f"{found[key]['protocol']['floor']:{form}}" for key, (_, form) in columns.items()]
            lines.append(row(f"*real images of {result['data']['name']}*", *cells, "", "", ""))
    return lines


def codes() -> list[str]:
    return [*_rows(CODES, MATCHED), row("*ten means on the pixels*", KMEANS, "", "", "", "")]


def collapse() -> list[str]:
    """Returns a table for each benchmark of mode collapse, with published values below those of our runs."""
    lines: list[str] = []
    for bench, rows in COLLAPSE.items():
        results = {what: read(name) if name else None for what, name, _ in rows}
        columns = {key: value for key, value in COUNTED.items() if bench != "stacked MNIST" or key != "high_quality"}
        titles = [title.replace("found", f"found, of {MODES[bench]:,}") for title, _ in columns.values()]
        lines += ["", *head(bench, *titles, *EFFORT)] if lines else head(bench, *titles, *EFFORT)
        for what, name, published in rows:
            *values, by = published
            if name:
                found = measured(results[what])
                our_name = f"{what} ({by})" if not values[0] else what
                cells = [value(found.get(key), form) for key, (_, form) in columns.items()]
                lines.append(row(our_name, *cells, *made(results[what])))
            if values[0]:
                cells = [value for value, key in zip(values, COUNTED, strict=True) if key in columns]
                their_name = re.sub(r" \(ours: .*\)", "", what)
                lines.append(row(f"*{their_name}: published, {by}*", *cells, "", "", ""))
        lines += _real(bench, columns, {what: result for what, result in results.items() if result})
    return lines


def _real(bench: str, columns: Iterable[str], kept: dict[str, dict[str, Any]]) -> list[str]:
    """The row of real images, where protocols have their scores. UserError where the protocols differ."""
    protocols = {what: result["metrics"]["reverse_kl"]["protocol"] for what, result in kept.items()}
    # Rows say whether weights are averaged, and each experiment has its own unit of length.
    alike = {what: {k: v for k, v in how.items() if k not in ("weights", "std")} for what, how in protocols.items()}
    if alike:
        protocol.require_same(alike)
    floors = {
        key: next((how for result in kept.values() if (how := result["metrics"][key]["protocol"].get("floor"))), None)
        for key in columns
        if all(key in result["metrics"] for result in kept.values())
    }
    if not any(floors.values()):
        return []
    cells = [f"{floors[key]:{COUNTED[key][1]}}" if floors.get(key) else "" for key in columns]
    return [row("*real images*", *cells, "", "", "")]


def gallery() -> list[str]:
    """Returns a row with picture, number and command for every kept run, and for every experiment that has none."""
    kept = sorted({path.stem for suffix in ("png", "txt") for path in RESULTS.glob(f"*.{suffix}")})
    lines = head("samples", "experiment", "number", "command")
    for name in dict.fromkeys((*MIXTURES, *(one for one in IMAGES if one in NAMED), *CODES, *VARIANTS)):
        names = [one for one in kept if (result := read(one)) and result["name"] == name]
        for one in names or [""]:
            result_of_run = read(one) if one else None
            command = today(result_of_run["command"]) if result_of_run else f"python -m experiments.{name}"
            picture = _shown(one) if one else "not run"
            title = f"[`{name}`]({name}.py): {first_line(f'experiments.{name}')}"
            lines.append(row(picture, title, _number(result_of_run), f"`{command}`"))
    return lines


def _shown(name: str) -> str:
    """A cell with the samples of a kept result: an animation, a picture, or the first lines."""
    suffix = next(suffix for suffix in ("gif", "png", "txt") if (RESULTS / f"{name}.{suffix}").exists())
    if suffix != "txt":
        return f'<img src="results/{name}.{suffix}" alt="samples of {name}" height="130">'
    lines = (RESULTS / f"{name}.txt").read_text(encoding="utf-8").splitlines()[:LINES]
    return "<br>".join(re.sub(r"[|<>&*_`\\]", " ", line)[:WIDEST] for line in lines)


def _number(result: dict[str, Any] | None) -> str:
    """The most telling number of a result, beside that of real images."""
    found = measured(result)
    for key, (title, form) in (COUNTED | LEARNT | MATCHED | ERRORS | given.TOLD).items():
        if key in found:
            floor = found[key]["protocol"].get("floor")
            beside = "" if floor is None else f"; real images {floor:{form}}"
            return f"{title}: {value(found[key], form)}{beside}"
    return "not run"


# The sections of experiments/README.md that are written, by the name in their marks.
SECTIONS: dict[str, Callable[[], list[str]]] = {
    "gallery": gallery,
    "mixtures": mixtures,
    "collapse": collapse,
    "images": images,
    "codes": codes,
    "tricks": arms.tricks,
    "few": arms.few,
    "semisup": arms.semisup,
    "classifiers": arms.classifiers,
    "entropies": arms.entropies,
    "cheap_penalties": arms.cheap_penalties,
    "conditional": greats.conditional,
    "patches": greats.patches,
    "truncation": greats.truncation,
    "sprites": greats.sprites,
    "pairs": given.pairs,
    "domains": given.domains,
    "fillings": given.fillings,
    "enlargements": given.enlargements,
    "vocoders": heard.vocoders,
    "sounds": heard.generators,
    "texts": texts.lines,
    "temperatures": texts.temperatures,
    "oracles": texts.oracles,
    "clips": moved.moved,
    "speed": lambda: checked.speed(read("benchmark")),
    "growth": lambda: checked.growth(read("benchmark")),
    "kills": lambda: checked.torture(read("torture")),
    "devices": lambda: checked.equivalence(read("equivalence")),
    "agreement": lambda: checked.references(read("metrics")),
    "costs": lambda: checked.costs(read("benchmark_metrics")),
}


def marks(section: str) -> tuple[str, str]:
    """Returns the marks before and after a section that is written."""
    return f"<!-- {section}: written by `python -m experiments.tools.table` -->", f"<!-- end of {section} -->"


def written(text: str) -> str:
    """Returns the page with every section written from the kept results."""
    for section, lines in SECTIONS.items():
        begin, end = marks(section)
        head, rest = text.split(begin)
        text = "\n".join([head + begin, *lines(), end]) + rest.split(end)[1]
    return text


def main(config: Config) -> None:
    for workdir in config.workdirs:
        keep(workdir)
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    cli.run(main, Config)

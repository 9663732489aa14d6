"""Sets saved runs side by side on one page: numbers, samples and curves, as far as they can be compared.

    gan-jax compare runs/one runs/two --out compare.html

Numbers stand beside each other only where their protocols agree; the page and the terminal name the others, with the
fields that differ. `gan-jax evaluate RUN RUN` measures several runs in one way. The page is one file and loads nothing.
"""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from gan_jax.metrics import protocol
from gan_jax.system.terminal import say
from gan_jax.training.shown import shown_of
from gan_jax.types import UserError
from gan_jax.workdir import comparison, pictures, report
from gan_jax.workdir.load import saved_run
from gan_jax.workdir.log import read_rows
from gan_jax.workdir.report import Shown

WHEN = {"final": "when it was over", "metrics": "on the way"}  # keys of result.json, as the page calls them


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    runs: Positional[Annotated[tuple[str, ...], arg(metavar="RUN ...")]] = ()
    """Directories of two or more runs."""
    out: str = "compare.html"
    """File of the page. One that this command has written is written over, any other is not."""


def main(config: Config) -> dict[str, Any]:
    """Runs the command; returns what could be compared and what could not. Raises UserError where there are not two
    different runs, and where the page cannot be written.
    """
    out = Path(config.out).expanduser()
    paths = [Path(run).expanduser().absolute() for run in config.runs]
    if len({path.resolve() for path in paths}) < max(2, len(paths)):
        raise UserError(f"two or more different runs are compared: gan-jax compare RUN RUN; got {len(paths)}")
    _require_own(out)
    runs = [_read(path, name) for path, name in zip(paths, names_of(paths), strict=True)]
    common, refused = comparable(runs)
    text = comparison.page(runs, common, refused)
    try:
        pictures.save(out, report.encoded(text))
    except OSError as error:
        raise UserError(f"--out {config.out} cannot be written: {error.strerror or error}") from error
    for line in refused:
        say(f"not set side by side: {line}")
    count = len({name for names in common.values() for name in names})
    say(f"{len(runs)} runs, {count} measures that can be compared: {out}")
    return {"out": str(out), "common": common, "refused": refused}


def names_of(paths: Sequence[Path]) -> list[str]:
    """Returns the ends of the paths, as long as they must be to differ."""
    for length in range(1, max(len(path.parts) for path in paths) + 1):
        names = [os.sep.join(path.parts[-length:]) for path in paths]
        if len({*names}) == len(names):
            return names
    return [*map(str, paths)]


def comparable(runs: Sequence[Shown]) -> tuple[dict[str, dict[str, list[int]]], list[str]]:
    """Returns for each metric, by when it was measured, the indices of the runs that have it by one protocol, and why
    others are left out.

    Of several groups of runs whose protocols agree the largest is taken, of equally large ones that of the first run. A
    metric that no two runs share is left out.
    """
    common: dict[str, dict[str, list[int]]] = {}
    refused = [
        f"{run.name} has no result yet, and so no protocols: none of its numbers" for run in runs if not run.measured
    ]
    reasons: dict[str, list[str]] = {}  # names of metrics, by why a run is left out
    for when in WHEN.values():
        for name in dict.fromkeys(name for run in runs for name in run.measured.get(when, {})):
            groups: list[list[int]] = []
            for i in [i for i, run in enumerate(runs) if name in run.measured.get(when, {})]:
                alike = next((group for group in groups if not _differences(runs[group[0]], runs[i], when, name)), None)
                groups.append([i]) if alike is None else alike.append(i)
            kept = max(groups, key=len)
            if len(kept) > 1:
                common.setdefault(when, {})[name] = kept
            for group in [group for group in groups if group is not kept]:
                fields = "; ".join(_differences(runs[kept[0]], runs[group[0]], when, name))
                others = ", ".join(runs[i].name for i in group)
                reasons.setdefault(
                    f"measured {when}, in {others} otherwise than in {runs[kept[0]].name} ({fields})", []
                ).append(name)
            lacking = [
                run.name for i, run in enumerate(runs) if run.measured and all(i not in group for group in groups)
            ]
            if lacking:
                reasons.setdefault(f"measured {when}, not in {', '.join(lacking)}", []).append(name)
    return common, refused + [f"{', '.join(names)}, {why}" for why, names in reasons.items()]


def _differences(one: Shown, other: Shown, when: str, name: str) -> list[str]:
    return protocol.differences(one.measured[when][name]["protocol"], other.measured[when][name]["protocol"])


def _read(path: Path, name: str) -> Shown:
    run = saved_run(path)
    stems = [member.stem for member in run.config.members()] if run.config.population else []
    try:
        result: Mapping[str, Any] = {}
        if (path / "result.json").exists():
            result = json.loads((path / "result.json").read_text(encoding="utf-8"))
        measured = {when: result[key] for key, when in WHEN.items() if result.get(key)}
        shown = shown_of(path, read_rows(path / "metrics.jsonl"), measured, stems)._replace(name=name)
        if not shown.config["starts"]:
            raise ValueError("its config.json has no start")
        return shown
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} cannot be read: {error!r}") from error


def _require_own(out: Path) -> None:
    """Raises UserError for a file that this command has not written."""
    if out.is_dir():
        raise UserError(f"--out {out} is a directory: name a file, such as {out / 'compare.html'}")
    if out.exists() and comparison.MARK not in out.read_text(encoding="utf-8", errors="replace"):
        raise UserError(f"--out {out} exists, and is not a page of this command: name another file")

"""A self-contained HTML page of several runs: how they differ, their numbers side by side, their samples behind one
slider, and their curves in one frame each, as far as they can be compared.
"""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from gan_jax.workdir import curves
from gan_jax.workdir.frames import BUDGET, frames
from gan_jax.workdir.report import (
    Shown,
    curves_html,
    document,
    effort,
    folded,
    how,
    made_by,
    samples,
    short,
    spread,
    table,
)

MARK = "<meta name=generator content='gan-jax compare'>"  # of a page that may be written over


def page(runs: Sequence[Shown], common: Mapping[str, Sequence[str]], refused: Sequence[str]) -> str:
    """Returns the HTML for runs with different names.

    `common` has, by when they were measured, the names of the metrics that were measured in one way in all runs: only
    these are set side by side; `refused` says which are not, and why. Losses and other values of the rounds share a
    frame only where the runs are of one experiment. Raises OSError for a sample file that cannot be read.
    """
    title = " and ".join(run.name for run in runs)
    heads = [
        f"<tr><th class=hue{i}>{html.escape(run.name)}</th><td>{html.escape(run.config['experiment'])}: {effort(run)}</td></tr>"
        for i, run in enumerate(runs)
    ]
    moving = [frames(run.samples, BUDGET // len(runs)) for run in runs]
    drawn = _curves(runs, common)
    body = [
        f"{MARK}<h1>{html.escape(title)}</h1><div class=wide><table>{''.join(heads)}</table></div>",
        *(f"<h2>Measured {html.escape(when)}</h2>{_numbers(runs, when, names)}" for when, names in common.items() if names),
        "".join(f"<p class=warn>Not set side by side: {html.escape(text)}</p>" for text in refused),
        f"<h2>How they differ</h2>{_differences(runs)}",
        samples(_real_once(runs), [each.note for each in moving]),
        curves_html(drawn),
        *(folded(f"Configuration of {run.name}", table({**run.config["config"], **made_by(run.config)})) for run in runs),
    ]  # fmt: skip
    held = [{"name": run.name, "frames": each.members} for run, each in zip(runs, moving, strict=True)]
    return document(title, body, {"runs": held, "curves": drawn})


def _real_once(runs: Sequence[Shown]) -> list[Shown]:
    """The runs with their real images only, the same ones once."""
    seen: set[bytes] = set()
    out = []
    for run in runs:
        new = [path for path in run.beside if path.stem == "real" and path.read_bytes() not in seen]
        seen |= {path.read_bytes() for path in new}
        out.append(run._replace(beside=new))
    return out


def _numbers(runs: Sequence[Shown], when: str, names: Sequence[str]) -> str:
    head = "".join(f"<th class='n hue{i}'>{html.escape(run.name)}" for i, run in enumerate(runs))
    rows = []
    for name in names:
        each = [run.measured[when][name] for run in runs]
        higher = each[0].get("higher_is_better")
        arrow = "" if higher is None else " ↑" if higher else " ↓"
        floor = each[0]["protocol"].get("floor")
        for key in ("last", "best"):
            cells = "".join(f"<td class=n>{spread(metric, key)}</td>" for metric in each)
            first = key == "last"
            floor_cell = "" if floor is None or not first else short(floor)
            label = html.escape(name) + arrow if first else ""
            protocol = how(each[0]) if first else ""
            rows.append(
                f"<tr><th>{label}</th><td>{key}</td>{cells}<td class=n>{floor_cell}</td><td>{protocol}</td></tr>"
            )
    return f"<div class=wide><table><tr><th>metric<th>{head}<th class=n>floor<th></tr>{''.join(rows)}</table></div>"


def _differences(runs: Sequence[Shown]) -> str:
    """HTML table of flags and facts in which the runs differ."""
    facts = [{**run.config["config"], **made_by(run.config)} for run in runs]
    names = [name for name in dict.fromkeys(key for each in facts for key in each) if name != "workdir"]
    differ = [name for name in names if len({str(each.get(name, "")) for each in facts}) > 1]
    if not differ:
        return "<p>In no flag, and not in their data or versions.</p>"
    head = "".join(f"<th class=hue{i}>{html.escape(run.name)}" for i, run in enumerate(runs))
    rows = ""
    for name in differ:
        cells = "".join(f"<td>{html.escape(str(each.get(name, '')))}</td>" for each in facts)
        rows += f"<tr><th>{html.escape(name)}</th>{cells}</tr>"
    return f"<div class=wide><table><tr><th>{head}</tr>{rows}</table></div>"


def _curves(runs: Sequence[Shown], common: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    """The curves of `curves.curves` with a line for each run, told apart by hue where a frame has several runs."""
    comparable = {name for names in common.values() for name in names}
    alike = len({run.config["experiment"] for run in runs}) == 1
    frames_by_title: dict[tuple[int, str], dict[str, Any]] = {}
    for i, run in enumerate(runs):
        metrics: dict[str, Any] = {}
        for each in run.measured.values():
            metrics = {**each, **metrics}
        for curve in curves.curves(run.rows, metrics):
            measure = any(f"eval/{curve['title']}" in row for row in run.rows)
            if measure and curve["title"] not in comparable:
                continue
            if measure or alike:  # a line of each run, and of a curve with several lines one frame each
                for line in curve["lines"]:
                    title = curve["title"] if len(curve["lines"]) == 1 else line["name"]
                    place = (2 if curve["hidden"] else 0 if measure else 1, title)
                    frame = frames_by_title.setdefault(place, {**curve, "title": title, "lines": [], "events": []})
                    frame["lines"].append({**line, "name": run.name, "hue": i})
                    frame["events"] += [event for event in _named(run) if event not in frame["events"]]
            else:
                title = f"{curve['title']} of {run.name}"
                place = (2 if curve["hidden"] else 1, title)
                lines = [{**line, "hue": hue} for hue, line in enumerate(curve["lines"])]
                frames_by_title[place] = {**curve, "title": title, "lines": lines, "events": run.events}
    return [frame for _, frame in sorted(frames_by_title.items(), key=lambda item: item[0][0])]


def _named(run: Shown) -> list[dict[str, Any]]:
    return [{**event, "text": f"{run.name}: {event['text']}"} for event in run.events]

"""A self-contained HTML page of several runs: how they differ, their numbers side by side, their samples behind one
slider, and their curves in one frame each, as far as they can be compared.
"""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from gan_jax.workdir import curves
from gan_jax.workdir.frames import BUDGET, fitting, frames
from gan_jax.workdir.report import (
    Shown,
    curves_html,
    document,
    effort,
    events_html,
    folded,
    how,
    made_by,
    on_the_way,
    remarks,
    samples,
    shared,
    short,
    spread,
    table,
)

MARK = "<meta name=generator content='gan-jax compare'>"  # of a page that may be written over


def page(runs: Sequence[Shown], common: Mapping[str, Mapping[str, Sequence[int]]], refused: Sequence[str]) -> str:
    """Returns the HTML for runs with different names.

    `common` has, by when they were measured, for each metric the indices of the runs in which it was measured in one
    way: only these are set side by side; `refused` says which are not, and why. Losses and other values of the rounds
    share a frame only where runs are of one experiment. Raises OSError for a sample file that cannot be read.
    """
    title = " and ".join(run.name for run in runs)
    heads = [
        f"<tr><th class=hue{i % 6}>{html.escape(run.name)}</th><td>{effort(run)}</td></tr>"
        for i, run in enumerate(runs)
    ]
    budget = BUDGET // len(runs)
    most = min(fitting(run.samples, budget, 1) for run in runs)  # so that they have the same steps, where they can
    moving = [frames(run.samples, budget, 1, most) for run in runs]
    drawn = _curves(runs, common)
    body = [
        f"{MARK}<h1>{html.escape(title)}</h1><div class=wide><table>{''.join(heads)}</table></div>",
        *(f"<h2>Measured {html.escape(when)}</h2>{_numbers(runs, when, metrics)}" for when, metrics in common.items() if metrics),
        "".join(f"<p class=warn>Not set side by side: {html.escape(text)}</p>" for text in refused),
        f"<h2>How they differ</h2>{_differences(runs)}",
        samples(_real_once(runs), [each.note for each in moving]),
        curves_html(drawn),
        events_html([event for run in runs for event in _named(run)]),
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


def _numbers(runs: Sequence[Shown], when: str, metrics: Mapping[str, Sequence[int]]) -> str:
    head = "".join(f"<th class='n hue{i % 6}'>{html.escape(run.name)}" for i, run in enumerate(runs))
    firsts = {name: runs[indices[0]].measured[when][name] for name, indices in metrics.items()}
    common, rows = shared(firsts), []
    for name, metric in firsts.items():
        higher, floor = metric.get("higher_is_better"), metric["protocol"].get("floor")
        arrow = "" if higher is None else " ↑" if higher else " ↓"
        for key in ("last", "best"):
            cells = "".join(
                f"<td class=n>{spread(run.measured[when][name], key) if i in metrics[name] else '–'}</td>"
                for i, run in enumerate(runs)
            )
            first = key == "last"
            label = html.escape(name) + arrow if first else ""
            own = "<td></td><td></td>"
            if first:
                own = f"<td class=n>{'' if floor is None else short(floor)}</td><td>{how(metric['protocol'], common)}</td>"
            rows.append(f"<tr><th>{label}</th><td>{key}</td>{cells}{own}</tr>")
    return f"<div class=wide><table><tr><th>metric<th>{head}<th class=n>floor<th></tr>{''.join(rows)}</table></div>{remarks(common)}"


def _differences(runs: Sequence[Shown]) -> str:
    """HTML table of flags and facts in which the runs differ."""
    facts = [{**run.config["config"], **made_by(run.config)} for run in runs]
    names = [name for name in dict.fromkeys(key for each in facts for key in each) if name != "workdir"]
    differ = [name for name in names if len({str(each.get(name, "")) for each in facts}) > 1]
    if not differ:
        return "<p>In no flag, and not in their data or versions.</p>"
    head = "".join(f"<th class=hue{i % 6}>{html.escape(run.name)}" for i, run in enumerate(runs))
    rows = ""
    for name in differ:
        cells = "".join(f"<td>{html.escape(str(each.get(name, '')))}</td>" for each in facts)
        rows += f"<tr><th>{html.escape(name)}</th>{cells}</tr>"
    return f"<div class=wide><table><tr><th>{head}</tr>{rows}</table></div>"


def _curves(runs: Sequence[Shown], common: Mapping[str, Mapping[str, Sequence[int]]]) -> list[dict[str, Any]]:
    """The curves of `curves.curves` with a line for each run: a measure of the runs that have it in one way, other values
    of the runs of one experiment.
    """
    comparable = common.get("on the way", {})  # what the curves show
    several = len({run.config["experiment"] for run in runs}) > 1
    frames_by_title: dict[tuple[int, str], dict[str, Any]] = {}
    for i, run in enumerate(runs):
        for curve in curves.curves(run.rows, on_the_way(run)):
            measure = any(f"eval/{curve['title']}" in row for row in run.rows)
            if measure and i not in comparable.get(curve["title"], ()):
                continue
            of = "" if measure or not several else f" of {run.config['experiment'].rsplit('.', 1)[-1]}"
            for line in curve["lines"]:  # of a curve with several lines one frame each
                title = (curve["title"] if len(curve["lines"]) == 1 else line["name"]) + of
                place = (2 if curve["hidden"] else 0 if measure else 1, title)
                frame = frames_by_title.setdefault(place, {**curve, "title": title, "lines": [], "events": []})
                frame["lines"].append({**line, "name": run.name, "hue": i})
                frame["events"] += [event for event in _named(run) if event not in frame["events"]]
    return [frame for _, frame in sorted(frames_by_title.items(), key=lambda item: item[0][0])]


def _named(run: Shown) -> list[dict[str, Any]]:
    return [{**event, "text": f"{run.name}: {event['text']}"} for event in run.events]

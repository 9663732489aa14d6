"""A self-contained HTML page about a run: its numbers, samples behind a slider beside real images, curves that tell their
values, and the configuration. It loads nothing; curves are drawn by uPlot (MIT), which is in it.
"""

import contextlib
import html
import json
import warnings
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from gan_jax.workdir import curves
from gan_jax.workdir.frames import BUDGET, embedded, frames, size_of

# Nothing is fetched, also where a name in the page would have it otherwise.
POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
FEW = 500  # samples, below which values are told with a warning
BANDS = "Dashed: the floor. Band: one standard deviation over the members. Orange on the axis: a warning."
CAPTIONS = {"real": "real images", "neighbours": "nearest real images"}


class Shown(NamedTuple):
    """What a page shows of a run, from the files of its work directory."""

    name: str  # by which the page tells it from others
    config: Mapping[str, Any]  # content of config.json
    rows: Sequence[Mapping[str, Any]]  # of metrics.jsonl
    samples: Sequence[Path] = ()  # files of samples/, in the order of the steps
    beside: Sequence[Path] = ()  # real.* and neighbours.png
    measured: Mapping[
        str, Mapping[str, Any]
    ] = {}  # metrics as in result.json, by when they were measured; first those to read first
    events: Sequence[Mapping[str, Any]] = ()  # on the time axis: {"from", "to": steps, "text"}


def page(run: Shown) -> str:
    """Returns the HTML of the report. Raises OSError for a sample file that cannot be read."""
    drawn = curves.curves(run.rows, on_the_way(run))
    for curve in drawn:
        curve["events"] = run.events
        curve["lines"] = [{**line, "hue": hue} for hue, line in enumerate(curve["lines"])]
    moving = frames(run.samples, max(0, BUDGET - sum(map(size_of, run.beside))))
    body = [
        f"<h1>{html.escape(run.name)}</h1><p class=soft>{effort(run)}</p>",
        *(f"<h2>Measured {html.escape(when)}</h2>{_measured(each)}" for when, each in run.measured.items() if each),
        events_html(run.events),
        samples([run], [moving.note]) if moving.members or run.beside else "",
        curves_html(drawn),
        folded("Configuration", table(run.config["config"])),
        folded("Made by", table(made_by(run.config))),
    ]
    return document(run.name, body, {"runs": [{"name": run.name, "frames": moving.members}], "curves": drawn})


def on_the_way(run: Shown) -> Mapping[str, Any]:
    """The metrics as they were measured while the run trained, whose values the curves have: the floors of those that
    were measured when it was over are of other numbers of samples.
    """
    return run.measured.get("on the way") or run.measured.get("so far", {})


def document(title: str, body: Sequence[str], data: Mapping[str, Any]) -> str:
    """Returns a page that loads nothing: style, body, the data of its script as JSON, and the script."""
    held = json.dumps(data).replace("<", "\\u003c")  # no text of a run ends the script that holds it
    return "\n".join(
        [
            "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
            f'<meta http-equiv=Content-Security-Policy content="{POLICY}">',
            f"<title>{html.escape(title)}</title><style>{web('uplot.css')}{web('page.css')}</style>",
            *body,
            f"<script type=application/json id=data>{held}</script>",
            f"<script>{web('uplot.js')}</script><script>{web('page.js')}</script></html>\n",
        ]
    )


def encoded(text: str) -> bytes:
    """Returns a page as UTF-8. File names that the locale cannot read come as single bytes: those of UTF-8 make
    characters again, and others a mark.
    """
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").encode("utf-8")


def web(name: str) -> str:
    """Returns the text of a file of `gan_jax/workdir/web`."""
    return (resources.files("gan_jax.workdir") / "web" / name).read_text(encoding="utf-8")


def effort(run: Shown) -> str:
    """HTML that says how long a run has trained, and where."""
    last = run.rows[-1] if run.rows else {"step": 0, "images": 0, "seconds": 0.0}
    each = " for each member" if any(isinstance(value, list) for value in last.values()) else ""
    hardware = html.escape(run.config["starts"][-1]["hardware"])
    what = html.escape(f"{run.config['experiment']} on {run.config['identity'].get('data', 'its data')}")
    return f"{what}: {last['step']:,} steps, {last['images']:,} real images{each}, {last['seconds']:,.0f} seconds, on {hardware}."


def made_by(config: Mapping[str, Any]) -> dict[str, Any]:
    """The experiment, its data and the versions of the last start."""
    start = config["starts"][-1]
    identity = {key: value for key, value in config["identity"].items() if key != "tensor"}
    return {"experiment": config["experiment"], "commit": start["commit"], **identity, **start["versions"]}


def folded(title: str, content: str) -> str:
    """HTML of a part that opens at a click."""
    return f"<details class=part><summary>{html.escape(title)}</summary><div class=wide>{content}</div></details>"


def table(pairs: Mapping[str, Any]) -> str:
    """HTML of names and values."""
    rows = (
        f"<tr><th>{html.escape(str(key))}</th><td>{html.escape(str(value))}</td></tr>" for key, value in pairs.items()
    )
    return f"<table>{''.join(rows)}</table>"


def short(value: Any) -> str:
    """A value as a person reads it."""
    if value is None:
        return "infinite"
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def spread(metric: Mapping[str, Any], key: str) -> str:
    """HTML of a metric's "last" or "best", of a population with the standard deviation over the members."""
    return short(metric[key]) + (f" ± {metric[key + '_std']:.2g}" if f"{key}_std" in metric else "")


def shared(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the protocols that all metrics have in common."""
    first, *others = [metric["protocol"] for metric in metrics.values()]
    return {key: value for key, value in first.items() if all(one.get(key) == value for one in others)}


def how(protocol: Mapping[str, Any], common: Mapping[str, Any]) -> str:
    """HTML of what a metric's protocol says beyond the `common` fields, folded."""
    own = {key: short(value) for key, value in protocol.items() if key not in common and key != "floor"}
    return f"<details><summary>protocol</summary>{table(own)}</details>" if own else ""


def remarks(common: Mapping[str, Any]) -> str:
    """HTML under a table of metrics: what its signs mean, a warning of few samples, and the protocol that all share."""
    text = (
        "↓ lower is better, ↑ higher is better. Floor: what other real images score in the fakes' place. "
        "Best: of each metric by itself."
    )
    few, warning = common.get("fake"), ""
    if isinstance(few, int) and few < FEW:
        warning = (
            f"<p class=warn>Of {few} samples only: such values are biased, and vary from one draw to the next.</p>"
        )
    protocol = table({key: short(value) for key, value in common.items()})
    return f"<p class=soft>{text}</p>{warning}<details><summary>protocol of all</summary>{protocol}</details>"


def _measured(metrics: Mapping[str, Any]) -> str:
    """HTML table of the last and best value of every metric, with the floor and the protocol; for a population also the
    members.
    """
    rows, common = [], shared(metrics)
    for name, metric in metrics.items():
        higher = metric.get("higher_is_better")
        arrow = "" if higher is None else " ↑" if higher else " ↓"
        floor = metric["protocol"].get("floor")
        cells = [spread(metric, "last"), spread(metric, "best"), short(metric["best_step"])]
        cells.append("" if floor is None else short(floor))
        numbers = "".join(f"<td class=n>{cell}</td>" for cell in cells)
        rows.append(f"<tr><th>{html.escape(name)}{arrow}</th>{numbers}<td>{how(metric['protocol'], common)}</td></tr>")
    head = "<tr><th>metric<th class=n>last<th class=n>best<th class=n>at step<th class=n>floor<th></tr>"
    return f"<div class=wide><table>{head}{''.join(rows)}</table></div>{remarks(common)}{_members(metrics)}"


def _members(metrics: Mapping[str, Any]) -> str:
    """HTML table of the last value of every member of a population; "" for a single run."""
    members = next(iter(metrics.values())).get("members", {})
    if not members:
        return ""
    rows = [
        f"<tr><th>{html.escape(label)}</th>"
        + "".join(f"<td class=n>{short(metric['members'][label]['last'])}</td>" for metric in metrics.values())
        + "</tr>"
        for label in members
    ]
    names = "".join(f"<th>{html.escape(name)}" for name in metrics)
    return folded("Members, last", f"<table><tr><th>{names}</tr>{''.join(rows)}</table>")


def events_html(events: Sequence[Mapping[str, Any]]) -> str:
    """HTML list of what happened on the way."""
    if not events:
        return ""
    lines = "".join(f"<li>{html.escape(when(event))}: {html.escape(event['text'])}</li>" for event in events)
    return f"<h2>On the way</h2><ul class=warn>{lines}</ul>"


def when(event: Mapping[str, Any]) -> str:
    """The steps of an event."""
    first, last = event["from"], event["to"]
    return f"step {first:,}" if first == last else f"steps {first:,} to {last:,}"


def samples(runs: Sequence[Shown], notes: Sequence[str]) -> str:
    """HTML of the samples of runs: a slider, and for each run a place for the frames, which the script fills, beside its
    real images. Without scripts the last frames are there.
    """
    parts = [
        "<h2>Samples</h2><p class=soft>The same inputs at every step.</p><div class=slider id=slider></div><div class=side>"
    ]
    broad = ""
    for i, (run, note) in enumerate(zip(runs, notes, strict=True)):
        heading = f"<h3>{html.escape(run.name)}</h3>" if len(runs) > 1 else ""
        if run.samples:
            stem = next(path.stem for path in run.samples if path.stem[:8] == run.samples[-1].stem[:8])
            last = "".join(file_html(embedded(path)) for path in run.samples if path.stem == stem)
            remark = f"<p class=soft>{html.escape(note)}</p>" if note else ""
            parts.append(f"<div>{heading}<figure id=samples{i}><noscript>{last}</noscript></figure>{remark}</div>")
        for path in run.beside:
            caption = CAPTIONS.get(path.stem, path.stem)
            text = f"{caption}. {html.escape(_described(path))}" if _described(path) else caption
            kind = "broad" if path.stem == "neighbours" else "real"
            figure = f"<figure class={kind}>{file_html(embedded(path))}<figcaption>{text}</figcaption></figure>"
            if kind == "broad":
                broad += (
                    f"<h2>Nearest real images{' of ' + html.escape(run.name) if len(runs) > 1 else ''}</h2>{figure}"
                )
            else:
                parts.append(f"<div>{heading and '<h3>&nbsp;</h3>'}{figure}</div>")
    return "".join(parts) + f"</div>{broad}"


def file_html(file: Mapping[str, Any]) -> str:
    """HTML of an embedded file (`frames.embedded`)."""
    source = html.escape(file["src"])
    return {
        "img": f'<img alt="" src="{source}">',
        "audio": f'<audio controls src="{source}"></audio>',
        "text": f"<pre>{source}</pre>",
        "name": f"<p class=soft>too large for this page: {source}</p>",
    }[file["kind"]]


def _described(path: Path) -> str:
    """The description that a picture carries."""
    if path.suffix != ".png":
        return ""
    with (
        contextlib.suppress(OSError, Image.DecompressionBombError),
        warnings.catch_warnings(action="ignore"),
        Image.open(path) as picture,
    ):
        return str(picture.info.get("Description", ""))
    return ""


def curves_html(drawn: Sequence[Mapping[str, Any]], signs: str = BANDS) -> str:
    """HTML with a place for each curve, which the script fills; those that are hidden are folded."""
    if not drawn:
        return ""
    places = {False: "", True: ""}
    for i, curve in enumerate(drawn):
        better = f" <span class=soft>{curve['better']}</span>" if curve["better"] else ""
        title = html.escape(curve["title"])
        places[curve["hidden"]] += (
            f'<div class=curve><h3>{title}{better}</h3><div id=curve{i} role=img aria-label="{title} over the steps"></div></div>'
        )
    note = f"<p class=soft>Point at a curve for its values; drag to zoom, double click to go back. {signs}</p>"
    hidden = (
        f"<details class=curvebox><summary>Monitors</summary><div class=curves>{places[True]}</div></details>"
        if places[True]
        else ""
    )
    return f"<h2>Curves</h2>{note}<div class=curves>{places[False]}</div>{hidden}"

"""A self-contained HTML report of a run: samples, curves, measured values with their protocols, and the configuration.
It has no scripts and loads nothing.
"""

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gan_jax.workdir.members import mean_std

WIDTH, HEIGHT, LEFT, BOTTOM = 380, 200, 62, 22  # of a curve, in pixels
COLOURS = ("#1f5fbf", "#c2491d", "#2c8a4b", "#8a3fa8", "#7a6a00", "#00808a")
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1200px;margin:2em auto;padding:0 1em;color:#222}
h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2em}
figure{display:inline-block;margin:0 1.5em 1.5em 0;vertical-align:top}figcaption{font-size:.85em;color:#555}
img{max-width:100%;image-rendering:pixelated}
table{border-collapse:collapse}td,th{border-bottom:1px solid #ddd;padding:.25em .8em;text-align:left;vertical-align:top}
td.n{font-variant-numeric:tabular-nums;text-align:right}"""


def _curve(title: str, series: Mapping[str, Sequence[tuple[int, float, float]]]) -> str:
    """SVG of values over steps: one line for each name, both ends of both axes labelled. For a population the line is
    the mean, in a band of one standard deviation to either side.
    """
    points = [(x, end) for line in series.values() for x, y, std in line for end in (y - std, y + std)]
    (x0, x1), (y0, y1) = ((min(axis), max(axis)) for axis in zip(*points, strict=True))
    span_x, span_y = (x1 - x0) or 1.0, (y1 - y0) or 1.0
    plot_w, plot_h = WIDTH - LEFT - 8, HEIGHT - BOTTOM - 8

    def place(pairs: Iterable[tuple[float, float]]) -> str:
        return " ".join(
            f"{LEFT + (x - x0) / span_x * plot_w:.1f},{8 + (y1 - y) / span_y * plot_h:.1f}" for x, y in pairs
        )

    lines, legend = [], []
    for colour, (name, line) in zip(COLOURS * len(series), series.items(), strict=False):
        if any(std for _, _, std in line):
            edge = place([(x, y + std) for x, y, std in line] + [(x, y - std) for x, y, std in reversed(line)])
            lines.append(f'<polygon fill="{colour}" fill-opacity="0.18" points="{edge}"/>')
        at = place((x, y) for x, y, _ in line)
        lines.append(f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{at}"/>')
        if len(line) == 1:
            x, y = at.split(",")
            lines.append(f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>')
        legend.append(f'<span style="color:{colour}">&#9632; {html.escape(name)}</span>')
    frame = f'<path d="M{LEFT} 8V{HEIGHT - BOTTOM}H{WIDTH - 8}" fill="none" stroke="#999"/>'
    label = '<text x="{}" y="{}" font-size="11" fill="#555" text-anchor="{}">{}</text>'
    texts = [
        label.format(LEFT - 5, 16, "end", f"{y1:.4g}"),
        label.format(LEFT - 5, HEIGHT - BOTTOM, "end", f"{y0:.4g}"),
        label.format(LEFT, HEIGHT - 7, "start", f"{x0:,.0f}"),
        label.format(WIDTH - 8, HEIGHT - 7, "end", f"step {x1:,.0f}"),
    ]
    svg = f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{html.escape(title)}">{frame}{"".join(lines)}{"".join(texts)}</svg>'
    return f"<figure>{svg}<figcaption>{' '.join(legend)}</figcaption></figure>"


def _table(pairs: Mapping[str, Any]) -> str:
    return (
        "<table>"
        + "".join(
            f"<tr><th>{html.escape(str(name))}</th><td>{html.escape(str(value))}</td></tr>"
            for name, value in pairs.items()
        )
        + "</table>"
    )


def _sample(path: Path) -> str:
    """HTML of one file of samples/: text, sound or picture, by its suffix."""
    number, _, member = path.stem.partition("_")
    step = f"step {int(number):,}" + (f", {html.escape(member)}" if member else "")
    data = base64.b64encode(path.read_bytes()).decode()
    if path.suffix == ".txt":
        shown = f"<pre>{html.escape(path.read_text(encoding='utf-8', errors='replace'))}</pre>"
    elif path.suffix == ".wav":
        shown = f'<audio controls src="data:audio/wav;base64,{data}"></audio>'
    else:
        shown = f'<img alt="samples at {step}" src="data:image/{path.suffix[1:]};base64,{data}">'
    return f"<figure>{shown}<figcaption>{step}</figcaption></figure>"


def _short(value: Any) -> str:
    if value is None:
        return "infinite"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _measured(metrics: Mapping[str, Any]) -> str:
    """HTML table of the last and best value of every metric, for a population with the standard deviation. Fields of
    the protocols that all metrics share are written once.
    """
    protocols = [metric["protocol"] for metric in metrics.values()]
    common = {key: value for key, value in protocols[0].items() if all(one.get(key) == value for one in protocols)}
    rows = []
    for name, metric in metrics.items():
        specific = {key: value for key, value in metric["protocol"].items() if key not in common}
        cells = [
            _short(metric[key]) + (f" &#177; {_short(metric[key + '_std'])}" if f"{key}_std" in metric else "")
            for key in ("last", "best")
        ]
        cells.append(_short(metric["best_step"]))
        numbers = "".join(f"<td class=n>{cell}</td>" for cell in cells)
        rows.append(f"<tr><th>{html.escape(name)}</th>{numbers}<td>{html.escape(_listed(specific))}</td></tr>")
    head = "<table><tr><th>metric<th>last<th>best<th>at step<th></tr>"
    return f"{head}{''.join(rows)}</table><p>Protocol of all: {html.escape(_listed(common))}.</p>{_members(metrics)}"


def _members(metrics: Mapping[str, Any]) -> str:
    """HTML table of the last value of every member of a population; "" for a single run."""
    members = next(iter(metrics.values())).get("members", {})
    if not members:
        return ""
    rows = [
        f"<tr><th>{html.escape(label)}</th>"
        + "".join(f"<td class=n>{_short(metric['members'][label]['last'])}</td>" for metric in metrics.values())
        + "</tr>"
        for label in members
    ]
    names = "".join(f"<th>{html.escape(name)}" for name in metrics)
    return f"<h2>Members, last</h2><table><tr><th>{names}</tr>{''.join(rows)}</table>"


def _listed(protocol: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}: {_short(value)}" for key, value in protocol.items())


def page(
    name: str,
    config: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    samples: Sequence[Path],
    measured: Mapping[str, Mapping[str, Any]],
) -> str:
    """Returns the HTML of the report.

    `config` is the content of config.json, `rows` the rows of metrics.jsonl, `samples` the files of samples/ in order;
    those of the first and the last step are shown: pictures, sounds with controls, text. `measured` has metrics as in
    result.json, by when they were measured.
    """
    series: dict[str, dict[str, list[tuple[int, float, float]]]] = {}
    for row in rows:
        for key, values in row.items():
            value, std = mean_std(values)
            if key not in ("step", "images", "seconds") and value is not None:
                # The losses of both players share a curve.
                group = key if key.startswith("eval/") else key.rsplit("/", 1)[-1]
                series.setdefault(group, {}).setdefault(key, []).append((row["step"], value, std))
    step_of = [path.stem.partition("_")[0] for path in samples]
    # One member's samples of the first step, and every member's of the last.
    shown = [
        path for path, at in zip(samples, step_of, strict=True) if path.stem == samples[0].stem or at == step_of[-1]
    ]
    last = rows[-1] if rows else {"step": 0, "images": 0, "seconds": 0.0}
    start = config["starts"][-1]
    title, hardware = html.escape(name), html.escape(start["hardware"])
    each = " for each member" if any(isinstance(value, list) for value in last.values()) else ""
    effort = (
        f"{last['step']:,} steps, {last['images']:,} real images{each}, {last['seconds']:,.0f} seconds, on {hardware}."
    )
    identity = {key: value for key, value in config["identity"].items() if key != "tensor"}
    made_by = {"experiment": config["experiment"], "commit": start["commit"], **identity, **start["versions"]}
    backs = [f"diverged at step {back['step']:,}, went back to {back['to']:,}" for back in config.get("rollbacks", ())]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>{title}</title><style>{STYLE}</style><h1>{title}</h1><p>{effort}</p>",
        *(f"<p>{html.escape(back)}</p>" for back in backs),
        "<h2>Samples</h2>", *map(_sample, shown),
        *(f"<h2>Measured {when}</h2>{_measured(metrics)}" for when, metrics in measured.items() if metrics),
        "<h2>Curves</h2>", *(_curve(title, lines) for title, lines in series.items()),
        "<h2>Configuration</h2>", _table(config["config"]),
        "<h2>Made by</h2>", _table(made_by),
    ]  # fmt: skip
    return "\n".join(parts) + "</html>\n"

"""One self-contained page about a run: pictures, curves, measured values with their protocol, the configuration. No
script, nothing fetched.
"""

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

WIDTH, HEIGHT, LEFT, BOTTOM = 380, 200, 62, 22  # of a curve, in pixels
COLOURS = ("#1f5fbf", "#c2491d", "#2c8a4b", "#8a3fa8", "#7a6a00", "#00808a")
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1200px;margin:2em auto;padding:0 1em;color:#222}
h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2em}
figure{display:inline-block;margin:0 1.5em 1.5em 0;vertical-align:top}figcaption{font-size:.85em;color:#555}
img{max-width:100%;image-rendering:pixelated}
table{border-collapse:collapse}td,th{border-bottom:1px solid #ddd;padding:.25em .8em;text-align:left;vertical-align:top}
td.n{font-variant-numeric:tabular-nums;text-align:right}"""


def _curve(title: str, series: Mapping[str, Sequence[tuple[int, float]]]) -> str:
    """An SVG of value over step, one line a name, ends of both axes labelled."""
    points = [point for line in series.values() for point in line]
    (x0, x1), (y0, y1) = ((min(axis), max(axis)) for axis in zip(*points, strict=True))
    span_x, span_y = (x1 - x0) or 1.0, (y1 - y0) or 1.0
    plot_w, plot_h = WIDTH - LEFT - 8, HEIGHT - BOTTOM - 8
    lines, legend = [], []
    for colour, (name, line) in zip(COLOURS * len(series), series.items(), strict=False):
        at = " ".join(f"{LEFT + (x - x0) / span_x * plot_w:.1f},{8 + (y1 - y) / span_y * plot_h:.1f}" for x, y in line)
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


def _picture(path: Path) -> str:
    data, step = base64.b64encode(path.read_bytes()).decode(), f"step {int(path.stem):,}"
    image = f'<img alt="samples at {step}" src="data:image/png;base64,{data}">'
    return f"<figure>{image}<figcaption>{step}</figcaption></figure>"


def _short(value: Any) -> str:
    if value is None:
        return "infinite"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _measured(metrics: Mapping[str, Any]) -> str:
    rows = []
    for name, metric in metrics.items():
        protocol = ", ".join(f"{key}: {_short(value)}" for key, value in metric["protocol"].items())
        numbers = "".join(f"<td class=n>{_short(metric[key])}</td>" for key in ("last", "best", "best_step"))
        rows.append(f"<tr><th>{html.escape(name)}</th>{numbers}<td>{html.escape(protocol)}</td></tr>")
    return f"<table><tr><th>metric<th>last<th>best<th>at step<th>protocol</tr>{''.join(rows)}</table>"


def page(
    name: str,
    config: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    pictures: Sequence[Path],
    metrics: Mapping[str, Any],
) -> str:
    """The page's HTML. `config` is config.json, `rows` metrics.jsonl's, `pictures` PNG files in order (first and last
    are shown), `metrics` result.json's, {} while the run goes on.
    """
    series: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for row in rows:
        for key, value in row.items():
            if key not in ("step", "images", "seconds") and value is not None:
                group = key if key.startswith("eval/") else key.rsplit("/", 1)[-1]  # both sides' losses share a curve
                group = {"real": "logits", "fake": "logits"}.get(group, group)
                series.setdefault(group, {}).setdefault(key, []).append((row["step"], value))
    shown = [pictures[0], pictures[-1]] if len(pictures) > 1 else pictures
    last = rows[-1] if rows else {"step": 0, "images": 0, "seconds": 0.0}
    start = config["starts"][-1]
    title, hardware = html.escape(name), html.escape(start["hardware"])
    effort = f"{last['step']:,} steps, {last['images']:,} real images, {last['seconds']:,.0f} seconds, on {hardware}."
    made_by = {"experiment": config["experiment"], "commit": start["commit"], **config["identity"], **start["versions"]}
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>{title}</title><style>{STYLE}</style><h1>{title}</h1><p>{effort}</p>",
        "<h2>Samples</h2>", *map(_picture, shown),
        *(["<h2>Measured</h2>", _measured(metrics)] if metrics else []),
        "<h2>Curves</h2>", *(_curve(title, lines) for title, lines in series.items()),
        "<h2>Configuration</h2>", _table(config["config"]),
        "<h2>Made by</h2>", _table(made_by),
    ]  # fmt: skip
    return "\n".join(parts) + "</html>\n"

"""The rows of a run's log as curves for a page: losses, measures and monitors over the steps, with a band for the members
of a population and a line for the floor.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gan_jax.workdir.members import mean_std

POINTS = 1_000  # of one line; more are thinned
OTHER = ("step", "images", "seconds")
TOGETHER = {"loss": "losses", "real": "output of D", "fake": "output of D"}  # titles that values of both sides share
NO_CURVE = ("final/", "best/", "run/")  # values of one row


def curves(
    rows: Sequence[Mapping[str, Any]], measured: Mapping[str, Mapping[str, Any]], hide: str = "monitor/"
) -> list[dict[str, Any]]:
    """Returns a curve for every measure, then for the values of the rounds, those of D and G together, then for monitors.

    `measured` has metrics as in result.json, for their floors and which values are better. A curve is {"title", "hidden":
    whether its names begin with `hide`, "better", "lines": [line]}, a line {"name", "x", "y", "std": None for a single
    run, "floor": None where there is none}. For a population y is the mean over the members, std their deviation.
    """
    series: dict[str, dict[str, list[tuple[int, float, float]]]] = {}
    members: set[str] = set()
    for row in rows:
        for key, values in row.items():
            value, std = mean_std(values)
            if key in OTHER or key.startswith(NO_CURVE) or value is None or not math.isfinite(value):
                continue
            if isinstance(values, (list, tuple)):
                members.add(key)
            alone = key.startswith("eval/")
            last = key.rsplit("/", 1)[-1]
            title = key.removeprefix("eval/") if alone else last if key.startswith(hide) else TOGETHER.get(last, last)
            group = f"{0 if alone else 2 if key.startswith(hide) else 1}{title}"
            series.setdefault(group, {}).setdefault(key, []).append((row["step"], value, std))
    made = []
    for group, lines in sorted(series.items(), key=lambda item: item[0][0]):  # stable: names stay in the log's order
        record = measured.get(group[1:], {}) if group[0] == "0" else {}
        higher = record.get("higher_is_better")
        better = "" if higher is None else "higher is better" if higher else "lower is better"
        floor = record.get("protocol", {}).get("floor")
        made.append(
            {
                "title": group[1:],
                "hidden": group[0] == "2",
                "better": better,
                "lines": [_line(name, thinned(points), name in members, floor) for name, points in lines.items()],
            }
        )
    return made


def _line(name: str, points: Sequence[tuple[int, float, float]], band: bool, floor: Any) -> dict[str, Any]:
    x, y, std = zip(*points, strict=True)
    name = name.removeprefix("eval/").removeprefix("monitor/")
    short = lambda values: [float(f"{value:.6g}") for value in values]  # noqa: E731
    return {
        "name": name,
        "x": [*x],
        "y": short(y),
        "std": short(std) if band else None,
        "floor": floor if isinstance(floor, (int, float)) and math.isfinite(floor) else None,
    }


def thinned(points: Sequence[tuple[int, float, float]], most: int = POINTS) -> list[tuple[int, float, float]]:
    """Returns at most `most` of the points: the first, the last, and of each of as many equal parts as there is room for
    the lowest and the highest, so that no spike is lost.
    """
    if len(points) <= most:
        return [*points]
    parts = (most - 2) // 2
    kept = {0, len(points) - 1}
    for i in range(parts):
        part = range(i * len(points) // parts, (i + 1) * len(points) // parts)
        kept |= {min(part, key=lambda j: points[j][1]), max(part, key=lambda j: points[j][1])}
    return [points[j] for j in sorted(kept)]

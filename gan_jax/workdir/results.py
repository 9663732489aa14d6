"""The content of result.json: for every measured value the last, the best, and its protocol."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from gan_jax.workdir.members import mean_std


def summary(
    rows: Iterable[Mapping[str, Any]], records: Mapping[str, Any], members: Iterable[tuple[str, str]] = ()
) -> dict[str, Any]:
    """Summarises every measured value over the log's rows: the last, the best and its step, and the protocol.

    None stands for a value that is not finite. For a population (`members`: label and group of each) "last" and "best"
    are means over the members that have a finite value, with their standard deviations ("last_std", "best_std"); the
    best step is the one with the best mean. "members" has the last and the best value of each member, and in a sweep
    "groups" has the mean and the standard deviation of each group.
    """
    out: dict[str, dict[str, Any]] = {}
    rows, members = list(rows), list(members)
    for name, record in records.items():
        better = max if record.higher_is_better else min
        series = [(row[f"eval/{name}"], row["step"]) for row in rows if f"eval/{name}" in row]
        if not series:  # its row waits for room on the disk
            continue
        last, (best, best_step) = series[-1][0], _best(series, better)
        out[name] = {"last": mean_std(last)[0], "best": mean_std(best)[0], "best_step": best_step}
        if members:
            out[name] |= {"last_std": mean_std(last)[1], "best_std": mean_std(best)[1], "members": {}, "groups": {}}
            for i, (label, _) in enumerate(members):
                member_series = [(value[i], at) for value, at in series]
                top, top_step = _best(member_series, better)
                out[name]["members"][label] = {"last": last[i], "best": top, "best_step": top_step}
            for group in dict.fromkeys(group for _, group in members if group):
                mean, std = mean_std([last[i] for i, (_, member_group) in enumerate(members) if member_group == group])
                out[name]["groups"][group] = {"last": mean, "last_std": std}
        out[name] |= {"higher_is_better": record.higher_is_better, "protocol": dict(record.protocol)}
    return out


def final(
    records: Mapping[str, Any], last: Mapping[str, Any], best: Mapping[str, Any], best_step: int
) -> dict[str, Any]:
    """Summarises, as `summary` does, the values of the last and the best checkpoint measured after the run."""
    out = {}
    for name, record in records.items():
        values = {"last": last[f"final/{name}"], "best": best[f"best/{name}"]}
        entry: dict[str, Any] = {"best_step": best_step}
        for which, value in values.items():
            mean, std = mean_std(value)
            entry |= {which: mean} | (
                {f"{which}_std": std, f"{which}_members": value} if isinstance(value, list) else {}
            )
        out[name] = entry | {"higher_is_better": record.higher_is_better, "protocol": dict(record.protocol)}
    return out


def _best(series: list[tuple[Any, int]], better: Any) -> tuple[Any, int]:
    """The value, or list of members' values, with the best mean, and its step."""
    finite = [pair for pair in series if (mean := mean_std(pair[0])[0]) is not None and math.isfinite(mean)]
    return better(finite, key=lambda pair: mean_std(pair[0])[0], default=series[-1])

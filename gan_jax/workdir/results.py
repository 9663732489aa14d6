"""What came of a run: for every measured value the last, the best, and how it was taken, as result.json has it."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from gan_jax.workdir.members import mean_std


def summary(
    rows: Iterable[Mapping[str, Any]], records: Mapping[str, Any], members: Iterable[tuple[str, str]] = ()
) -> dict[str, Any]:
    """For every measured value: the last, the best and its step over the log's rows, and the protocol. None stands for
    a value that is not finite.

    Of a population (`members`: label and group of each) "last" and "best" are means over the members that have a finite
    value, the best being that of the best step, with their standard deviations; beside them stand every member's last
    and best, and in a sweep the mean and deviation of each group.
    """
    out: dict[str, dict[str, Any]] = {}
    rows, members = list(rows), list(members)
    for name, record in records.items():
        better = max if record.higher_is_better else min
        seen = [(row[f"eval/{name}"], row["step"]) for row in rows if f"eval/{name}" in row]
        last, (best, best_step) = seen[-1][0], _best(seen, better)
        out[name] = {"last": mean_std(last)[0], "best": mean_std(best)[0], "best_step": best_step}
        if members:
            out[name] |= {"last_std": mean_std(last)[1], "best_std": mean_std(best)[1], "members": {}, "groups": {}}
            for i, (label, _) in enumerate(members):
                own = [(value[i], at) for value, at in seen]
                top, top_step = _best(own, better)
                out[name]["members"][label] = {"last": last[i], "best": top, "best_step": top_step}
            for group in dict.fromkeys(group for _, group in members if group):
                mean, std = mean_std([last[i] for i, (_, own) in enumerate(members) if own == group])
                out[name]["groups"][group] = {"last": mean, "last_std": std}
        out[name] |= {"higher_is_better": record.higher_is_better, "protocol": dict(record.protocol)}
    return out


def final(
    records: Mapping[str, Any], last: Mapping[str, Any], best: Mapping[str, Any], best_step: int
) -> dict[str, Any]:
    """As `summary`, of what the last and the best checkpoint measured when the run was over."""
    out = {}
    for name, record in records.items():
        values = {"last": last[f"final/{name}"], "best": best[f"best/{name}"]}
        own: dict[str, Any] = {"best_step": best_step}
        for which, value in values.items():
            mean, std = mean_std(value)
            own |= {which: mean} | ({f"{which}_std": std, f"{which}_members": value} if isinstance(value, list) else {})
        out[name] = own | {"higher_is_better": record.higher_is_better, "protocol": dict(record.protocol)}
    return out


def _best(seen: list[tuple[Any, int]], better: Any) -> tuple[Any, int]:
    """The value, or the members' values, with the best mean, and its step."""
    finite = [pair for pair in seen if (mean := mean_std(pair[0])[0]) is not None and math.isfinite(mean)]
    return better(finite, key=lambda pair: mean_std(pair[0])[0], default=seen[-1])

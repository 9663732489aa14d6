"""Monitors, the metrics of a round whose names begin with PREFIX: they are not printed with the others, and give rise
to warnings. Nothing else depends on the name of a metric.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

PREFIX = "monitor/"  # of metrics that are only in the rows of the log, and that may be non-finite
ALONE = 0.1  # fakes with less than this share of the real images' variance give a warning
COLLAPSED = "eval/collapsed"  # of the rows of evaluations: 1 where a generator has collapsed
CERTAIN = 0.99  # so do accuracies of D, on real and on fake images, of at least this


def main_values(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values to be printed in the terminal: all but the monitors."""
    return {name: value for name, value in row.items() if not name.startswith(PREFIX)}


def warnings(row: Mapping[str, Any]) -> dict[str, str]:
    """Returns the warnings for a row of the log, by kind; those of a population say how many members they concern."""
    texts = {}

    def values_of(name: str) -> list[float | None]:
        value = row.get(name)
        return list(value) if isinstance(value, (list, tuple)) else [value]

    def member_count(concerned: list[Any], members: list[Any]) -> str:
        return f" (of {len(concerned)} of {len(members)} members)" if len(members) > 1 else ""

    spread = values_of(f"{PREFIX}gen/diversity")
    if uniform := [one for one in spread if one is not None and one < ALONE]:
        texts["diversity"] = (
            f"the fakes of a batch vary {min(uniform):.2g} times as much as real images{member_count(uniform, spread)}: the generator may have collapsed"
        )
    # Not strict: a game may report only one of the two, and a warning must not end a run.
    accuracies = list(
        zip(values_of(f"{PREFIX}disc/real_accuracy"), values_of(f"{PREFIX}disc/fake_accuracy"), strict=False)
    )
    if certain := [pair for pair in accuracies if min(-1 if one is None else one for one in pair) >= CERTAIN]:
        texts["certain"] = (
            f"the discriminator tells {certain[0][0]:.1%} of real and {certain[0][1]:.1%} of fake images{member_count(certain, accuracies)}: "
            "it may have learnt the images by heart, or the generator has fallen behind"
        )
    return texts


def collapse(row: Mapping[str, Any]) -> dict[str, str]:
    """Returns the warning of a row in which generators were measured as collapsed."""
    value = row.get(COLLAPSED)
    flags = value if isinstance(value, (list, tuple)) else [value]
    count = sum(flag == 1 for flag in flags)
    members = f" ({count} of {len(flags)} members)" if len(flags) > 1 else ""
    return {"collapsed": f"measured as collapsed{members}"} if count else {}


def episodes(rows: Iterable[Mapping[str, Any]], starts: Sequence[int] = ()) -> list[dict[str, Any]]:
    """Returns what happened on the way of a run: {"from", "to", "text"} for every stretch of rows with a kind of warning,
    with its first text; where it went on after a stop (`starts`: the step of each start); and where members diverged.
    """
    rows = list(rows)
    found = [{"from": step, "to": step, "text": "stopped, and went on"} for step in starts if step]
    for at in sorted({row["run/rollbacks"]: row["step"] for row in reversed(rows) if "run/rollbacks" in row}.items()):
        found.append({"from": at[1], "to": at[1], "text": f"went back and on with other noise ({at[0]:g})"})
    open_now: dict[str, dict[str, Any]] = {}
    dead = 0
    for row in rows:
        # A row says something of some kinds only: of warnings where it has monitors, of collapse where it was measured.
        said = (["diversity", "certain"] if any(name.startswith(PREFIX) for name in row) else []) + (
            ["collapsed"] if COLLAPSED in row else []
        )
        now = warnings(row) | collapse(row)
        open_now = {kind: one for kind, one in open_now.items() if kind in now or kind not in said}
        for kind, text in now.items():
            if kind not in open_now:
                open_now[kind] = {"from": row["step"], "text": text}
                found.append(open_now[kind])
            open_now[kind]["to"] = row["step"]
        # Of one that has diverged every value is None; None is also an infinite value of one that lives.
        members = zip(*(value for value in row.values() if isinstance(value, list)), strict=False)
        lost = sum(all(one is None for one in values) for values in members)
        if lost > dead:
            text = f"{lost - dead} of the members diverged"
            found.append({"from": row["step"], "to": row["step"], "text": text})
        dead = max(dead, lost)
    return sorted(found, key=lambda one: one["from"])

"""What a run says of its data before it begins."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

DARK = 31  # largest level of 255 up to which levels are likely class numbers, masks, or of fewer bits
SHOWN = 10  # classes, or kinds of files, in one line


def told(facts: Mapping[str, Any]) -> list[str]:
    """Returns the lines that say what was understood of the data (`data.understood`); none where there are no facts."""
    lines = []
    if "values" in facts:
        low, high = facts["values"]
        lines.append(
            f"values {low:g} to {high:g} of 255" if facts["levels"] else f"values {low:.3g} to {high:.3g} of [-1, 1]"
        )
        if "classes" in facts:
            lines[0] += f"; {len(facts['classes'])} classes: {_listed(facts['classes'])}"
    if "arrays" in facts:
        lines.append(f"arrays {facts['arrays']}")
    if "left_out" in facts:
        lines.append(f"left out: {_listed(facts['left_out'])}")
    for key in ("layout", "name"):
        if key in facts:
            lines.append(f"read as {facts[key]}")
    if "values" in facts and facts["levels"] and high <= DARK:
        lines.append(
            f"warning: no value is above {high:g} of 255, so that all images are nearly black: masks and levels are stored from 0 to 255"
        )
    return lines + [f"{name}: {line}" for name, one in facts.get("sources", {}).items() for line in told(one)]


def _listed(counts: Mapping[str, int]) -> str:
    shown = [f"{name} {count:,}" for name, count in list(counts.items())[:SHOWN]]
    return ", ".join(shown) + (f" and {len(counts) - SHOWN} more" if len(counts) > SHOWN else "")


def folders(facts: Mapping[str, Any]) -> Iterator[Path]:
    """Yields the folders that the data were read from."""
    if "folder" in facts:
        yield Path(facts["folder"])
    for one in facts.get("sources", {}).values():
        yield from folders(one)

"""Kept results of earlier commits, read as those of today: their files keep the commands and protocols as they were
written.
"""

import re
from pathlib import Path
from typing import Any

# Protocol fields of single metrics, by the first word of a metric's name; earlier, every protocol had all of them.
OWN: dict[str, dict[str, Any]] = {
    "kid": {"pairs": "all"},
    "inception_score": {"splits": 10},
    **{name: {"k": 5} for name in ("precision", "recall", "density", "coverage", "collapsed")},
}


def as_today(metric: str, how: dict[str, Any]) -> dict[str, Any]:
    """Returns a kept protocol of images as it is written today: what concerns its metric, and how images were read."""
    if "kid" not in how:
        return dict(how)
    metric_fields = next((fields for name, fields in OWN.items() if metric.startswith(name)), {})
    split = {"all": "train", "a half": "a half of train"}[how["real_split"]]
    rest = {key: value for key, value in how.items() if key not in ("k", "kid", "splits", "real", "real_split")}
    real: dict[str, Any] = {} if metric.startswith("inception_score") else {"real": how["real"], "real_split": split}
    return {**rest, "size": 0, "fit": "none", **real, **metric_fields}


def today(command: str) -> str:
    """Returns a kept command as it is typed today: the programs that are no experiments have moved."""
    tools = "|".join(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
    command = re.sub(rf"python -m experiments\.({tools})\b", r"python -m experiments.tools.\1", command)
    return command.replace("experiments/peers/", "experiments/tools/peers/")

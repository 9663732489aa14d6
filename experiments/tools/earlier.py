"""Kept results of earlier commits, as they are read today: their commands and protocols stay as they were written."""

import re
from pathlib import Path
from typing import Any

# What a value's own protocol has, by the word its name begins with; earlier ones had all of it in every value's.
OWN: dict[str, dict[str, Any]] = {
    "kid": {"pairs": "all"},
    "inception_score": {"splits": 10},
    **{name: {"k": 5} for name in ("precision", "recall", "density", "coverage", "collapsed")},
}


def as_today(metric: str, how: dict[str, Any]) -> dict[str, Any]:
    """A kept protocol of images as it is written today: what concerns its metric alone, and how the images were read."""
    if "kid" not in how:
        return dict(how)
    own = next((fields for name, fields in OWN.items() if metric.startswith(name)), {})
    split = {"all": "train", "a half": "a half of train"}[how["real_split"]]
    kept = {key: value for key, value in how.items() if key not in ("k", "kid", "splits", "real", "real_split")}
    real: dict[str, Any] = {} if metric.startswith("inception_score") else {"real": how["real"], "real_split": split}
    return {**kept, "size": 0, "fit": "none", **real, **own}


def today(command: str) -> str:
    """A kept command, as it is typed today: the programs that are no experiments have moved."""
    tools = "|".join(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
    command = re.sub(rf"python -m experiments\.({tools})\b", r"python -m experiments.tools.\1", command)
    return command.replace("experiments/peers/", "experiments/tools/peers/")

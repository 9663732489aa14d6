"""The losses of two small steps of every experiment, by which a change of what it computes is noticed.

They stand in experiments/golden.json, which `pytest -n 0 tests/test_experiments.py --write-results` writes. A kept result
carries those of its own commit, as `first_steps`.
"""

import json
import math
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from gan_jax.types import UserError

PATH = Path(__file__).parents[1] / "golden.json"
BIASED = {"disc/real", "disc/fake", "gen/loss"}
Steps = Sequence[Mapping[str, float]]  # of each step, by metric


def read() -> dict[str, Steps]:
    return json.loads(PATH.read_text(encoding="utf-8"))


def at(commit: str, name: str) -> Steps:
    """Returns those of an experiment at a commit; raises UserError where git does not know them."""
    shown = subprocess.run(
        ["git", "show", f"{commit}:./{PATH.name}"], cwd=PATH.parent, capture_output=True, text=True, check=False
    )
    steps = json.loads(shown.stdout).get(name) if shown.returncode == 0 else None
    if steps is None:
        raise UserError(
            f"{PATH.name} has no {name} at {commit[:7]}: pytest -n 0 tests/test_experiments.py --write-results, commit, and run it anew"
        )
    return steps


def agree(some: Steps, others: Steps) -> bool:
    """Whether both are the same to 1e-3: the rounding of two small rounds stays below, and a change of the game above.

    Where a loss is of differences of logits, or a hinge within its margins, D's last bias has a gradient of rounding alone,
    of which Adam makes whole steps, up to 8e-4 here. Means of logits, and a G loss that is one, may move by so much; the
    difference of the means may not.
    """

    def same(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
        gaps = [row.get("disc/real", 0.0) - row.get("disc/fake", 0.0) for row in (one, other)]  # none without D
        close = [
            math.isclose(one[key], other[key], rel_tol=1e-3, abs_tol=1e-3 if key in BIASED else 1e-5) for key in one
        ]
        return all(close) and math.isclose(*gaps, rel_tol=1e-3, abs_tol=1e-5)

    return len(some) == len(others) and all(
        one.keys() == other.keys() and same(one, other) for one, other in zip(some, others, strict=True)
    )

"""Draws what a sweep has found, from kept results: modes and high quality against the weight of the entropy.

    python -m experiments.tools.curves

writes experiments/results/entropy_curves.png, where a sweep of entropy_ring, entropy_grid or entropy_stacked is kept.
"""

from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

from experiments.tools.arms import ESTIMATES, MODES
from experiments.tools.kept import RESULTS, measured, read
from gan_jax.system.terminal import say
from gan_jax.types import UserError

SWEEPS = {
    "ring": ("0.05", ("mixture", "log_det")),
    "grid": ("0.05", ("mixture", "log_det")),
    "stacked": ("0.3", ("mixture", "hmc")),
}
PATH = RESULTS / "entropy_curves.png"


def found() -> dict[str, dict[str, Any]]:
    """Returns the values of the kept sweeps: data -> estimate -> metric -> weight -> (mean, std)."""
    kept: dict[str, dict[str, Any]] = {}
    for data, (noise, estimates) in SWEEPS.items():
        for estimate in estimates:
            result = read(f"entropy_{data}_{estimate}_{noise}")
            if result is None:
                continue
            metrics = {key: one["groups"] for key, one in measured(result).items() if key in MODES and "groups" in one}
            kept.setdefault(data, {})[estimate] = {
                key: {float(group.split()[1]): (one["last"], one["last_std"]) for group, one in groups.items()}
                for key, groups in metrics.items()
            }
    return kept


def main() -> None:
    kept = found()
    if not kept:
        raise UserError("no sweep of an entropy's weight is kept: python -m experiments.tools.table RUN keeps one")
    figure, axes = plt.subplots(2, len(kept), figsize=(4 * len(kept), 5), squeeze=False, sharex="col")
    for column, (data, estimates) in enumerate(kept.items()):
        for row, metric in enumerate(("modes", "high_quality")):
            axis = axes[row][column]
            for estimate, values in estimates.items():
                points = sorted((weight, *pair) for weight, pair in values.get(metric, {}).items())
                if points:
                    weights, means, stds = zip(*points, strict=True)
                    axis.errorbar(weights, means, stds, marker="o", capsize=3, label=ESTIMATES[estimate])
            axis.set_xscale("symlog", linthresh=1e-4)
            axis.set_title(f"{data}: {MODES[metric][0]}" if axis.lines else data, fontsize=9)
        axes[1][column].set_xlabel("weight of the entropy (0: noise alone)")
        axes[0][column].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(PATH, dpi=80)
    say(f"written: {PATH}")


if __name__ == "__main__":
    main()

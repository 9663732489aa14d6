"""Values of the members of a population, summarised by mean and standard deviation."""

import math
import statistics
from typing import Any


def mean_std(value: Any) -> tuple[float | None, float]:
    """Returns mean and standard deviation over the members that have a finite value.

    The denominator is n - 1; the deviation of a single value is 0. For a single run the result is the value itself and
    0. The mean is None where no member has a finite value.
    """
    if not isinstance(value, (list, tuple)):
        return value, 0.0
    finite = [one for one in value if one is not None and math.isfinite(one)]
    if not finite:
        return None, 0.0
    return statistics.fmean(finite), statistics.stdev(finite) if len(finite) > 1 else 0.0


def best_of(best: tuple[float, int] | None, value: Any, higher: bool) -> tuple[float, int] | None:
    """Returns mean and number of the members with a finite value if they beat `best`, otherwise None.

    With fewer members than `best` has they never do: a mean must not improve because a member diverged.
    """
    mean, _ = mean_std(value)
    if mean is None or not math.isfinite(mean):
        return None
    count = sum(one is not None and math.isfinite(one) for one in value) if isinstance(value, list) else 1
    if best and (count < best[1] or (mean <= best[0] if higher else mean >= best[0])):
        return None
    return mean, count


def shown(value: Any) -> str:
    """Returns the value as text: "mean ± std" for a population, "-" where there is no finite value."""
    mean, std = mean_std(value)
    if mean is None:
        return "-"
    return f"{mean:.4g} ± {std:.2g}" if isinstance(value, list) else f"{mean:.4g}"

"""How a number of several members is told: by its mean and standard deviation."""

import math
import statistics
from typing import Any


def mean_std(value: Any) -> tuple[float | None, float]:
    """Mean and standard deviation (n - 1 in the denominator; 0 of one) over the members that have a finite value; of a
    single run the value itself and 0. The mean is None where no member has one.
    """
    if not isinstance(value, (list, tuple)):
        return value, 0.0
    finite = [one for one in value if one is not None and math.isfinite(one)]
    if not finite:
        return None, 0.0
    return statistics.fmean(finite), statistics.stdev(finite) if len(finite) > 1 else 0.0


def best_of(best: tuple[float, int] | None, value: Any, higher: bool) -> tuple[float, int] | None:
    """Mean and count of the members that have a finite value, if it beats `best`; it cannot by losing a member."""
    mean, _ = mean_std(value)
    if mean is None or not math.isfinite(mean):
        return None
    count = sum(one is not None and math.isfinite(one) for one in value) if isinstance(value, list) else 1
    if best and (count < best[1] or (mean <= best[0] if higher else mean >= best[0])):
        return None
    return mean, count


def shown(value: Any) -> str:
    """As it is said to the user."""
    mean, std = mean_std(value)
    if mean is None:
        return "-"
    return f"{mean:.4g} ± {std:.2g}" if isinstance(value, list) else f"{mean:.4g}"

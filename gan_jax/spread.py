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

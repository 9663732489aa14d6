"""Measures what metrics cost: seconds and memory for as many features as papers use, each metric in its own process.

python -m experiments.tools.benchmark_metrics
"""

import dataclasses
import json
import multiprocessing
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np

from gan_jax.metrics import frechet, kid, precision_recall
from gan_jax.training import cli
from gan_jax.types import UserError
from gan_jax.workdir import provenance

METRICS: dict[str, Callable[[np.ndarray, np.ndarray], Any]] = {
    "fid": frechet.frechet,
    "kid, 100 subsets of 1,000": kid.kid,
    "kid, of all": kid.mmd2,
    "precision, recall, density, coverage": precision_recall.prdc,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    count: int = 50_000
    """Number of real features, and of fake ones."""
    dimensions: int = 2_048
    """Dimensions of each feature; the Inception network's have 2,048."""
    json: str = ""
    """Also write the measurements to this file."""


def cost(name: str, count: int, dimensions: int) -> dict[str, float]:
    """Returns the seconds of one metric on normal features in float32, and the peak memory of its process in MB: the
    program, both sets of features, and what the metric uses.
    """
    rng = np.random.default_rng(0)
    real, fake = (rng.standard_normal((count, dimensions), np.float32) for _ in range(2))
    begin = time.perf_counter()
    METRICS[name](real, fake)
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}


def main(config: Config) -> dict[str, Any]:
    if config.count < 1_000 or config.dimensions < 1:
        raise UserError(
            f"--count {config.count} --dimensions {config.dimensions}: at least 1,000 (KID's subsets) and 1"
        )
    costs = {}
    for name in METRICS:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as process:
            try:
                costs[name] = process.submit(cost, name, config.count, config.dimensions).result()
            except BrokenProcessPool as error:
                raise UserError(f"{name}: its process was killed, perhaps for memory: a smaller --count") from error
        print(f"{name:<36} {costs[name]['seconds']:8.1f} s {costs[name]['peak_mb']:8,.0f} MB", flush=True)
    result = {
        "name": "benchmark_metrics",
        "command": provenance.command(config, ("json",)),
        **provenance.environment(),
        "count": config.count,
        "dimensions": config.dimensions,
        "metrics": costs,
    }
    if config.json:
        Path(config.json).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


if __name__ == "__main__":
    cli.run(main, Config)

"""A small run of gan_ring, and what it leaves, for the tests of runs."""

from pathlib import Path

import jax
import numpy as np

from experiments import gan_ring
from gan_jax import data, training
from gan_jax.evaluation import evaluators
from gan_jax.workdir.log import read_rows


def play(config, evaluator=None, build=gan_ring.build):
    """The state that the run ends with; its pictures depend on every sample."""
    picture = lambda samples: np.zeros((8, 8, 1), np.uint8) + np.uint8(abs(float(samples.sum())) % 251)  # noqa: E731
    source = data.ring(config.batch_size, config.seed)
    return training.run(config, build, source, evaluator or evaluators.mixture(data.ring_centres(), 0.01, 100), picture)


def rows(workdir="run"):
    """Those of metrics.jsonl, without the seconds."""
    return [
        {name: value for name, value in row.items() if name != "seconds"}
        for row in read_rows(Path(workdir) / "metrics.jsonl")
    ]


def same(a, b):
    """Two trees are equal bit for bit."""
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(np.asarray(x), np.asarray(y)), a, b)

"""A small run of gan_ring, and what it leaves, for the tests of runs."""

from pathlib import Path

import jax
import numpy as np

from experiments import gan_ring
from gan_jax import data, training
from gan_jax.evaluation import evaluators
from gan_jax.workdir import pictures
from gan_jax.workdir.log import read_rows


def play(config, evaluator=None, build=gan_ring.build):
    """The state that the run ends with; its pictures depend on every sample."""

    def show(samples, batch):
        return {"png": pictures.png(np.full((8, 8, 1), abs(float(samples.sum())) % 251, np.uint8))}

    def shown(config, spec):
        return build(config, spec)._replace(show=show)

    source = data.ring(config.batch_size, config.seed)
    measures = evaluator or evaluators.mixture(data.ring_centres(), 0.01, 100)
    return training.run(config, shown, training.Setup(source, measures))


def rows(workdir="run"):
    """Those of metrics.jsonl, without the seconds."""
    return [
        {name: value for name, value in row.items() if name != "seconds"}
        for row in read_rows(Path(workdir) / "metrics.jsonl")
    ]


def same(a, b):
    """Two trees are equal bit for bit."""
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(np.asarray(x), np.asarray(y)), a, b)

"""A small run of gan_ring, and what it leaves, for the tests of runs."""

import functools
from pathlib import Path

import jax
import numpy as np
import optax

from experiments import gan_ring
from gan_jax import data, losses, penalties, training
from gan_jax.evaluation import evaluators
from gan_jax.games.adversarial import adversarial
from gan_jax.models import residual_mlp
from gan_jax.workdir import pictures
from gan_jax.workdir.log import read_rows


def play(config, evaluator=None, build=gan_ring.build):
    """The state that the run ends with; its pictures depend on every sample."""
    source = data.ring(config.batch_size, config.seed)
    measures = evaluator or evaluators.mixture(data.ring_centres(), 0.01, 100)
    return training.run(config, _shown(build), training.Setup(source, measures))


@functools.cache
def _shown(build):
    def show(samples, batch):
        return {"png": pictures.png(np.full((8, 8, 1), abs(float(samples.sum())) % 251, np.uint8))}

    return lambda config, spec: build(config, spec)._replace(show=show)


def steady(config, spec):
    """`gan_ring` with rates and weights that do not change: no schedule hangs on --steps, so a run may be made longer."""
    gen = residual_mlp.Generator(spec.shape, config.width, config.gen_blocks, dtype=config.precision)
    disc = residual_mlp.Discriminator(config.width, config.disc_blocks, dtype=config.precision)
    smooth = [(config.gamma / 2, penalties.r1), (config.gamma / 2, penalties.r2)]
    game = adversarial(gen, disc, losses.relativistic_paired(), z_dim=config.z_dim, penalties=smooth)
    return training.Recipe(game, optax.sgd(config.lr), optax.sgd(config.lr), ema_decay=0.9)


def rows(workdir="run"):
    """Those of metrics.jsonl, without the seconds."""
    return [
        {name: value for name, value in row.items() if name != "seconds"}
        for row in read_rows(Path(workdir) / "metrics.jsonl")
    ]


def same(a, b):
    """Two trees are equal bit for bit."""
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(np.asarray(x), np.asarray(y)), a, b)

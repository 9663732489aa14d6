"""Restarts that do not trace again: a module's runs of one configuration share their programs."""

import dataclasses
import functools
import importlib

import pytest

from gan_jax.config import PLACE

# What the compiled programs do not depend on.
BESIDE = PLACE - {"devices", "shard_state"} | {
    "sample_every", "evaluate_every", "checkpoint_every", "best", "patience", "on_divergence", "evaluate_samples",
    "final_samples", "features",
}  # fmt: skip


@pytest.fixture(scope="module")
def programs_once():
    """A `Program`, and the samplers' programs, once for a configuration, a build, the data and a mesh."""
    run, loop = (importlib.import_module(f"gan_jax.training.{name}") for name in ("run", "loop"))
    make, samplers, kept = run.Program, run.samplers, {}

    def program(config, build, source, grid, recipe=None):
        beside = {field.name: field.default for field in dataclasses.fields(config) if field.name in BESIDE}
        data = source.name, source.digest, source.rows, source.size, source.resident, str(source.spec)
        key = dataclasses.replace(config, **beside), build, data, grid
        if key not in kept:
            kept[key] = make(config, build, source, grid, recipe)
        return kept[key]

    @functools.cache
    def sampled(program, config):
        return samplers(config, program, program._source.spec)

    def shared(config, program, spec):
        beside = {field.name: field.default for field in dataclasses.fields(config) if field.name in BESIDE}
        return sampled(program, dataclasses.replace(config, **beside))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "Program", program)
        patch.setattr(run, "samplers", shared)
        patch.setattr(loop, "samplers", shared)
        yield

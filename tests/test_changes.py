"""--change: flags that have other values from a start on, which the record notes; and flags of earlier versions."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

import gan_jax
from experiments import dcgan_digits, gan_ring
from gan_jax.training import loop
from gan_jax.types import UserError

SMALL = {"width": 8, "gen_blocks": 1, "disc_blocks": 1, "batch_size": 8, "devices": 1}


def test_a_flag_is_changed_where_it_is_named_and_noted():
    """The run goes on with its state, and the record says from which step on which flag had another value."""
    gan_ring.main(gan_ring.Config(workdir="run", steps=4, lr=1e-3, **SMALL))
    state = gan_jax.load("run").state
    with pytest.raises(UserError, match="lr: 0.001 there, 0.002 now"):
        gan_ring.main(gan_ring.Config(workdir="run", steps=6, lr=2e-3, change=("steps",), **SMALL))
    gan_ring.main(gan_ring.Config(workdir="run", steps=6, lr=1e-30, change=("steps", "lr"), **SMALL))
    after = gan_jax.load("run").state
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-20), state.gen.params, after.gen.params)
    starts = json.loads(Path("run/config.json").read_text())["starts"]
    assert [start["step"] for start in starts] == [0, 4] and "changed" not in starts[0]
    assert starts[1]["changed"] == {"steps": [4, 6], "lr": [1e-3, 1e-30]}
    assert json.loads(Path("run/result.json").read_text())["starts"][1]["changed"]["lr"] == [1e-3, 1e-30]
    gan_ring.main(gan_ring.Config(workdir="run", steps=8, lr=1e-30, change=("steps",), **SMALL))  # and stays so


def test_a_change_is_noted_also_where_its_first_steps_were_lost():
    """Another start at the same step, whose config.json has the new value already."""
    gan_ring.main(gan_ring.Config(workdir="run", steps=4, lr=1e-3, **SMALL))
    flags = {"workdir": "run", "steps": 6, "lr": 2e-3, "change": ("steps", "lr")}
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop.Trainer, "play", dies)
        gan_ring.main(gan_ring.Config(**flags, **SMALL))
    gan_ring.main(gan_ring.Config(**flags, **SMALL))
    starts = json.loads(Path("run/config.json").read_text())["starts"]
    assert [(start["step"], start.get("changed")) for start in starts] == [
        (0, None), (4, {"steps": [4, 6], "lr": [1e-3, 2e-3]}),
    ]  # fmt: skip


def test_a_run_goes_on_from_disk_bit_for_bit():
    """Where its images were in memory before: the batches are the same."""
    pytest.importorskip("grain")
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8)
    np.save("set.npy", images)
    flags = {"data": "set.npy", "width": 2, "batch_size": 8, "devices": 1, "features": "none"}
    dcgan_digits.main(dcgan_digits.Config(workdir="once", steps=8, **flags))
    dcgan_digits.main(dcgan_digits.Config(workdir="twice", steps=4, **flags))
    dcgan_digits.main(dcgan_digits.Config(workdir="twice", steps=8, stream=True, **flags))
    once, twice = (gan_jax.load(name).state for name in ("once", "twice"))
    jax.tree.map(np.testing.assert_array_equal, once.gen.params, twice.gen.params)


def dies(*_):
    raise KeyboardInterrupt


def test_a_run_from_before_a_flag_was_there_goes_on():
    gan_ring.main(gan_ring.Config(workdir="run", steps=2, **SMALL))
    path = Path("run/config.json")
    kept = json.loads(path.read_text())
    for name in ("change", "start_from", "freeze_disc"):
        del kept["config"][name]
    path.write_text(json.dumps(kept))
    with pytest.raises(UserError, match="freeze_disc: 0 there, 1 now"):
        gan_ring.main(gan_ring.Config(workdir="run", steps=2, freeze_disc=1, **SMALL))
    gan_ring.main(gan_ring.Config(workdir="run", steps=4, change=("steps",), **SMALL))
    assert gan_jax.load("run").step == 4


def test_a_flag_that_is_none_cannot_be_changed():
    with pytest.raises(UserError, match="--change speed: there is no such flag"):
        gan_ring.Config(change=("lr", "speed"))

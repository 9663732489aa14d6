"""--start-from: a run that begins with the weights of another."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

import gan_jax
from experiments import dcgan_digits, gan_ring
from gan_jax.types import UserError

COMMON = {"features": "none", "batch_size": 8, "devices": 1}


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """A run of two steps on the digits, and its sampler."""
    home = tmp_path_factory.mktemp("before") / "run"
    dcgan_digits.main(dcgan_digits.Config(workdir=str(home), steps=2, width=4, **COMMON))
    return home


def larger():
    """Other images, twice as large."""
    np.savez("x.npz", images=np.random.default_rng(0).integers(0, 256, (40, 16, 16), np.uint8))


def equal(a, b):
    return jax.tree.map(lambda x, y: x.shape == y.shape and np.allclose(x, y, rtol=0, atol=1e-20), a, b)


def test_all_of_it_of_the_same_networks(before, capsys):
    dcgan_digits.main(
        dcgan_digits.Config(workdir="run", start_from=str(before), steps=1, lr=1e-30, width=4, seed=5, **COMMON)
    )
    old, new = gan_jax.load(before), gan_jax.load("run")
    assert all(jax.tree.leaves(equal(old.state.gen.params, new.state.gen.params)))
    assert all(jax.tree.leaves(equal(old.state.disc.params, new.state.disc.params)))
    said = capsys.readouterr().out
    assert f"arrays of {before} at step 2, its optimisers fresh" in said and "anew" not in said
    note = json.loads(Path("run/config.json").read_text())["started_from"]
    assert note["step"] == 2 and note["not_taken"] == [] and note["data_digest"] == old.data_digest


def test_what_fits_of_another_size(before, capsys):
    """At 16 pixels the first and the last dense layers are others, and a stage more has no weights to take."""
    larger()
    dcgan_digits.main(
        dcgan_digits.Config(workdir="run", data="x.npz", start_from=str(before), steps=1, lr=1e-30, width=4, **COMMON)
    )
    note = json.loads(Path("run/config.json").read_text())["started_from"]
    assert note["taken"] > 0 and any("Dense_0/kernel" in name for name in note["not_taken"])
    assert "anew: " in capsys.readouterr().out
    old, new = gan_jax.load(before), gan_jax.load("run")
    found = [x for x in jax.tree.leaves(equal_where_possible(old.state.disc.params, new.state.disc.params))]
    assert any(found)


def equal_where_possible(a, b):
    return [
        np.allclose(x, b[name][leaf], rtol=0, atol=1e-20)
        for name, layer in a.items()
        for leaf, x in layer.items()
        if name in b and leaf in b[name] and b[name][leaf].shape == x.shape and x.size > 1
    ]


def test_members_begin_with_the_same(before):
    dcgan_digits.main(
        dcgan_digits.Config(workdir="run", start_from=str(before), seeds=2, steps=1, lr=1e-30, width=4, **COMMON)
    )
    old = gan_jax.load(before).state.gen.params
    for member in (0, 1):
        assert all(jax.tree.leaves(equal(old, gan_jax.load("run", member=member).state.gen.params)))


def test_going_on_does_not_need_the_other_run(before, tmp_path):
    first = tmp_path / "first"
    dcgan_digits.main(dcgan_digits.Config(workdir=str(first), steps=1, width=4, **COMMON))
    flags = {"workdir": "run", "start_from": str(first), "width": 4, **COMMON}
    dcgan_digits.main(dcgan_digits.Config(steps=1, **flags))
    first.rename(tmp_path / "elsewhere")
    dcgan_digits.main(dcgan_digits.Config(steps=2, **flags))
    assert gan_jax.load("run").step == 2
    assert json.loads(Path("run/config.json").read_text())["started_from"]["step"] == 1


def test_refusals_before_anything_is_written(before):
    with pytest.raises(UserError, match="nowhere is no run's directory"):
        dcgan_digits.main(dcgan_digits.Config(workdir="run", start_from="nowhere", steps=1, width=4, **COMMON))
    ring = {"workdir": "run", "start_from": str(before), "gen_blocks": 1, "disc_blocks": 1, "steps": 1, "width": 3}
    with pytest.raises(UserError, match="--start-from .*: none of its arrays fits: "):
        gan_ring.main(gan_ring.Config(**ring, batch_size=8, devices=1))
    assert not Path("run").exists()


@pytest.mark.parametrize("count", [1, 2])
def test_the_first_layers_of_the_discriminator_stay(before, count):
    """As they begin, over a stop as well; all others learn."""
    flags = {"workdir": "run", "start_from": str(before), "freeze_disc": count, "width": 4, **COMMON}
    dcgan_digits.main(dcgan_digits.Config(steps=2, **flags))
    dcgan_digits.main(dcgan_digits.Config(steps=4, **flags))
    old, new = (gan_jax.load(run).state.disc.params for run in (before, "run"))
    same = {
        name: all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), old[name], new[name])))
        for name in old
    }
    assert {name for name, still in same.items() if still} == {f"Conv_{i}" for i in range(count)}
    gen = jax.tree.map(
        lambda a, b: bool((a == b).all()), *(gan_jax.load(run).state.gen.params for run in (before, "run"))
    )
    assert not any(jax.tree.leaves(gen))


def test_one_layer_must_learn(before):
    with pytest.raises(
        UserError, match="--freeze-disc 3: D has 3 layers, Conv_0, Conv_1, Dense_0, and one at least must"
    ):
        dcgan_digits.main(dcgan_digits.Config(workdir="run", freeze_disc=3, steps=1, width=4, **COMMON))
    assert not Path("run").exists()

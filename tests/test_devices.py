"""One run on 1, 2, 4 and 8 devices, and in 2 processes: the same round of every game, to rounding, by the expected work.

`pytest tests/test_devices.py --write-results` keeps the table of differences in experiments/results/equivalence.json.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from equivalence import GAMES, ROWS, bound, collectives, difference, play, setting

import experiments
from gan_jax.system import mesh
from gan_jax.training.program import Program
from gan_jax.types import Source
from gan_jax.workdir.provenance import environment

ROOT = Path(experiments.__file__).parents[1]
RESULT = ROOT / "experiments" / "results" / "equivalence.json"
COLUMNS = ("2 devices", "4 devices", "8 devices", "8 devices, sharded state", "2 processes of 2 devices")
measured: dict[str, dict[str, float]] = {}
games = pytest.mark.parametrize("name", GAMES)


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    """What two processes of two devices each make of every game."""
    out = tmp_path_factory.mktemp("processes") / "out.npz"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    # A compilation cache of its own: what the tests' own process compiled is for other devices.
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2"
    both = [
        subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "equivalence.py"), address, "2", str(i), str(out)],
            env={**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": flags},
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    for process in both:
        said = process.communicate(timeout=400)[1]
        assert process.returncode == 0, said
    with np.load(out) as held:
        return {name: [held[key] for key in held.files if key.split("|")[0] == name] for name in GAMES}


def compiled(program, devices, **rest):
    with jax.set_mesh(mesh.make(devices, ROWS, **rest)):
        return program.lower(program.fresh()).compile()


@games
def test_all_devices_do_what_one_does(name, processes):
    one, _, _ = play(name, 1)
    found = {f"{n} devices": difference(one, play(name, n)[0]) for n in (2, 4, 8)}
    found["8 devices, sharded state"] = difference(one, play(name, 8, shard_state=True)[0])
    found["2 processes of 2 devices"] = difference(jax.tree.leaves(one), processes[name])
    measured[name] = found
    assert max(found.values()) < bound(name), found


@games
def test_each_device_does_its_share(name):
    """Of the work, counted in the compiled program, and with few collectives: the sums of gradients and of batch norm."""
    work = compiled(play(name, 1)[1], 1).cost_analysis()["flops"]
    program = compiled(play(name, 8)[1], 8)
    # What is per parameter is done by each: optimiser, average, checks. These networks are tiny, so it is seen.
    assert program.cost_analysis()["flops"] < (0.125 + 0.08) * work
    found = collectives(program.as_text())
    # A pool of fakes is whole on each device: they are gathered, of two domains for each of two uses.
    assert found.pop("all-gather", 0) <= (4 if "pool" in name else 0), found
    assert set(found) == {"all-reduce"}
    most = 25 if "InfoGAN" in name else 15 if "batch norm" in name else 8  # InfoGAN has twice as many norms
    assert found["all-reduce"] <= most, found


@pytest.mark.parametrize("name", ["DCGAN, Wasserstein, wgan_gp", "conditional DCGAN, batch norm, hinge"])
def test_sharded_state(name):
    _, program, state = play(name, 8, shard_state=True)
    held, whole = (
        sum(of(leaf) for leaf in jax.tree.leaves(state))
        for of in (lambda leaf: leaf.addressable_shards[0].data.nbytes, lambda leaf: leaf.nbytes)
    )
    assert held < 1.1 * whole / 8
    text = compiled(program, 8).as_text()
    found = collectives(text)
    params = len(jax.tree.leaves((state.gen.params, state.disc.params)))
    assert set(found) <= {"all-reduce", "all-gather", "reduce-scatter"}
    # Two of the sums are of the norms of each side, in the rounds that tell them.
    assert 0 < found["all-gather"] <= 3 * params and found["all-reduce"] <= 18, found


def test_each_device_holds_its_rows():
    """Of a set that does not stay on the device only the own rows are sent."""
    there = setting("MLP, minimax")
    asked = []

    def fetch(key, step, which=slice(None)):
        asked.append(which)
        return {"image": there.fetch(key, step)["image"][which]}

    source = Source(fetch, there.batch, there.key, ROWS, there.spec, ROWS, resident=False)
    from equivalence import Config

    grid = mesh.make(8, ROWS)
    with jax.set_mesh(grid):
        program = Program(Config(devices=8), GAMES["MLP, minimax"], source, grid)
        fetched = program._feed(0, 0)
        assert {shard.data.shape for shard in fetched["image"].addressable_shards} == {(2, 8, 8, 1)}
        state, _, metrics, _ = program.play(program.fresh(), program.no_fault(), 0, 1)
    resident, _, _ = play("MLP, minimax", 8)
    assert difference(resident, jax.tree.map(np.asarray, (state, metrics))) == 0


def test_the_table(request, processes):
    """As kept, and written anew on request."""
    if request.config.getoption("--write-results"):
        assert set(measured) == set(GAMES), "run the whole file"
        rounded = {name: {column: float(f"{row[column]:.1e}") for column in COLUMNS} for name, row in measured.items()}
        command = "pytest tests/test_devices.py --write-results"
        result = {"name": "equivalence", "command": command, **environment(), "largest relative difference": rounded}
        RESULT.write_text(json.dumps(result, indent=2) + "\n")
    kept = json.loads(RESULT.read_text())["largest relative difference"]
    assert list(kept) == list(GAMES)
    assert all(set(row) == set(COLUMNS) and max(row.values()) < bound(name) for name, row in kept.items())

"""One run on several devices, in two processes and in parts: the same round of every game, by the expected work.

One game of each kind is compared on one device and two; three on eight, with whole and with sharded state, and between
processes. The other cells of the table take minutes: `pytest -n 0 -m long tests/test_devices.py --write-results` fills them, with
-k those of one game, and keeps the table in experiments/results/equivalence.json.
"""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from equivalence import EXACT, GAMES, ROWS, Config, collectives, compiled, difference, play, setting

import experiments
from gan_jax.system import mesh
from gan_jax.training.program import Program
from gan_jax.types import Source
from gan_jax.workdir.provenance import environment

ROOT = Path(experiments.__file__).parents[1]
RESULT = ROOT / "experiments" / "results" / "equivalence.json"
LAYOUTS = {
    "2 devices": {"devices": 2},
    "4 devices": {"devices": 4},
    "8 devices": {"devices": 8},
    "8 devices, sharded state": {"devices": 8, "shard_state": True},
}
PROCESSES = "2 processes of 2 devices"
# Penalties and their second derivatives; batch norm, an embedding and labels; several D steps and interleaved rows.
THREE = ("DCGAN, Wasserstein, wgan_gp", "conditional DCGAN, batch norm, hinge", "MLP, weight clipping, 2 D steps")
# Those of another kind of loss, network or state than the others; the rest is `long`.
KINDS = {
    *THREE, "DCGAN, ADA, DiffAugment, LeCam, APA, R1 along directions", "conditional BigGAN, batch norm, ReACGAN", "CycleGAN, pool",
    "progressive growing, minibatch deviation", "MoCoGAN, batch norm", "SeqGAN, dropout",
}  # fmt: skip
games = pytest.mark.parametrize("name", GAMES)
kinds = pytest.mark.parametrize(
    "name", [name if name in KINDS else pytest.param(name, marks=pytest.mark.long) for name in GAMES]
)
three = pytest.mark.parametrize("name", THREE)


def in_two_processes(names, out):
    """What two processes of two devices each make of these games: their leaves by name."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=2"
    both = [
        subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "equivalence.py"), address, "2", str(i), str(out), *names],
            env={**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": flags},
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    for process in both:
        said = process.communicate(timeout=600)[1]
        assert process.returncode == 0, said
    with np.load(out) as held:
        return {name: [held[key] for key in held.files if key.split("|")[0] == name] for name in names}


@kinds
def test_two_devices_do_what_one_does(name):
    assert difference(play(name, 1)[0], play(name, 2)[0]) < EXACT


@three
@pytest.mark.parametrize("sharded", [False, True], ids=["whole", "sharded state"])
def test_eight_devices_do_what_one_does(name, sharded):
    assert difference(play(name, 1)[0], play(name, 8, shard_state=sharded)[0]) < EXACT


# ---- and in parts of a batch, one after another


@pytest.mark.parametrize(
    "name",
    [
        name if name in KINDS else pytest.param(name, marks=pytest.mark.long)
        for name in GAMES
        if not re.search("batch norm|dropout|minibatch|CUT|shuffle", name)
    ],
)
def test_parts_of_a_batch_give_its_update(name):
    """Every loss and penalty, those over the whole batch included."""
    assert difference(play(name, 1)[0], play(name, 1, accumulate=2)[0]) < EXACT


@pytest.mark.parametrize(("devices", "parts"), [(1, 16), (2, 2)])
def test_parts_of_one_row_and_parts_of_what_each_of_two_devices_has(devices, parts):
    name = "DCGAN, Wasserstein, wgan_gp"
    assert difference(play(name, 1)[0], play(name, devices, accumulate=parts)[0]) < EXACT


def test_running_statistics_are_those_of_all_parts():
    """The running mean is the whole batch's; the variance is the mean of the parts' own."""
    (one, _), _, _ = play("DCGAN, batch norm, least squares", 1)
    (parts, _), _, _ = play("DCGAN, batch norm, least squares", 1, accumulate=2)
    for side in ("gen", "disc"):
        stats = [getattr(state, side).stats["batch_stats"]["BatchNorm_0"] for state in (one, parts)]
        if side == "disc":  # the generator's deeper ones see other inputs
            np.testing.assert_allclose(stats[1]["mean"], stats[0]["mean"], rtol=0.2, atol=1e-3)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(stats))


# ---- in processes, and how


def test_two_processes_do_what_one_does(tmp_path):
    found = in_two_processes(THREE, tmp_path / "out.npz")
    for name in THREE:
        assert difference(jax.tree.leaves(play(name, 1)[0]), found[name]) < EXACT, name


@kinds
def test_each_device_does_its_share(name):
    """Of the work, counted in the compiled program, and with few collectives: the sums of gradients and of batch norm."""
    work = compiled(play(name, 1)[1]).cost_analysis()["flops"]
    program = compiled(play(name, 2)[1])
    # What is per parameter is done by each: optimiser, average, checks. These networks are tiny, so it is seen.
    assert program.cost_analysis()["flops"] < (0.5 + 0.08) * work
    found = collectives(program.as_text())
    # A pool of fakes is whole on each device: they are gathered, of two domains for each of two uses. An entropy is of
    # all pairs of rows: means and their gradients are gathered.
    assert found.pop("all-gather", 0) <= (
        4 if "pool" in name or "ReACGAN" in name else 2 if "entropy" in name else 0
    ), found
    assert set(found) == {"all-reduce"}
    # InfoGAN has twice as many norms; minibatch deviation is a variance, with derivatives, in each pass of D.
    most = (
        30
        if "minibatch" in name
        else 25
        if "InfoGAN" in name
        else 15
        if "batch norm" in name
        else 11
        if "SeqGAN" in name
        else 10
    )
    assert found["all-reduce"] <= most, found


@three
def test_each_of_eight_devices_does_its_share(name):
    work = compiled(play(name, 1)[1]).cost_analysis()["flops"]
    assert compiled(play(name, 8)[1]).cost_analysis()["flops"] < (0.125 + 0.08) * work


@pytest.mark.parametrize("name", ["DCGAN, Wasserstein, wgan_gp", "conditional DCGAN, batch norm, hinge"])
def test_sharded_state(name):
    _, program, state = play(name, 8, shard_state=True)
    held, whole = (
        sum(of(leaf) for leaf in jax.tree.leaves(state))
        for of in (lambda leaf: leaf.addressable_shards[0].data.nbytes, lambda leaf: leaf.nbytes)
    )
    assert held < 1.1 * whole / 8
    found = collectives(compiled(program).as_text())
    params = len(jax.tree.leaves((state.gen.params, state.disc.params)))
    assert set(found) <= {"all-reduce", "all-gather", "reduce-scatter"}
    # Two of the sums are of the norms of each side, in the rounds that tell them.
    assert 0 < found["all-gather"] <= 3 * params and found["all-reduce"] <= 18, found


def test_each_device_holds_its_rows():
    """Of a set that does not stay on the device each is sent its own rows alone."""
    there = setting("MLP, minimax")
    asked = []

    def fetch(key, step, which=slice(None)):
        asked.append(which)
        return {"image": there.fetch(key, step)["image"][which]}

    source = Source(fetch, there.batch, there.key, ROWS, there.spec, ROWS, resident=False)
    grid = mesh.make(2, ROWS)
    with jax.set_mesh(grid), jax.enable_x64(True), jax.default_matmul_precision("float32"):
        program = Program(Config(devices=2, precision="float64"), GAMES["MLP, minimax"], source, grid)
        fetched = program._feed(0, 0)
        assert {shard.data.shape for shard in fetched["image"].addressable_shards} == {(8, 8, 8, 1)}
        state, _, metrics, _ = program.play(program.fresh(), program.no_fault(), 0, 1)
    resident, _, _ = play("MLP, minimax", 2)
    assert difference(resident, jax.tree.map(np.asarray, (state, metrics))) == 0


@pytest.fixture(scope="module")
def made_here():
    """The commit and the rest, before the first row is written: after it there is a change."""
    return environment()


@pytest.mark.long
@games
def test_a_game_in_every_layout(name, request, tmp_path, made_here):
    """A row of the table; kept on request."""
    apart = in_two_processes((name,), tmp_path / "out.npz")
    one = play(name, 1)[0]
    row = {layout: difference(one, play(name, **flags)[0]) for layout, flags in LAYOUTS.items()}
    row[PROCESSES] = difference(jax.tree.leaves(one), apart[name])
    play.cache_clear()
    assert max(row.values()) < EXACT, row
    if request.config.getoption("--write-results"):
        kept = json.loads(RESULT.read_text())["games"] if RESULT.exists() else {}
        rounded = {layout: float(f"{x:.1e}") for layout, x in row.items()}
        kept[name] = {**made_here, "largest relative difference": rounded}
        found = {game: kept[game] for game in GAMES if game in kept}
        command = "pytest -n 0 -m long tests/test_devices.py --write-results"
        RESULT.write_text(json.dumps({"name": "equivalence", "command": command, "games": found}, indent=2) + "\n")


def test_the_kept_table_is_of_these_games():
    kept = json.loads(RESULT.read_text())["games"]
    assert list(kept) == list(GAMES)
    for of in kept.values():
        row = of["largest relative difference"]
        assert set(row) == {*LAYOUTS, PROCESSES} and max(row.values()) < EXACT and not of["commit"].endswith("+")

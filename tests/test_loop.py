"""A run: what it leaves, how it goes on, and what it does when it is stopped, full, damaged or not finite."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from equivalence import EXACT, difference
from ringrun import play, rows, same, steady
from rounding import float32

import experiments
import gan_jax
from experiments import gan_ring
from gan_jax import data, training
from gan_jax.evaluation import evaluators
from gan_jax.types import Evaluate, UserError
from gan_jax.workdir import provenance

CONFIG = gan_ring.Config(
    width=8,
    gen_blocks=1,
    disc_blocks=1,
    batch_size=16,
    steps=8,
    log_every=2,
    sample_every=4,
    evaluate_every=4,
    checkpoint_every=3,
    devices=1,
    workdir="run",
)


pytestmark = pytest.mark.usefixtures("programs_once")


def run(config=CONFIG, evaluator=None, build=gan_ring.build):
    return play(config, evaluator, build)


def pictures(workdir):
    return {path.name: path.read_bytes() for path in sorted(Path(workdir, "samples").iterdir())}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The run without a stop, to compare with."""
    workdir = tmp_path_factory.mktemp("straight") / "run"
    state = run(dataclasses.replace(CONFIG, workdir=str(workdir)))
    return jax.tree.map(np.asarray, state), rows(workdir), pictures(workdir)


def test_rows_pictures_and_result(straight):
    _, logged, drawn = straight
    assert [row["step"] for row in logged] == [2, 4, 6, 8]
    assert [set(row) > {"eval/modes"} for row in logged] == [False, True, False, True]
    assert list(drawn) == ["00000000.png", "00000004.png", "00000008.png"]


@pytest.mark.parametrize("number, leaves", [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_a_stopped_run_goes_on_bit_for_bit(number, leaves, straight, capfd):
    measure = evaluators.mixture(data.ring_centres(), 0.01, 100)

    def interrupted(draw):
        os.kill(os.getpid(), number)  # in the middle of step 4
        return measure.measure(draw)

    with pytest.raises(leaves) as stopped:
        run(evaluator=measure._replace(measure=interrupted))
    if leaves is SystemExit:
        assert stopped.value.code == 143
    said = capfd.readouterr().err
    assert "stopped at step 4 of 8, saved. To go on: python -m experiments.gan_ring --workdir run --steps 8" in said
    assert not Path("run/result.json").exists()
    state = run()
    assert "going on at step 4 of 8" in capfd.readouterr().out
    same(state, straight[0])
    assert rows() == straight[1]
    assert pictures("run") == straight[2]
    assert json.loads(Path("run/result.json").read_text())["seconds"] > 0


def test_a_run_that_died_repeats_nothing(straight):
    """Died in step 4: the last checkpoint is of step 3, and the rows after it must be written once."""

    class PowerCut(BaseException):
        pass

    def dies(draw):
        raise PowerCut

    with pytest.raises(PowerCut):
        run(evaluator=Evaluate(dies, ("modes",)))  # at step 4, after the checkpoint of step 3
    with Path("run/metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "images": 64, "seconds": 1.0, "disc/loss": 1.0}\n{"step": 6, "ima')
    same(run(), straight[0])
    assert rows() == straight[1]
    assert pictures("run") == straight[2]


def test_a_run_that_ended_before_its_result_gets_it(straight):
    """Killed between the last checkpoint and the result: nothing is played, and nothing is missing."""
    state = run()
    result = json.loads(Path("run/result.json").read_text())
    Path("run/result.json").unlink()
    Path("run/samples/00000008.png").unlink()
    same(run(), state)
    again = json.loads(Path("run/result.json").read_text())
    assert again["metrics"] == result["metrics"] and rows() == straight[1] and pictures("run") == straight[2]


def test_an_evaluation_that_fails_loses_nothing():
    def fails(draw):
        raise ValueError("too few")

    for step in (4, 8):  # each start gets one evaluation further
        with pytest.raises(
            UserError, match=rf"the evaluation at step {step} failed: ValueError\('too few'\); the run is saved"
        ):
            run(evaluator=Evaluate(fails, ("modes",)))
    assert [row["step"] for row in rows()] == [2, 4, 6, 8]
    assert run() is not None and [row["step"] for row in rows()] == [2, 4, 6, 8, 8] and "eval/modes" in rows()[-1]


def test_every_start_is_in_the_result(monkeypatch):
    from experiments.tools import table

    monkeypatch.setattr(provenance, "_commit", lambda: "a" * 40 + "+")
    run(dataclasses.replace(CONFIG, steps=4), build=steady)
    assert "starts" not in json.loads(Path("run/result.json").read_text())
    monkeypatch.setattr(provenance, "_commit", lambda: "b" * 40)
    config = Path("run/config.json").read_bytes()
    run(dataclasses.replace(CONFIG, steps=2), build=steady)  # nothing to do, and nothing written
    assert Path("run/config.json").read_bytes() == config
    run(build=steady)
    result = json.loads(Path("run/result.json").read_text())
    assert [(start["step"], start["commit"]) for start in result["starts"]] == [(0, "a" * 40 + "+"), (4, "b" * 40)]
    with pytest.raises(UserError, match="was not made by one commit"):
        table.keep(Path("run"))


def test_a_changed_experiment_is_told_where_a_run_goes_on(capfd):
    run(dataclasses.replace(CONFIG, steps=4), build=steady)
    path = Path("run/config.json")
    kept = json.loads(path.read_text())
    kept["experiment_file"]["sha256"] = "0" * 64
    path.write_text(json.dumps(kept))
    run(dataclasses.replace(CONFIG, steps=6), build=steady)
    assert "note: the file of the experiment, gan_ring, has changed since" in capfd.readouterr().out
    run(build=steady)
    assert "has changed" not in capfd.readouterr().out


def test_longer_is_the_same_run():
    """A finished run that is made longer comes, bit for bit, to where the long one is."""
    long = run(dataclasses.replace(CONFIG, workdir="long"), build=steady)
    run(dataclasses.replace(CONFIG, steps=4), build=steady)
    same(run(build=steady), long)
    assert rows() == rows("long") and pictures("run") == pictures("long")


def test_a_run_whose_schedule_ends_with_its_steps_is_not_made_longer(capfd):
    """gan_ring's rate falls to 0 over --steps: made longer it would jump back up, and be no run that anybody asked for."""
    run(dataclasses.replace(CONFIG, steps=4))
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    with pytest.raises(
        UserError, match="--steps 8: .* was started with --steps 4, by which its schedules end"
    ) as refused:
        run()
    assert "--steps 4" in str(refused.value) and "another --workdir" in str(refused.value)
    assert before == {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="--steps 8"):  # also where it stopped on the way
        shutil.rmtree("run/checkpoints/4")
        run()


def test_a_finished_run_is_left_alone(capfd, straight):
    run()
    kept = lambda: {path: path.stat().st_mtime_ns for path in Path("run").rglob("[!.]*") if path.is_file()}  # noqa: E731
    before = kept()
    capfd.readouterr()
    state = run()
    assert "has played its 8 steps: nothing to do" in capfd.readouterr().out
    same(state, straight[0])
    assert before == kept()


@pytest.mark.parametrize(
    "change, text",
    [
        ({"seed": 1}, "seed: 0 there, 1 now"),
        ({"lr": 2e-3}, "lr: 0.001 there, 0.002 now"),
        ({"width": 9, "batch_size": 32}, "batch_size: 16 there, 32 now\n  width: 8 there, 9 now"),
    ],
)
def test_another_configuration_is_refused(change, text):
    run(dataclasses.replace(CONFIG, steps=2))
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="belongs to another run") as refused:
        run(dataclasses.replace(CONFIG, **change))
    assert text in str(refused.value)
    assert before == {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}


def test_other_data_of_the_same_name_is_refused(tmp_path):
    from experiments import gan_digits

    flags = {"workdir": "run", "batch_size": 8, "steps": 1, "devices": 1, "data": str(tmp_path / "x.npy")}
    rng = np.random.default_rng(0)
    for i in range(2):
        np.save("x.npy", rng.integers(0, 256, (20, 8, 8), np.uint8))
        if i == 0:
            gan_digits.main(gan_digits.Config(**flags))
        else:
            with pytest.raises(UserError, match="data_digest"):
                gan_digits.main(gan_digits.Config(**flags))


@pytest.mark.parametrize("first, then", [((4, False), (1, False)), ((1, False), (4, True)), ((4, True), (4, False))])
def test_saved_in_one_layout_resumed_in_another(first, then, exact):
    """In float64, where what devices add up differs by 1e-16: the resumed run is the straight one."""
    count, sharded = zip(first, then, strict=True)
    config = dataclasses.replace(CONFIG, precision="float64", workdir="run")
    run(dataclasses.replace(config, devices=count[0], shard_state=sharded[0], steps=4), build=steady)
    state = run(dataclasses.replace(config, devices=count[1], shard_state=sharded[1]), build=steady)
    assert {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(state)} == {count[1]}
    whole = all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(state))
    assert whole != sharded[1]
    assert difference(exact, jax.tree.map(np.asarray, state)) < EXACT


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    """The run without a stop, on one device, in float64."""
    workdir = str(tmp_path_factory.mktemp("exact") / "run")
    state = run(dataclasses.replace(CONFIG, precision="float64", workdir=workdir), build=steady)
    return jax.tree.map(np.asarray, state)


FLAGS = {
    "width": 8,
    "gen-blocks": 1,
    "disc-blocks": 1,
    "batch-size": 16,
    "steps": 100_000,
    "log-every": 20,
    "sample-every": 0,
    "checkpoint-every": 2,
    "workdir": "run",
}


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_the_process_ends_as_the_shell_expects(number, status):
    root = str(Path(experiments.__file__).parents[1])
    flags = [word for name, value in FLAGS.items() for word in (f"--{name}", str(value))]
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.gan_ring", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert process.stderr is not None
    while not process.stderr.readline().startswith("step "):
        assert process.poll() is None
    process.send_signal(number)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == (status if status > 0 else 128 + signal.SIGTERM)
    assert "To go on: python -m experiments.gan_ring" in said and "Traceback" not in said
    steps = [int(path.name) for path in Path("run/checkpoints").iterdir() if path.name.isdigit()]
    assert f"stopped at step {max(steps):,} of" in said


def test_a_read_only_directory(tmp_path, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError, match="cannot write to --workdir .*: Read-only file system"):
        run()


def test_batch_and_source_must_agree():
    source = data.ring(4, 0)
    with pytest.raises(ValueError, match="the source gives 4 rows a step; batch_size x packing x n_disc = 16 x 1 x 1"):
        training.run(CONFIG, gan_ring.build, training.Setup(source))


def test_load_gives_the_averaged_generator():
    config = dataclasses.replace(CONFIG, precision="float64")
    state = run(config)
    sample = gan_jax.load("run")
    z = sample.latents(5, seed=3)
    recipe = gan_ring.build(config, data.ring(1, 0).spec)
    with jax.enable_x64(True):
        averaged, trained = (recipe.game.sample(one.params, one.stats, z) for one in (state.ema, state.gen))
    np.testing.assert_allclose(sample(z), averaged, rtol=EXACT)
    np.testing.assert_allclose(gan_jax.load("run", raw=True)(z), trained, rtol=EXACT)
    assert (sample.step, sample.config["width"]) == (8, 8)


@pytest.mark.parametrize(
    "prepare, text",
    [
        (lambda: None, "is no run's directory"),
        (lambda: (run(dataclasses.replace(CONFIG, steps=1)), shutil.rmtree("run/checkpoints")), "no checkpoint yet"),
    ],
)
def test_load_what_is_not_there(prepare, text):
    prepare()
    with pytest.raises(UserError, match=text):
        gan_jax.load("run")


def test_tensorboard_has_the_rows(straight):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run()
    events = EventAccumulator("run/tensorboard").Reload()
    logged = {name: [(row["step"], row[name]) for row in rows() if name in row] for name in ("disc/loss", "eval/modes")}
    for name, pairs in logged.items():
        np.testing.assert_allclose(
            [(event.step, event.value) for event in events.Scalars(name)], pairs, rtol=float32(2)
        )

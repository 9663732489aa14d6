"""What goes wrong while a run trains: damaged checkpoints, two runs in one place, values that are not finite."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ringrun import play, rows, same

import experiments
from experiments import gan_ring
from gan_jax import data
from gan_jax.evaluation import evaluators
from gan_jax.types import Evaluate, Record, UserError
from gan_jax.workdir.checkpoint import Checkpoints
from gan_jax.workdir.lock import Lock

CONFIG = gan_ring.Config(
    width=8,
    gen_blocks=1,
    disc_blocks=1,
    batch_size=16,
    steps=8,
    log_every=2,
    sample_every=4,
    evaluate_every=4,
    checkpoint_every=2,
    devices=1,
    workdir="run",
)


pytestmark = pytest.mark.usefixtures("programs_once")


def run(build=gan_ring.build, evaluator=None, **change):
    return play(dataclasses.replace(CONFIG, **change), evaluator, build)


ALONE = {**os.environ, "PYTHONPATH": str(Path(experiments.__file__).parents[1])}


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("straight") / "run"
    state = run(workdir=str(workdir))
    return jax.tree.map(np.asarray, state), rows(workdir)


# -- damaged checkpoints


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, flip, Path.unlink])
def test_every_damaged_file_of_a_checkpoint_is_noticed(damage, tmp_path):
    state = {"x": np.arange(1000.0, dtype=np.float32), "y": np.int32(3)}
    with Checkpoints(tmp_path / "c") as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, state)
    names = [path.relative_to(tmp_path / "c/2") for path in (tmp_path / "c/2").rglob("*") if path.is_file()]
    assert len(names) > 5
    for name in names:
        shutil.rmtree(tmp_path / "d", ignore_errors=True)
        shutil.copytree(tmp_path / "c", tmp_path / "d")
        damage(tmp_path / "d/2" / name)
        said = []
        with Checkpoints(tmp_path / "d") as checkpoints:
            assert checkpoints.sound(said.append) == 1, name
            assert re.search("warning: the checkpoint of step 2 is damaged: .*; the one of step 1 is used", said[0])
            checkpoints.save(2, state)  # its name is free again
        with Checkpoints(tmp_path / "d") as checkpoints:
            assert checkpoints.sound(said.append) == 2 and len(said) == 1
        assert (tmp_path / "d/2.damaged").is_dir()


@pytest.mark.parametrize("damaged, start", [((8,), 6), ((8, 6), 4)])
def test_a_run_goes_on_from_the_checkpoint_before(damaged, start, straight, capfd):
    run(steps=8)
    for step in damaged:
        flip(max(Path(f"run/checkpoints/{step}/ocdbt.process_0/d").iterdir(), key=lambda path: path.stat().st_size))
    capfd.readouterr()
    same(run(), straight[0])
    said = capfd.readouterr()
    assert f"going on at step {start} of 8" in said.out
    assert all(f"the checkpoint of step {step} is damaged: ocdbt.process_0/d/" in said.err for step in damaged)
    assert rows() == straight[1] and json.loads(Path("run/result.json").read_text())["steps"] == 8


def test_only_damaged_checkpoints():
    run(steps=2)
    truncate(Path("run/checkpoints/2/manifest.ocdbt"))
    with pytest.raises(
        UserError, match="no checkpoint in .* can be used: the checkpoint of step 2 is damaged: manifest"
    ):
        run()


def test_a_killed_save_leaves_nothing_behind(tmp_path):
    for left in ("4.orbax-checkpoint-tmp", "4.orbax-checkpoint-tmp-17", "2.removing"):
        (tmp_path / "c" / left / "d").mkdir(parents=True)
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.steps() == [] and checkpoints.sound(print) is None
        checkpoints.save(4, {"x": np.zeros(3)})
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["4"]


# -- the best checkpoint


@pytest.mark.parametrize("higher, best", [(True, 4), (False, 2)])
def test_the_best_checkpoint_is_kept(higher, best):
    values = dict(zip([2, 4, 6, 8, 10, 12], [1.0, 5.0, 2.0, 3.0, 2.0, 4.0], strict=True))
    step, how = iter(values), {"how": "in turn", "fake": 1, "weights": "raw"}

    def measure(draw):
        return {"score": Record(values[next(step)], higher, how), "other": Record(0.0, True, how)}

    measured = Evaluate(measure, ("score", "other"))

    def build(config, spec):  # whose schedules do not hang on --steps
        return gan_ring.build(dataclasses.replace(config, steps=12), spec)

    run(build, measured, steps=6, evaluate_every=2)
    run(build, measured, steps=12, evaluate_every=2)  # and remembered by the next start
    kept = sorted(int(path.name) for path in Path("run/checkpoints").iterdir() if path.name.isdigit())
    assert kept == [best, 8, 10, 12]
    import gan_jax

    assert gan_jax.load("run", best=True).step == best and gan_jax.load("run").step == 12
    with pytest.raises(UserError, match="--best fid: the experiment measures score, other"):
        run(evaluator=measured, best="fid")


# -- two runs in one place


def test_a_second_process_in_the_same_directory_is_refused():
    Path("run").mkdir()
    held = "from pathlib import Path; from gan_jax.workdir.lock import Lock; l = Lock(Path('run')).__enter__(); print('held', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", held], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ALONE
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=rf"run is in use by process {other.pid} on .*name another --workdir"):
            run()
        assert sorted(path.name for path in Path("run").iterdir()) == [".lock"]
        other.kill()  # and the system lets go of it
    run(steps=2)


def test_the_lock_is_let_go_of():
    Path("run").mkdir()
    for _ in range(2):
        with Lock(Path("run")) as lock:
            assert lock.held
            with pytest.raises(UserError, match=f"in use by process {os.getpid()}"), Lock(Path("run")):
                pass


# -- values that are not finite


def poisoned(what, at, streams=99):
    """gan_ring, in which something is no number in the round of step `at` (of the first `streams` streams)."""
    first = np.asarray(data.ring(16, 0)[at - 1]["image"])[0, 0]

    def build(config, spec):
        recipe = gan_ring.build(config, spec)
        game = recipe.game

        def bad(state, batch):  # the first stream is known by its data
            hit = state.step == at - 1
            return hit & (batch["image"][0, 0] == first) if streams == 1 else hit

        def loss_of(side):
            plain = getattr(game, f"{side}_loss")

            def loss(params, state, batch, key, fake):
                total, (stats, aux, metrics) = plain(params, state, batch, key, fake)
                if what == f"{side}/loss":
                    metrics = {**metrics, what: jnp.where(bad(state, batch), jnp.nan, metrics[what])}
                if what == f"the gradient of {side}/Dense_1/kernel":
                    total += jnp.where(bad(state, batch), jnp.inf, 0.0) * jnp.sum(params["Dense_1"]["kernel"])
                return total, (stats, aux, metrics)

            return loss

        def poison(updates, state, params=None):
            updates = dict(updates)
            updates["Dense_2"] = jax.tree.map(lambda x: jnp.where(state == at - 1, jnp.inf, x), updates["Dense_2"])
            return updates, state + 1

        tx = recipe.gen_tx
        if what == "gen/Dense_2/bias":
            tx = optax.chain(tx, optax.GradientTransformation(lambda params: jnp.int32(0), poison))
        return recipe._replace(game=game._replace(disc_loss=loss_of("disc"), gen_loss=loss_of("gen")), gen_tx=tx)

    return build


NOT_FINITE = [
    "disc/loss",
    "the gradient of disc/Dense_1/kernel",
    "gen/loss",
    "the gradient of gen/Dense_1/kernel",
    "gen/Dense_2/bias",
]


@pytest.mark.parametrize("what", NOT_FINITE)
def test_divergence_names_the_step_and_the_first_tensor(what):
    """At step 5, seen at the next row of the log, step 6; nothing of it is saved."""
    with pytest.raises(
        UserError,
        match=f"{what} is not finite at step 5, the first of all values; the last good checkpoint is of step 4. .*--on-divergence rollback",
    ):
        run(poisoned(what, 5))
    assert [row["step"] for row in rows()] == [2, 4]
    assert max(int(path.name) for path in Path("run/checkpoints").iterdir() if path.name.isdigit()) == 4


def test_divergence_before_any_checkpoint():
    with pytest.raises(UserError, match="not finite at step 1, .* no checkpoint was written before"):
        run(poisoned("disc/loss", 1))


@pytest.mark.parametrize("at, to", [(5, 4), (1, 0)])
def test_rollback_goes_on_with_another_stream(at, to, straight, capfd):
    build = poisoned("disc/loss", at, streams=1)
    run(build, on_divergence="rollback")
    assert f"going back to step {to}, with new data order and noise (1)" in capfd.readouterr().err
    logged = rows()
    assert [row["step"] for row in logged] == [2, 4, 6, 8]
    assert [row.get("run/rollbacks", 0) for row in logged] == [int(row["step"] > to) for row in logged]
    expected = [row for row in straight[1] if row["step"] <= to]
    assert logged[: len(expected)] == expected and logged[-1] != straight[1][-1]
    assert json.loads(Path("run/config.json").read_text())["rollbacks"] == [{"step": at, "to": to}]
    assert json.loads(Path("run/result.json").read_text())["rollbacks"] == [{"step": at, "to": to}]


def test_a_run_that_went_back_resumes_exactly():
    build = poisoned("disc/loss", 5, streams=1)
    whole = run(build, on_divergence="rollback", workdir="whole")

    def dies(draw):
        if len(rows()) >= 3:
            raise KeyboardInterrupt
        return measure.measure(draw)

    measure = evaluators.mixture(data.ring_centres(), 0.01, 100)
    with pytest.raises(KeyboardInterrupt):
        run(build, Evaluate(dies, measure.names), on_divergence="rollback")
    same(run(build, on_divergence="rollback"), whole)
    assert rows() == rows("whole")


def test_rollback_gives_up():
    with pytest.raises(UserError, match="The run went back there 3 times already: a smaller learning rate may help"):
        run(poisoned("disc/loss", 5), on_divergence="rollback")
    assert len(json.loads(Path("run/config.json").read_text())["rollbacks"]) == 3

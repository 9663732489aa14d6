"""Full and read-only disks: what a run says, keeps in memory, tries again, and never loses."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from ringrun import play, rows, same

import experiments
from experiments import gan_ring
from gan_jax.types import Evaluate, Record, WriteError
from gan_jax.workdir import manifest
from gan_jax.workdir.checkpoint import Checkpoints
from gan_jax.workdir.log import Log
from gan_jax.workdir.retry import Retry

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


ROOT = str(Path(experiments.__file__).parents[1])


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("straight") / "run"
    state = run(workdir=str(workdir))
    return jax.tree.map(np.asarray, state), rows(workdir)


# -- the disk


FULL = """
import resource, signal
from gan_jax.training import cli, loop
from experiments import gan_ring

until = {until}
play = loop.Trainer.fetch
def fetch(self, step, metrics):  # at each row of the log: from the one of step 4 on no file may grow, as on a full disk
    self.seen = getattr(self, "seen", 0) + 2
    full = 4 <= self.seen < until
    if self.seen == 4:
        self.checkpoints.wait()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 if full else resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return play(self, step, metrics)
loop.Trainer.fetch = fetch
cli.run(gan_ring.main, gan_ring.Config)
"""
FLAGS = [
    "--gen-blocks",
    "1",
    "--disc-blocks",
    "1",
    "--width",
    "8",
    "--batch-size",
    "16",
    "--steps",
    "12",
    "--log-every",
    "2",
    "--sample-every",
    "4",
    "--evaluate-every",
    "6",
    "--checkpoint-every",
    "2",
]
ALONE = {**os.environ, "PYTHONPATH": ROOT, "JAX_ENABLE_COMPILATION_CACHE": "false"}


def start(code, *flags):
    words = ["-c", code] if code else ["-m", "experiments.gan_ring"]
    return subprocess.run(
        [sys.executable, *words, *FLAGS, *flags], capture_output=True, text=True, env=ALONE, timeout=300
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The run on a disk with room."""
    workdir = tmp_path_factory.mktemp("disk") / "plain"
    start(None, "--workdir", workdir)
    return workdir


def test_a_disk_that_is_full_for_a_while(plain):
    done = start(FULL.format(until=9), "--workdir", "full")
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert "warning: cannot write to" in done.stderr and "File too large; training goes on" in done.stderr
    assert "can be written to again; nothing is missing there" in done.stderr
    assert rows("full") == rows(plain)
    pictures = [sorted(path.name for path in Path(name, "samples").iterdir()) for name in ("full", plain)]
    assert pictures[0] == pictures[1] and len(pictures[0]) == 4


def test_a_disk_that_stays_full(plain):
    done = start(FULL.format(until=99), "--workdir", "run")
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    last = done.stderr.splitlines()[-1]
    assert re.match(r"error: cannot write to .*run/metrics.jsonl: File too large; \d+ things are not written", last), (
        last
    )
    done = start(None, "--workdir", "run")
    assert done.returncode == 0 and "going on at step 2 of 12" in done.stdout, done.stderr
    assert rows("run") == rows(plain)


@pytest.mark.parametrize("fails", [(4,), (4, 6, 8)])
def test_a_save_that_fails_is_told_and_tried_again(fails, straight, monkeypatch, capfd):
    """The best checkpoint, of step 4, cannot be saved either: the one before stays, and the next that is better counts."""
    save, told = Checkpoints.save, []

    def failing(self, step, state, best=None):
        if step in fails and step not in told:
            told.append(step)
            raise WriteError(
                f"could not save step {step} to c: No space left on device; the checkpoint of step 2 is whole"
            )
        save(self, step, state, best)

    monkeypatch.setattr(Checkpoints, "save", failing)
    values = dict(zip([2, 4, 6, 8], [2.0, 5.0, 4.0, 3.0], strict=True))
    step = iter(values)
    how = {"fake": 1, "weights": "raw"}
    measured = Evaluate(lambda draw: {"score": Record(values[next(step)], True, how)}, ("score",))
    same(run(evaluator=measured, evaluate_every=2), straight[0])
    said = capfd.readouterr().err
    assert said.count("warning: could not save step 4 to c: No space left on device") == 1
    assert [row["step"] for row in rows()] == [2, 4, 6, 8]
    with Checkpoints(Path("run/checkpoints"), read_only=True) as checkpoints:
        assert checkpoints.latest == 8 and 4 not in checkpoints.steps()
        assert checkpoints.best == (6 if fails == (4,) else 8)
    assert re.search(r"saved again, at step [68]", said)


def test_no_checkpoint_points_beyond_the_rows(monkeypatch):
    """While a row cannot be written nothing is saved: a run that is then killed plays from where the rows end."""
    write = Log.write

    def full(self, row):
        if row["step"] >= 4:
            raise OSError(28, "No space left on device")
        write(self, row)

    with monkeypatch.context() as patch:
        patch.setattr(Log, "write", full)
        with pytest.raises(WriteError, match="cannot write to .*metrics.jsonl: No space left on device"):
            run()
    with Checkpoints(Path("run/checkpoints"), read_only=True) as checkpoints:
        assert checkpoints.steps() == [2]
    run()
    assert [row["step"] for row in rows()] == [2, 4, 6, 8]


def test_a_picture_that_cannot_be_drawn_stops_no_row(capfd, monkeypatch):
    begin = manifest.begin

    def begun(workdir, *rest):
        (workdir / "samples").write_text("in the way")
        return begin(workdir, *rest)

    with monkeypatch.context() as patch, pytest.raises(WriteError, match="cannot write to .*run/samples: "):
        patch.setattr(manifest, "begin", begun)
        run()
    assert [row["step"] for row in rows()] == [2, 4, 6, 8]
    assert capfd.readouterr().err.count("warning: cannot write to") == 1
    Path("run/samples").unlink()
    run()
    assert Path("run/samples/00000008.png").exists()


def test_the_mark_of_the_best_follows_its_checkpoint(tmp_path):
    """Never before it is on disk: killed in between, the old mark still points to what is there."""
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(1, {"x": np.zeros(3)}, ("score", 1.0))
        checkpoints.wait()
        seal = checkpoints._seal

        def looked():
            assert json.loads((tmp_path / "c/best.json").read_text())["step"] == 1
            seal()

        checkpoints._orbax._post_finalization_callback = looked
        checkpoints.save(2, {"x": np.ones(3)}, ("score", 2.0))
        checkpoints.wait()
        checkpoints._orbax._post_finalization_callback = seal
        assert checkpoints.best == 2
        for step in (3, 4, 5, 6):
            checkpoints.save(step, {"x": np.ones(3)})
    assert checkpoints.steps() == [2, 4, 5, 6]


def test_the_outbox_keeps_the_order(tmp_path):
    said, done, works = [], [], [True]

    def write(name):
        def action():
            if not works[0]:
                raise OSError(30, "Read-only file system")
            done.append(name)

        return action

    outbox = Retry(tmp_path, said.append)
    outbox.write(write("a"))
    works[0] = False
    outbox.write(write("b"))
    assert not outbox.flush()
    outbox.write(write("c"))
    assert done == ["a"] and len(said) == 1 and "Read-only file system; training goes on" in said[0]
    with pytest.raises(WriteError, match="Read-only file system; 2 things are not written"):
        outbox.close()
    works[0] = True
    outbox.write(write("d"))
    outbox.close()
    assert done == ["a", "b", "c", "d"] and len(said) == 2

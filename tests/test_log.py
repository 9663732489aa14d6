"""The parts of a run on their own: the log, the checkpoints, the result's summary."""

import sys

import jax
import numpy as np
import pytest

from gan_jax.types import Record
from gan_jax.workdir import checkpoint
from gan_jax.workdir.log import Log, read_rows
from gan_jax.workdir.members import best_of
from gan_jax.workdir.results import summary


def test_log_lines_without_a_terminal(tmp_path, capsys):
    with Log(tmp_path, 0, 100, 64) as log:
        log.tick(10)
        log.write(log.entry(10, {"disc/loss": 1.0}))
        log.progress(10, {"disc/loss": 1.0})
    said = capsys.readouterr().err
    assert (
        said.startswith("step 10/100  ")
        and "steps/s" in said
        and "images/s" in said
        and "left  disc/loss 1.000" in said
    )
    assert [(row["step"], row["images"], row["disc/loss"]) for row in read_rows(tmp_path / "metrics.jsonl")] == [
        (10, 640, 1.0)
    ]


def test_log_bar_on_a_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Log(tmp_path, 0, 100, 64) as log:
        log.tick(10)
        log.progress(10, {"disc/loss": 1.0})
        log.say("a word")
    said = capsys.readouterr().err
    assert "10/100" in said and "step/s" in said.replace("s/step", "step/s") and "images/s" in said and "a word" in said


def test_checkpoints_keep_the_last_three(tmp_path):
    state = {"x": np.arange(3.0)}
    with checkpoint.Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.latest is None
        for step in (1, 2, 3, 4):
            checkpoints.save(step, {"x": state["x"] * step})
            checkpoints.save(step, state)  # there already: left as it is
        checkpoints.wait()
        assert checkpoints.latest == 4
        like = {"x": jax.ShapeDtypeStruct((3,), np.float64 if jax.config.jax_enable_x64 else np.float32)}
        np.testing.assert_allclose(checkpoints.restore(4, like)["x"], state["x"] * 4)
    assert sorted(path.name for path in (tmp_path / "c").iterdir() if path.name.isdigit()) == ["2", "3", "4"]


@pytest.mark.parametrize(
    ("best", "value", "higher", "expected"),
    [
        (None, 2.0, True, (2.0, 1)),
        ((1.0, 1), 2.0, True, (2.0, 1)),
        ((1.0, 1), 2.0, False, None),
        ((0.5, 3), [0.1, 0.2, None], False, None),  # a member lost is no gain
        ((0.5, 3), [0.1, 0.2, float("inf")], False, None),
        ((0.5, 2), [0.1, 0.2, float("inf")], False, (pytest.approx(0.15), 2)),
        (None, float("nan"), True, None),
        ((1.0, 2), [None, None], True, None),
    ],
)
def test_what_is_better(best, value, higher, expected):
    assert best_of(best, value, higher) == expected


def test_summary_takes_last_and_best():
    logged = [
        {"step": 1, "eval/a": 3.0, "eval/b": 3.0},
        {"step": 2},
        {"step": 3, "eval/a": 1.0, "eval/b": 1.0},
        {"step": 4, "eval/a": 2.0, "eval/b": 2.0},
    ]
    out = summary(logged, {"a": Record(2.0, False, {"n": 1}), "b": Record(2.0, True, {})})
    assert (out["a"]["last"], out["a"]["best"], out["a"]["best_step"], out["a"]["protocol"]) == (2.0, 1.0, 3, {"n": 1})
    assert summary([{"step": 1, "eval/a": None}], {"a": Record(float("inf"), False, {})})["a"]["best"] is None
    assert (out["b"]["last"], out["b"]["best"], out["b"]["best_step"]) == (2.0, 3.0, 1)

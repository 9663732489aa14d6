"""The doors: `gan-jax`, `python -m gan_jax`, `python -m experiments`, and an experiment's file from anywhere."""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import experiments
import gan_jax
from gan_jax import __main__ as door
from gan_jax import commands

ROOT = Path(experiments.__file__).parents[1]
NAMES = sorted(path.stem for path in (ROOT / "gan_jax/commands").glob("[a-z]*.py"))


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_alone_it_lists_the_commands(words, capsys):
    door.main(words)
    said = capsys.readouterr().out
    for name in NAMES:
        assert f"  gan-jax {name:<10}  {commands.first_line(f'gan_jax.commands.{name}')}\n" in said
    assert len(NAMES) >= 2 and "python -m experiments" in said


def test_version(capsys):
    door.main(["--version"])
    assert capsys.readouterr().out == f"gan-jax {gan_jax.__version__}\n"


def test_an_unknown_command(capsys):
    with pytest.raises(SystemExit) as exit_:
        door.main(["beauty"])
    assert exit_.value.code == 2
    assert capsys.readouterr().err == f"error: no command 'beauty': there are {', '.join(NAMES)}\n"


@pytest.mark.parametrize("name", NAMES)
def test_help_of_a_command(name, capsys):
    with pytest.raises(SystemExit) as exit_:
        door.main([name, "--help"])
    said = capsys.readouterr().out
    assert exit_.value.code == 0 and f"gan-jax {name}" in said
    assert commands.first_line(f"gan_jax.commands.{name}")[:40] in " ".join(said.split())


def test_a_mistake_is_a_message(capsys):
    with pytest.raises(SystemExit) as exit_:
        door.main(["evaluate", "nowhere"])
    assert exit_.value.code == 2
    assert "nowhere is a set of images: say by --data" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("runs/nope", "error: runs/nope: no such file or folder"),
        ("runs", "error: runs is no run, but holds some: one, two: name one of them"),
        ("runs/one/checkpoints", "error: runs/one/checkpoints is a part of a run: name "),
    ],
)
def test_what_was_meant_by_a_path(target, said, tmp_path, capsys):
    for name in ("one", "two"):
        (tmp_path / "runs" / name / "checkpoints").mkdir(parents=True)
        (tmp_path / "runs" / name / "config.json").write_text("{}")
    with pytest.raises(SystemExit):
        door.main(["evaluate", target])
    assert said in capsys.readouterr().err


def test_the_list_of_experiments_takes_no_jax():
    """A line for each, with what it says of itself, in no time."""
    program = "import runpy, sys; runpy.run_module('experiments', run_name='__main__'); assert 'jax' not in sys.modules"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    lines = {line.split()[2]: line for line in said.splitlines() if line.startswith("  python -m experiments.")}
    assert {*lines} == {f"experiments.{path.stem}" for path in (ROOT / "experiments").glob("[a-z]*.py")}
    assert "DCGAN on MNIST, 28x28" in lines["experiments.dcgan_mnist"]


def test_an_experiments_file_runs_from_anywhere(tmp_path):
    """As a file, from a directory that is not the clone; what it leaves is loaded by that file."""
    words = ["--width", "4", "--batch-size", "8", "--steps", "2", "--devices", "1", "--workdir", "run"]
    path = str(ROOT / "experiments/gan_ring.py")
    done = subprocess.run([sys.executable, path, *words], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    sample = gan_jax.load(tmp_path / "run")
    assert sample(sample.latents(3)).shape == (3, 2)


def test_the_installation_claims_one_name():
    names = metadata.distribution("gan-jax").read_text("top_level.txt")
    assert names is not None and names.split() == ["gan_jax"]

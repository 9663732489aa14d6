"""Every experiment for two steps, by its command line; and what a user meets who asks for something impossible."""

import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import experiments
import gan_jax
from experiments.tools import torture
from gan_jax.commands import evaluate
from gan_jax.training import cli, loop

NAMES = sorted(
    found.name for found in pkgutil.iter_modules(experiments.__path__) if not found.ispkg and found.name != "__main__"
)
CLASSIFIED = {"dcgan_digits", "cgan_mnist", "stacked_mnist", "stacked_mnist_dcgan"}  # the others by pixels, for speed
SMALL = {
    "gan_ring": ["--width", "8"],
    "gan_grid": ["--width", "8"],
    "pacgan_mixtures": ["--width", "8"],
    "unrolled_ring": ["--width", "8", "--unroll", "2"],
    "gan_mnist": [],
    "gan_minimax_mnist": [],
    "gan_digits": [],
    "cyclegan_digits": ["--width", "4", "--data", "digits"],
    "stacked_mnist": ["--width", "4", "--evaluate-samples", "64"],
    "stacked_mnist_dcgan": ["--width", "4", "--evaluate-samples", "64"],
}


def start(name, *flags):
    module = importlib.import_module(f"experiments.{name}")
    return cli.run_in_process(module.main, module.Config, [str(flag) for flag in flags])


@pytest.fixture
def npz(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "images.npz"
    np.savez(path, x_train=rng.integers(0, 256, (60, 8, 8, 1), np.uint8), y_train=np.arange(60) % 10)
    return path


def test_the_experiments_asked_for_are_there():
    assert {
        "gan_ring", "gan_grid", "gan_digits", "dcgan_digits", "gan_mnist", "gan_minimax_mnist", "dcgan_mnist", "lsgan_mnist",
        "wgan_mnist", "wgan_gp_mnist", "cgan_mnist", "dcgan_fashion", "dcgan_cifar10", "wgan_gp_cifar10", "sngan_cifar10",
    } <= set(NAMES)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_two_steps(name, npz, capfd, monkeypatch):
    module = importlib.import_module(f"experiments.{name}")
    flags = [
        "--steps",
        2,
        "--batch-size",
        8,
        "--log-every",
        1,
        "--devices",
        1,
        "--workdir",
        "run",
        *SMALL.get(name, ["--width", "4"]),
    ]
    if hasattr(module.Config(), "data") and "--data" not in flags:
        flags += ["--data", npz]
    if hasattr(module.Config(), "features") and name not in CLASSIFIED:
        flags += ["--features", "pixels"]
    start(name, *flags)
    run = Path("run")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    each = 8 * getattr(module.Config(), "n_disc", 1) * getattr(module.Config(), "packing", 1)
    assert [(row["step"], row["images"]) for row in rows] == [(1, each), (2, 2 * each)]
    # null: of two steps' samples none lies in a mode, and their KL is infinite
    assert all(
        value is not None and np.isfinite(value)
        for row in rows
        for key, value in row.items()
        if key != "eval/reverse_kl"
    )
    result = json.loads((run / "result.json").read_text())
    assert result["name"] == name and result["steps"] == 2 and result["images"] == 2 * each and result["seeds"] == [0]
    assert result["command"].startswith(f"python -m experiments.{name} --steps 2")
    for key, metric in result["metrics"].items():
        assert (
            metric["last"] == rows[-1][f"eval/{key}"]
            and metric["best_step"] == 2
            and {"weights", "batch_norm"} <= set(metric["protocol"])
            and {"fake", "real"} & set(metric["protocol"])
        )
    config = json.loads((run / "config.json").read_text())
    assert (
        config["experiment"] == f"experiments.{name}"
        and config["config"]["steps"] == 2
        and config["starts"][0]["versions"]["jax"]
    )
    for step in (0, 2):
        with Image.open(run / "samples" / f"{step:08d}.png") as picture:
            assert min(picture.size) >= 120
    said = capfd.readouterr()
    assert "done: 2 steps" in said.err and "run/samples/00000002.png" in said.err and "compiles" in said.out
    assert list((run / "tensorboard").iterdir())

    # Killed between its two steps, and started again: not one bit is another.
    fetch, calls = loop.Trainer.fetch, []

    def dies(self, step, metrics):
        calls.append(metrics)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fetch(self, step, metrics)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(loop.Trainer, "fetch", dies)
        start(name, *flags, "--workdir", "killed", "--checkpoint-every", 1)
    start(name, *flags, "--workdir", "killed", "--checkpoint-every", 1)
    assert "going on at step 1 of 2" in capfd.readouterr().out
    assert torture.differences(run, Path("killed")) == []

    sample = gan_jax.load("run")
    assert sample.step == 2 and sample.config["batch_size"] == 8
    zeros = {name: np.zeros((5, *x.shape), x.dtype) for name, x in sample.spec.arrays.items()}
    samples = sample(*sample.inputs(zeros if sample.programs.kinds.needs else 5, seed=1))
    assert samples.shape == (5, *sample.spec.shape) and np.isfinite(samples).all()
    assert f"python -m experiments.{name}" in (module.__doc__ or "")

    # The command measures the very numbers again.
    kept = result["metrics"] | result.get("final", {})
    found = evaluate.main(evaluate.Config(targets=("run",)))["values"]["run"]
    same = {key: one["value"] for key, one in found.items()} == {key: one["last"] for key, one in kept.items()}
    assert same or kept["reverse_kl"]["last"] is None  # infinite: no mode is found


def test_a_conditional_gan_without_classes(tmp_path, capsys):
    np.save("plain.npy", np.zeros((70, 8, 8), np.uint8))
    with pytest.raises(SystemExit) as exit_:
        start("cgan_mnist", "--data", "plain.npy")
    assert exit_.value.code == 2
    assert "needs at least two classes; plain.npy has 0" in capsys.readouterr().err


def test_help_lists_every_flag():
    words = subprocess.run(
        [sys.executable, "-m", "experiments.wgan_gp_mnist", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(experiments.__file__).parents[1],
    ).stdout
    for flag in (
        "--workdir",
        "--seed",
        "--steps",
        "--batch-size",
        "--data",
        "--devices",
        "--log-every",
        "--sample-every",
        "--evaluate-every",
        "--checkpoint-every",
        "--n-disc",
        "--penalty",
    ):
        assert flag in words
    assert "arXiv:1704.00028" in words and "(default: 10.0)" in words

"""Every experiment for two steps, by its command line, held to what it says of itself; and what a user meets who asks
for something impossible.

`pytest -n 0 tests/test_experiments.py --write-results` keeps the losses of the two steps anew, in experiments/golden.json.
"""

import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from expected import CLASSIFIED, GIVEN, LEARNT, LONG, READ, SHOWN, SMALL, TOLD, WHOLE
from PIL import Image

import experiments
import gan_jax
from experiments.tools import golden, torture
from gan_jax import penalties
from gan_jax.commands import evaluate, film
from gan_jax.evaluation import classifier
from gan_jax.training import cli, loop

NAMES = sorted(
    found.name for found in pkgutil.iter_modules(experiments.__path__) if not found.ispkg and found.name != "__main__"
)
pytestmark = pytest.mark.usefixtures("programs_once")


def start(name, *flags):
    module = importlib.import_module(f"experiments.{name}")
    return cli.run_in_process(module.main, module.Config, [str(flag) for flag in flags])


@pytest.fixture
def npz(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "images.npz"
    np.savez(path, x_train=rng.integers(0, 256, (60, 8, 8, 1), np.uint8), y_train=np.arange(60) % 10)
    both = {name: rng.integers(0, 256, (24, 16, 16, 3), np.uint8) for name in ("a", "b", "a_test", "b_test")}
    np.savez(tmp_path / "pairs.npz", **both, x_train=both["a"], x_test=both["b"])
    (tmp_path / "pictures").mkdir()
    for i, image in enumerate(both["a"][:10]):
        image = np.kron(image, np.ones((2, 3, 1), np.uint8))[: 24 + i]
        Image.fromarray(image).save(tmp_path / "pictures" / f"{i}.png")
    heard = {f"x_{split}": np.float32(rng.uniform(-1, 1, (40, 1_024))) for split in ("train", "test")}
    np.savez(
        tmp_path / "sounds.npz", **heard, **{f"y_{split}": np.arange(40) % 4 for split in ("train", "test")}, rate=8_000
    )
    return path


def test_the_experiments_asked_for_are_there():
    assert {
        "gan_ring", "gan_grid", "gan_digits", "dcgan_digits", "gan_mnist", "gan_minimax_mnist", "dcgan_mnist", "lsgan_mnist",
        "wgan_mnist", "wgan_gp_mnist", "cgan_mnist", "dcgan_fashion", "dcgan_cifar10", "wgan_gp_cifar10", "sngan_cifar10",
    } <= set(NAMES)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_the_defaults_learn_so_many_numbers(name):
    module = importlib.import_module(f"experiments.{name}")
    spec, *expected = LEARNT[name]
    recipe = module.build(module.Config(), spec)
    init = jax.eval_shape(lambda: recipe.game.init(jax.random.key(0), spec.blank(2)))
    assert [sum(x.size for x in jax.tree.leaves(variables["params"])) for variables in init[:2]] == expected


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory):
    """Where the classifier of the images is kept: four experiments measure by it."""
    return str(tmp_path_factory.mktemp("classifiers"))


@pytest.mark.parametrize(
    "name", [name if name in WHOLE - LONG else pytest.param(name, marks=pytest.mark.long) for name in NAMES]
)
def test_two_steps(name, npz, classifiers, capfd, monkeypatch, request):
    module = importlib.import_module(f"experiments.{name}")
    monkeypatch.setattr(classifier, "STEPS", 20)
    monkeypatch.setenv("GAN_JAX_CACHE", classifiers)
    default = module.Config()
    flags = ["--steps", 2, "--batch-size", 8, "--log-every", 1, "--devices", 1, "--workdir", "run"]
    flags += SMALL.get(name, ["--width", "4"])
    if hasattr(default, "n_disc"):
        flags += ["--n-disc", 2]
    if hasattr(default, "data") and "--data" not in flags:
        flags += ["--data", npz.with_name(GIVEN.get(name, npz.name))]
    if hasattr(default, "features") and name not in CLASSIFIED:
        flags += ["--features", "pixels" if name in WHOLE else "none"]
    start(name, *flags)
    run = Path("run")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if "disc/loss" in row]  # and not what is measured when it is over
    each = 8 * (2 if hasattr(default, "n_disc") else 1) * getattr(default, "packing", 1)
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
    assert config["experiment"] == f"experiments.{name}" and config["starts"][0]["versions"]["jax"]
    kind = "txt" if name in READ else "png"
    for step in (0, 2):
        shown = run / "samples" / f"{step:08d}.{kind}"
        if name in READ:
            assert len(shown.read_text().splitlines()) == (8 if name == "seqgan_oracle" else 64)
            continue
        with Image.open(shown) as picture:
            assert min(picture.size) >= 120
    said = capfd.readouterr()
    assert "done: 2 steps" in said.err and f"run/samples/00000002.{kind}" in said.err and "compiles" in said.out
    assert list((run / "tensorboard").iterdir())

    losses = [{key: x for key, x in row.items() if key.startswith(("disc/", "gen/"))} for row in rows]
    _golden(name, losses, request.config.getoption("--write-results"))
    sample = gan_jax.load("run")
    holds_what_it_claims(name, rows, sample.state)
    assert f"python -m experiments.{name}" in (module.__doc__ or "")
    if name not in WHOLE:
        return

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

    assert sample.step == 2 and sample.config["batch_size"] == 8
    zeros = {name: np.zeros((5, *x.shape), x.dtype) for name, x in sample.spec.arrays.items()}
    samples = sample(*sample.inputs(zeros if sample.programs.kinds.needs else 5, seed=1))
    assert samples.shape == (5, *sample.spec.shape) and np.isfinite(samples).all()

    if (run / "samples" / "00000002.png").exists():
        assert film.main(film.Config(run="run", out="film.gif"))["steps"] == [0, 2]

    # The command measures the very numbers again.
    kept = result["metrics"] | result.get("final", {})
    found = evaluate.main(evaluate.Config(targets=("run",)))["values"]["run"]
    same = {key: one["value"] for key, one in found.items()} == {key: one["last"] for key, one in kept.items()}
    assert same or kept["reverse_kl"]["last"] is None  # infinite: no mode is found


def holds_what_it_claims(name, rows, state):
    """What an experiment's name and docstring promise, of its rows and of the state after two rounds."""
    assert SHOWN.get(name, set()) <= rows[0].keys()
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(state.disc)]
    if any(key.removeprefix("disc/") in vars(penalties) for key in rows[0]):
        assert not any("BatchNorm" in path for path in paths)
    largest = max(float(np.abs(x).max()) for x in jax.tree.leaves(state.disc.params))
    assert (largest <= 0.01 * (1 + 1e-6)) == (name in ("wgan_mnist", "mle_names"))  # which has no D
    embedded = [any("Embed" in jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(side.params))
                for side in (state.gen, state.disc)]  # fmt: skip
    assert embedded == [name in TOLD] * 2


def _golden(name, losses, write):
    """The losses of the two steps are the kept ones."""
    if write:
        short = [{key: float(f"{x:.6g}") for key, x in row.items()} for row in losses]
        golden.PATH.write_text(json.dumps(golden.read() | {name: short}, indent=1, sort_keys=True) + "\n")
    assert golden.agree(losses, golden.read()[name]), (losses, golden.read()[name])


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

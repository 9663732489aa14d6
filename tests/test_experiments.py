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
from PIL import Image

import experiments
import gan_jax
from experiments.tools import golden, torture
from gan_jax import penalties
from gan_jax.commands import evaluate, film
from gan_jax.evaluation import classifier
from gan_jax.training import cli, loop
from gan_jax.types import Spec, spec_of

NAMES = sorted(
    found.name for found in pkgutil.iter_modules(experiments.__path__) if not found.ispkg and found.name != "__main__"
)
# The others by pixels, for speed.
CLASSIFIED = {"dcgan_digits", "cgan_mnist", "stacked_mnist", "stacked_mnist_dcgan", "stacked_mnist_r3gan"}
SMALL = {
    "gan_ring": ["--width", "4", "--gen-blocks", "1", "--disc-blocks", "1"],
    "gan_grid": ["--width", "4", "--gen-blocks", "1", "--disc-blocks", "1"],
    "gan_mnist": [],
    "gan_minimax_mnist": [],
    "gan_digits": [],
    "biggan_cifar10": ["--width", "8"],
    "biggan_fashion": ["--width", "8"],
    "conditional_fashion": ["--width", "4", "--way", "concatenation"],
    "progressive_fashion": ["--width", "8", "--train-images", "0", "--fade-images", "32"],
    "progressive_mnist": ["--width", "8", "--train-images", "0", "--fade-images", "32"],
    "stylegan2_fashion": ["--width", "8", "--path", "2", "--mixing", "0.9"],
    "best_fashion": ["--width", "8", "--conditional"],
    "best_mnist": ["--width", "8"],
    "r3gan_cifar10": ["--width", "8", "--sizes", "2"],
    "r3gan_fashion": ["--width", "8"],
    "stacked_mnist_r3gan": ["--width", "8", "--evaluate-samples", "64"],
    "stylegan2_sprites": ["--width", "8", "--images", "20"],
    "unrolled_ring": ["--width", "4", "--unroll", "2"],
    "cyclegan_digits": ["--width", "4", "--data", "digits"],
    "stacked_mnist": ["--width", "4", "--evaluate-samples", "64"],
    "stacked_mnist_dcgan": ["--width", "4", "--evaluate-samples", "64"],
    "cheap_penalties_grid": ["--width", "4", "--gen-blocks", "1", "--disc-blocks", "1", "--penalty", "lazy_8"],
    "cheap_penalties_stacked": ["--width", "4", "--evaluate-samples", "64", "--penalty", "jvp_25"],
    "entropy_ring": ["--width", "4", "--entropy", "0.01"],
    "entropy_grid": ["--width", "4", "--entropy", "0.01", "--estimate", "log_det"],
    "entropy_stacked": ["--width", "4", "--evaluate-samples", "64", "--entropy", "0.01", "--estimate", "hmc"],
    "few_fashion": ["--width", "4", "--images", "20", "--arm", "ada"],
    "semisup_mnist": ["--labels", "20"],
    "tricks_mnist": ["--width", "4", "--trick", "minibatch_discrimination"],
    "pix2pix_emoji": ["--width", "4", "--downs", "3", "--layers", "1", "--size", "0"],
    "pix2pix_facades": ["--width", "4", "--downs", "3", "--layers", "1", "--size", "0"],
    "inpaint_facades": ["--width", "4", "--way", "cc"],
    "cyclegan_monet": ["--width", "4", "--blocks", "1", "--size", "0"],
    "cut_monet": ["--width", "4", "--blocks", "1", "--size", "0"],
    "vocoder_digits": ["--width", "8", "--disc-width", "1", "--length", "1024", "--segment", "768"],
    "specgan_digits": ["--width", "4", "--length", "1024"],
    "wavegan_digits": ["--width", "2", "--length", "1024"],
    "wgan_gp_text": ["--width", "4", "--data", "syllables"],
    "superres_photos": ["--width", "4", "--blocks", "1", "--scale", "2", "--crop", "16", "--stage", "gan"],
}
# What their data is, where it is no set of images: pairs, or a folder of pictures of several sizes.
GIVEN = {
    **dict.fromkeys(
        ("pix2pix_emoji", "pix2pix_facades", "cyclegan_monet", "cut_monet", "inpaint_facades"), "pairs.npz"
    ),
    "superres_photos": "pictures",
    **dict.fromkeys(("vocoder_digits", "specgan_digits", "wavegan_digits"), "sounds.npz"),
}
READ = {"wgan_gp_text"}  # whose samples are lines
# Experiments of one game and one kind of networks differ in sizes, losses and data. One of each is killed, resumed, loaded
# and measured anew; of the others the two steps, and what is said of them, are all that is looked at.
WHOLE = {
    "gan_ring", "dcgan_digits", "cgan_mnist", "wgan_mnist", "sngan_cifar10", "infogan_mnist", "cyclegan_digits",
    "stacked_mnist", "unrolled_ring", "entropy_stacked", "few_fashion", "semisup_mnist", "progressive_mnist",
    "stylegan2_fashion", "biggan_fashion", "conditional_fashion", "best_mnist", "pix2pix_emoji",
    "superres_photos", "inpaint_mnist", "vocoder_digits", "wavegan_digits", "wgan_gp_text",
}  # fmt: skip
# Of these another one has the networks and the game, and they take long to compile.
LONG = {
    "biggan_cifar10", "best_fashion", "wgan_gp_cifar10", "r3gan_fashion", "r3gan_cifar10", "stacked_mnist_r3gan",
    "stylegan2_sprites", "progressive_fashion", "cyclegan_monet",
}  # fmt: skip
POINTS, DIGITS = spec_of((2,)), spec_of((8, 8, 1), 10)
MNIST, COLOURS = spec_of((28, 28, 1), 10), spec_of((32, 32, 3), 10)
TWO = DIGITS._replace(arrays={name: DIGITS.arrays["image"] for name in "ab"}, classes=0)
LABELLED = MNIST._replace(
    arrays={"image": MNIST.arrays["image"], "labelled": MNIST.arrays["image"], "labelled_label": MNIST.arrays["label"]},
    classes=0,
    meta={"image": {"classes": 10}},
)
STACKED, PICTURES = spec_of((28, 28, 3), 1_000), spec_of((64, 64, 3))


def named(**shapes):
    """Arrays of these names."""
    return Spec({name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in shapes.items()})


PAIR = named(a=(64, 64, 3), b=(64, 64, 3))
# What each is trained on with its defaults, and how many numbers its two sides then learn: those of published sizes are
# derived in test_models.py.
LEARNT = {
    "biggan_cifar10": (COLOURS, 293_828, 270_530),
    "biggan_fashion": (MNIST, 87_298, 67_810),
    "conditional_fashion": (MNIST, 86_017, 66_529),
    "cgan_mnist": (MNIST, 575_401, 175_169),
    "cheap_penalties_grid": (POINTS, 198_786, 66_561),
    "cheap_penalties_stacked": (STACKED, 370_627, 167_649),
    "cyclegan_digits": (TWO, 100_290, 9_890),
    "dcgan_cifar10": (COLOURS, 1_068_931, 663_361),
    "dcgan_digits": (DIGITS, 49_857, 33_697),
    "dcgan_fashion": (MNIST, 369_601, 166_817),
    "dcgan_mnist": (MNIST, 369_601, 166_817),
    "entropy_grid": (POINTS, 484_802, 405_201),
    "entropy_ring": (POINTS, 484_802, 405_201),
    "entropy_stacked": (STACKED, 287_875, 1_889),
    "few_fashion": (MNIST, 369_601, 166_625),
    "gan_digits": (DIGITS, 57_792, 49_665),
    "gan_grid": (POINTS, 198_786, 66_561),
    "gan_minimax_mnist": (MNIST, 1_486_352, 1_460_225),
    "gan_mnist": (MNIST, 1_486_352, 1_460_225),
    "gan_ring": (POINTS, 198_786, 66_561),
    "infogan_mnist": (MNIST, 1_687_841, 1_674_925),
    "lsgan_mnist": (MNIST, 369_601, 166_817),
    "pacgan_mixtures": (POINTS, 484_802, 407_201),
    "progressive_fashion": (MNIST, 278_180, 279_073),
    "progressive_mnist": (MNIST, 278_180, 279_073),
    "stylegan2_fashion": (MNIST, 238_412, 351_165),
    "best_fashion": (MNIST, 176_160, 168_096),
    "best_mnist": (MNIST, 176_160, 168_096),
    "r3gan_cifar10": (COLOURS, 145_600, 141_568),
    "r3gan_fashion": (MNIST, 43_968, 41_952),
    "stacked_mnist_r3gan": (STACKED, 44_032, 42_016),
    "stylegan2_sprites": (PICTURES, 159_336, 92_081),
    "semisup_mnist": (LABELLED, 694_568, 1_538_770),
    "sngan_cifar10": (COLOURS, 4_274_435, 1_053_825),
    "stacked_mnist": (STACKED, 287_875, 1_889),
    "stacked_mnist_dcgan": (STACKED, 1_068_931, 662_977),
    "tricks_mnist": (MNIST, 369_601, 166_817),
    "unrolled_ring": (POINTS, 49_666, 17_025),
    "wgan_gp_cifar10": (COLOURS, 1_203_331, 1_053_825),
    "wgan_gp_mnist": (MNIST, 369_601, 166_625),
    "wgan_mnist": (MNIST, 369_601, 166_817),
    "pix2pix_emoji": (PAIR, 7_314_755, 169_377),
    "pix2pix_facades": (PAIR, 7_314_755, 169_377),
    "inpaint_facades": (named(image=(64, 64, 3), mask=(64, 64, 1)), 3_504_948, 168_353),
    "inpaint_mnist": (named(image=(28, 28, 1), mask=(28, 28, 1)), 62_186, 34_977),
    "cyclegan_monet": (PAIR, 1_550_598, 190_034),
    "cut_monet": (PAIR, 901_891, 95_017),
    "vocoder_digits": (named(image=(4_096, 1), mel=(32, 64)), 107_393, 645_325),
    "specgan_digits": (spec_of((64, 64, 1), 10), 1_509_801, 734_689),
    "wgan_gp_text": (spec_of((13, 27)), 1_038_619, 825_729),
    "wavegan_digits": (spec_of((8_192, 1), 10), 1_501_289, 1_111_425),
    "superres_photos": (named(image=(96, 96, 3), low=(24, 24, 3)), 195_971, 72),
}
# Metrics that a row has because of what the experiment says of itself.
SHOWN = {
    "wgan_gp_mnist": {"disc/wgan_gp"},
    "wgan_gp_cifar10": {"disc/wgan_gp"},
    "gan_ring": {"disc/r1", "disc/r2"},
    "gan_grid": {"disc/r1", "disc/r2"},
    "stacked_mnist_dcgan": {"disc/r1", "disc/r2"},
    "cheap_penalties_grid": {"disc/r1", "disc/r2"},
    "cheap_penalties_stacked": {"disc/r1_jvp", "disc/r2_jvp"},
    "entropy_ring": {"gen/entropy"},
    "entropy_grid": {"gen/entropy"},
    "entropy_stacked": {"gen/accepted", "gen/hmc_step"},
    "few_fashion": {"augment/p", "augment/p_r"},
    "progressive_fashion": {"disc/wgan_gp", "disc/drift", "gen/level"},
    "progressive_mnist": {"disc/wgan_gp", "disc/drift", "gen/level"},
    "stylegan2_fashion": {"disc/r1", "gen/path"},
    **{key: {"disc/r1", "disc/r2"} for key in ("best_mnist", "best_fashion", "r3gan_fashion", "r3gan_cifar10")},
    "stacked_mnist_r3gan": {"disc/r1", "disc/r2"},
    "stylegan2_sprites": {"disc/r1"},
    "semisup_mnist": {"disc/labelled", "disc/unlabelled"},
    "sngan_cifar10": {"monitor/disc/sigma"},
    "infogan_mnist": {"disc/information", "gen/information"},
    "cyclegan_digits": {"gen/cycle"},
    "vocoder_digits": {"gen/features", "gen/distance"},
    "specgan_digits": {"disc/r1", "disc/r2"},
    "wavegan_digits": {"disc/wgan_gp"},
    "wgan_gp_text": {"disc/wgan_gp"},
}
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
    "name", [pytest.param(name, marks=pytest.mark.long) if name in LONG else name for name in NAMES]
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
            assert len(shown.read_text().splitlines()) == 64
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
    assert (largest <= 0.01 * (1 + 1e-6)) == (name == "wgan_mnist")
    embedded = [any("Embed" in jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(side.params))
                for side in (state.gen, state.disc)]  # fmt: skip
    told = (
        "best_fashion",
        "cgan_mnist",
        "biggan_fashion",
        "biggan_cifar10",
        "conditional_fashion",
        "specgan_digits",
        "wavegan_digits",
    )
    assert embedded == [name in told] * 2


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

"""The commands that measure: gan-jax evaluate and gan-jax classifier."""

import json
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
import tyro
from PIL import Image
from rounding import float32

import gan_jax
from experiments import cgan_mnist, dcgan_digits, gan_ring
from gan_jax import data
from gan_jax.commands import classifier, evaluate
from gan_jax.data.validate import image_set
from gan_jax.evaluation import batch_norm, evaluators
from gan_jax.evaluation import classifier as library
from gan_jax.evaluation.measurement import Candidate, Reference
from gan_jax.evaluation.table import METRICS
from gan_jax.game import Average, Game
from gan_jax.metrics.frechet import frechet
from gan_jax.metrics.path_length import slerp
from gan_jax.training import cli
from gan_jax.types import spec_of
from gan_jax.workdir.sampler import Programs, Sampler


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_JAX_CACHE", str(folder / "cache"))
        config = dcgan_digits.Config(
            workdir=str(folder / "run"),
            steps=2,
            batch_size=8,
            width=4,
            features="pixels",
            evaluate_samples=50,
            devices=1,
        )
        dcgan_digits.main(config)
        yield folder


@pytest.fixture(autouse=True)
def here(run, monkeypatch):
    monkeypatch.chdir(run)


@pytest.fixture(scope="module")
def conditional(run):
    """A conditional run, and data with test images."""
    digits = data.load("digits")
    parts = {"x_train": digits.images[:1200], "y_train": digits.labels[:1200], "x_test": digits.images[1200:]}
    np.savez(run / "digits.npz", **parts, y_test=digits.labels[1200:])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAN_JAX_CACHE", str(run / "cache"))
        patch.setattr(library, "STEPS", 150)
        where = {"workdir": str(run / "conditional"), "data": str(run / "digits.npz")}
        cgan_mnist.main(
            cgan_mnist.Config(
                **where, steps=2, batch_size=8, evaluate_samples=600, final_samples=600, devices=1, width=8
            )
        )
    return run


def start(*flags):
    cli.run_in_process(evaluate.main, evaluate.Config, [str(flag) for flag in flags])


def values(*flags):
    return evaluate.main(tyro.cli(evaluate.Config, args=[str(flag) for flag in flags]))["values"]


def test_a_run_is_measured_with_its_protocol(capsys):
    start(
        "run", "--samples", "60", "--features", "pixels", "--json", "out.json",
        "--metrics", "frechet,frechet_infinity,kid,kid_subsets,precision_recall,prdc,ms_ssim,two_sample",
    )  # fmt: skip
    said = capsys.readouterr().out
    found = json.loads(Path("out.json").read_text())["values"]["run"]
    named = {"frechet_pixels", "kid_pixels", "precision_3_pixels", "density_pixels", "ms_ssim_1", "1nn_accuracy_pixels"}
    assert named <= {*found} and found["frechet_pixels"]["protocol"]["real_split"] == "a half of train"
    assert all(np.isfinite(one["value"]) and one["protocol"]["data"] == "digits" for one in found.values())
    assert "kid_subsets_std_pixels" not in found  # its subsets are all of the fakes
    names = ("frechet_pixels", "precision_pixels", "1nn_accuracy_pixels", "c2st_p_value_pixels")
    assert [found[name]["higher_is_better"] for name in names] == [False, True, None, True]
    assert found["ms_ssim_1"]["protocol"]["real"] == 60
    assert found["frechet_pixels"]["protocol"]["fake"] == 60 and "weights: averaged (EMA)" in said
    assert re.search(r"^recall_pixels:  .*  k: 5  real: 60  floor: ", said, re.M)
    assert said.count("subsets: ") == 1 and re.search(r"^ms_ssim_1, ms_ssim_1_real:  .*features: none", said, re.M)


@pytest.mark.parametrize("name", ["run", "conditional"])
def test_what_a_run_has_measured_is_measured_again_to_the_bit(name, conditional, monkeypatch):
    monkeypatch.setattr(library, "STEPS", 150)
    result = json.loads(Path(name, "result.json").read_text())
    kept = result["metrics"] | result.get("final", {})
    found = values(name)[name]
    assert {key: one["value"] for key, one in found.items()} == {key: one["last"] for key, one in kept.items()}
    for key, one in found.items():
        assert one["protocol"] == {**kept[key]["protocol"], "checkpoint": "last"}
    # The table's metrics by name are the very same.
    few = values(name, "--metrics", "kid,prdc")[name]
    assert few == {key: one for key, one in found.items() if key in few} and len(few) == 5


def test_memorised_are_those_near_what_was_learnt(conditional, monkeypatch):
    """Copies of training images are nearer to them than to any test image."""
    digits = data.load("digits").images
    np.save(conditional / "copies.npy", digits[:300])
    np.save(conditional / "others.npy", digits[1500:1700])  # which are among the test images
    flags = ["--data", "digits.npz", "--features", "pixels", "--metrics", "neighbours", "--samples", "200"]
    share = {name: values(f"{name}.npy", *flags)[f"{name}.npy"]["share_pixels"] for name in ("copies", "others")}
    assert share["copies"]["value"] == 1 and 0.3 < share["others"]["value"] < 0.7
    assert share["copies"]["protocol"]["real"] == 1200 and share["copies"]["protocol"]["held_out"] == 597


def test_by_class(conditional, monkeypatch):
    """Within classes, in the run itself and by the tool: noise is as far from every class as it can be, and what has learnt
    it alone guesses; what has learnt as many real images does not.
    """
    monkeypatch.setattr(library, "STEPS", 150)
    kept = json.loads(Path("conditional/result.json").read_text())["metrics"]["intra_frechet_classifier"]
    assert kept["last"] > 10 * kept["protocol"]["floor"] > 0 and kept["protocol"]["labels"] == evaluators.IN_TURN
    flags = ["conditional", "--metrics", "frechet,intra_frechet,class_accuracy,cas,path_length"]
    found = values(*flags)["conditional"]
    assert (
        found["intra_frechet_classifier"]["value"] == kept["last"]
        and found["intra_frechet_classifier"]["value"] > found["frechet_classifier"]["value"]
    )
    assert found["cas"]["value"] < 0.4 and found["cas_real"]["value"] > 0.9
    assert "150 and 150 steps" in found["cas"]["protocol"]["features"]
    assert 0 < found["path_length_classifier"]["value"] < np.inf
    accuracy = found["class_accuracy_classifier"]
    assert accuracy["value"] < 0.4 < 0.9 < accuracy["protocol"]["floor"] and accuracy["higher_is_better"]


def test_by_class_of_real_images(conditional, monkeypatch):
    """Other real digits in the fakes' place: near to each class, and good to learn from; with labels in another order not."""
    monkeypatch.setattr(library, "STEPS", 80)
    digits = data.load("digits")
    parts = [
        image_set(digits.images[rows], digits.labels[rows], "digits", 10)
        for rows in (slice(0, 700), slice(700, 1400), slice(1400, None))
    ]
    real, other, held = parts
    features = evaluators.chosen("", real)

    def found(labels):
        made = Candidate(Reference(real, features, held), other.images, labels, len(other.images))
        values = {name: METRICS[name](made).values for name in ("intra_frechet", "class_accuracy", "cas")}
        values = {key: value for each in values.values() for key, value in each.items()}
        return {name: value for name, (value, _) in values.items()}

    right, wrong = found(other.labels), found(np.roll(other.labels, 1))
    assert right["cas"] == pytest.approx(right["cas_real"], abs=0.05) and right["cas"] > 0.9 > 0.3 > wrong["cas"]
    assert wrong["intra_frechet"] > 5 * right["intra_frechet"]
    assert right["class_accuracy"] > 0.9 > 0.3 > wrong["class_accuracy"]


def test_parts_of_a_batch_are_for_training(run):
    """A batch whose own statistics are taken is whole, whatever --accumulate was."""
    if not (run / "parts").exists():
        shutil.copytree(run / "run", run / "parts")
        kept = json.loads((run / "parts/config.json").read_text())
        kept["config"]["accumulate"] = 8
        (run / "parts/config.json").write_text(json.dumps(kept))
    config = evaluate.Config(batch_norm="batch")
    one, other = (evaluate._drawing(config, gan_jax.load(name))(100) for name in ("run", "parts"))
    np.testing.assert_array_equal(one, other)


def test_labels_of_batches():
    """However many classes there are, their own batches of 100 have them in turn."""

    def fakes(params, state, batch, key):
        return batch["label"][:, None].astype(np.float32), {}

    game = Game(None, None, None, None, fakes)
    programs = Programs(lambda values: game, spec_of((1,), 7), False)
    drawn = batch_norm.batch_samples(Sampler(programs, Average({}, {}), None, 0, {}), 230, 0)
    np.testing.assert_array_equal(drawn[:, 0], np.arange(230) % 7)


def test_path_length_does_not_round_to_8_bits(run):
    """A step of 1e-4 is far less than a level: of rounded images hardly any would move."""
    flags = ["run", "--samples", "200", "--features", "pixels", "--metrics", "path_length"]
    length = values(*flags)["run"]["path_length_pixels"]["value"]
    sample = gan_jax.load("run")
    rng = np.random.default_rng(0)
    start, end = rng.standard_normal((2, 200, sample.latents(1).shape[1]))
    z = [slerp(start, end, rng.uniform(size=200) * 0 + t) for t in (0.45, 0.55)]
    moved = [np.asarray(sample(np.float32(one)), np.float64).reshape(200, -1) for one in z]
    assert length == pytest.approx(((moved[1] - moved[0]) ** 2).sum(1).mean() / 0.1**2, rel=0.5)


@pytest.mark.parametrize("flags", [["--raw"], ["--best"], ["--batch-norm", "batch"], ["--batch-norm", "standing"]])
def test_other_weights_and_statistics_are_other_protocols(flags):
    own = ["run", "--samples", "60", "--features", "pixels", "--metrics", "frechet"]
    plain, other = (values(*own, *more)["run"]["frechet_pixels"] for more in ([], flags))
    assert plain["protocol"] != other["protocol"]
    if "--batch-norm" in flags:  # after two steps the others are the same weights still
        assert plain["value"] != other["value"]


def test_a_folder_against_a_set(tmp_path):
    digits = data.load("digits").images
    (tmp_path / "pictures").mkdir()
    for i in range(40):
        Image.fromarray(digits[i, :, :, 0]).save(tmp_path / "pictures" / f"{i}.png")
    np.save(tmp_path / "same.npy", digits[:40])
    flags = ["--data", "digits", "--metrics", "frechet", "--features", "pixels"]
    found = values(tmp_path / "pictures", tmp_path / "same.npy", *flags)
    expected = frechet(*(x.reshape(len(x), -1) / 127.5 - 1 for x in (digits.astype(float), digits[:40].astype(float))))
    assert [one["frechet_pixels"]["value"] for one in found.values()] == pytest.approx([expected] * 2, rel=float32(16))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "nothing is named to be measured"),
        (["run", "--metrics", "frechet,beauty"], "--metrics beauty: there are frechet,kid,"),
        (["run", "--samples", "3"], "--samples 3: at least 20"),
        (
            ["run", "--samples", "30", "--features", "pixels", "--metrics", "inception_score"],
            "needs a classifier's logits",
        ),
        (
            ["run", "--samples", "30", "--features", "pixels", "--metrics", "intra_frechet"],
            "needs a conditional run",
        ),
        (
            ["run", "--samples", "30", "--features", "pixels", "--metrics", "sliced"],
            "run: sliced: .* at least 16",
        ),
        (["run", "--features", "nowhere.pth"], "nowhere.pth cannot be read"),
        (["points", "--samples", "30"], "points was not trained on the images of a set"),
        (["run", "--samples", "30", "--metrics", "neighbours"], "digits has no test images"),
        (
            ["infinite", "--samples", "30"],
            "infinite: frechet: images are uint8, or finite floats in .*; got nan to nan",
        ),
        (
            ["changed", "--samples", "30"],
            "digits is no longer what changed was trained on: its digest was 0123",
        ),
        (
            ["run", "--samples", "30", "--metrics", "path_length", "--batch-norm", "batch"],
            "path length needs a generator whose images do not hang on their batch",
        ),
        (
            ["run", "--samples", "30", "--metrics", "cas"],
            "needs a conditional run, and data of the same classes with test images",
        ),
        (
            ["rounded", "--samples", "30", "--metrics", "path_length"],
            "path length needs a run with --precision and --matmul-precision float32",
        ),
        (["empty"], "empty"),
        (["large.npy", "--data", "digits"], "large.npy has images .*16.* and digits .*8"),
        (["large.npy"], "say by --data what it is measured against"),
        (
            [
                "run",
                "few.npy",
                "--data",
                "digits",
                "--features",
                "pixels",
                "--samples",
                "30",
                "--metrics",
                "frechet",
            ],
            "not measured in one way: .*fake: 30 and 25",
        ),
    ],
)
def test_what_cannot_be_measured(flags, said, run, capsys, monkeypatch):
    (run / "empty").mkdir(exist_ok=True)
    np.save(run / "large.npy", np.zeros((30, 16, 16, 1), np.uint8))
    np.save(run / "few.npy", data.load("digits").images[:25])
    if not (run / "points").exists():
        gan_ring.main(
            gan_ring.Config(
                workdir=str(run / "points"), steps=1, batch_size=8, width=8, gen_blocks=1, disc_blocks=1, devices=1
            )
        )
        shutil.copytree(run / "run", run / "changed")
        kept = json.loads((run / "changed/config.json").read_text())
        kept["identity"]["data_digest"] = "0123"
        (run / "changed/config.json").write_text(json.dumps(kept))
        shutil.copytree(run / "run", run / "infinite")
        shutil.copytree(run / "run", run / "rounded")
        kept = json.loads((run / "rounded/config.json").read_text())
        kept["config"]["precision"] = "bfloat16"
        (run / "rounded/config.json").write_text(json.dumps(kept))

    def load(target, **how):
        sample = loaded(target, **how)
        if target != "infinite":
            return sample
        return sample.with_generator(jax.tree.map(lambda x: x * np.nan, sample.generator))

    loaded = evaluate.load
    monkeypatch.setattr(evaluate, "load", load)
    with pytest.raises(SystemExit):
        start(*flags)
    words = " ".join(capsys.readouterr().err.split())
    assert re.search(said, words), words


def test_the_classifier_says_how_good_it_is(capsys):
    found = classifier.main(classifier.Config(data="digits", steps=100))
    assert found["accuracy"] > 0.9 and found["held_out"] == 359
    assert "of 359 held-out images right" in capsys.readouterr().out


def test_a_classifier_without_labels(capsys):
    np.save("plain.npy", np.zeros((70, 8, 8), np.uint8))
    with pytest.raises(SystemExit):
        cli.run_in_process(classifier.main, classifier.Config, ["--data", "plain.npy"])
    assert "plain.npy has no labels" in capsys.readouterr().err

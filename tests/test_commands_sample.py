"""gan-jax sample: pictures and arrays of a saved run, by seed and class."""

from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import tyro
from PIL import Image

import gan_jax
from experiments import cgan_mnist, cyclegan_digits, dcgan_digits, gan_ring
from gan_jax import data
from gan_jax.commands import sample
from gan_jax.evaluation.latents import truncated
from gan_jax.training import cli
from gan_jax.types import UserError
from gan_jax.workdir.pictures import to_uint8


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of one step that measure nothing."""
    home = tmp_path_factory.mktemp("sampled")
    common = {"steps": 1, "batch_size": 8, "width": 4, "devices": 1}
    dcgan_digits.main(dcgan_digits.Config(workdir=str(home / "plain"), features="none", **common))
    cgan_mnist.main(cgan_mnist.Config(workdir=str(home / "classes"), data="digits", features="none", **common))
    gan_ring.main(gan_ring.Config(workdir=str(home / "points"), gen_blocks=1, disc_blocks=1, **common))
    return home


def start(*flags):
    return sample.main(tyro.cli(sample.Config, args=[str(flag) for flag in flags]))


def test_pictures_are_what_the_sampler_makes(runs, capsys):
    start(runs / "plain", "--count", 7, "--seed", 3, "--out", "made")
    assert "7 samples of" in (said := capsys.readouterr().out) and "at step 1, averaged (EMA), seed 3: made" in said
    names = sorted(path.name for path in Path("made").iterdir())
    assert names == [f"3_{i:06d}.png" for i in range(7)]
    sampler = gan_jax.load(runs / "plain")
    expected = to_uint8(np.asarray(sampler(*sampler.inputs(7, seed=3))))
    found = np.stack([np.asarray(Image.open(Path("made", name))) for name in names])
    np.testing.assert_array_equal(found, expected[..., 0])


@pytest.mark.parametrize("few, many", [(3, 20), (20, 501)])
def test_a_sample_is_the_same_whatever_the_count(runs, few, many):
    """Also beyond one call of the compiled program."""
    for count in (few, many):
        start(runs / "plain", "--count", count, "--out", f"{count}.npz")
    np.testing.assert_array_equal(np.load(f"{few}.npz")["images"], np.load(f"{many}.npz")["images"][:few])
    assert len(data.load(f"{many}.npz").images) == many


def test_classes(runs):
    """In turn, or one of them, from the same noise; what is written is read as data with classes."""
    start(runs / "classes", "--count", 20, "--out", "all.npz")
    found = data.load("all.npz")
    assert found.classes == 10 and found.labels.tolist() == [*range(10)] * 2
    start(runs / "classes", "--count", 20, "--label", 7, "--out", "seven.npz")
    seven = data.load("seven.npz")
    assert seven.class_names == ("7",)
    np.testing.assert_array_equal(seven.images[[7, 17]], found.images[[7, 17]])
    start(runs / "classes", "--count", 20, "--out", "folder")
    folder = data.load("folder")
    assert folder.class_names == tuple("0123456789") and len(folder.images) == 20
    np.testing.assert_array_equal(folder.images, found.images[np.argsort(found.labels, kind="stable")])


def test_points_are_arrays(runs):
    start(runs / "points", "--count", 5, "--out", "points.npz")
    assert np.load("points.npz")["images"].shape == (5, 2)


@pytest.mark.parametrize("limit", [0.3, 0.7, 2.0])
def test_truncated_noise_is_the_conditional_normal(limit):
    z = np.random.default_rng(0).standard_normal(20_000).astype(np.float32)
    cut = truncated(z, limit)
    assert cut.dtype == np.float32 and np.abs(cut).max() <= limit
    assert scipy.stats.kstest(cut, scipy.stats.truncnorm(-limit, limit).cdf).pvalue > 1e-3
    assert scipy.stats.kstest(z, "norm").pvalue > 1e-3  # which the sample was
    order = np.argsort(z[:1_000])
    assert (np.diff(cut[:1_000][order]) >= 0).all()


def test_truncation_is_of_the_noise(runs):
    for flags in (
        ["--out", "plain.npz"],
        ["--truncation", "0.1", "--out", "cut.npz"],
        ["--truncation", "9", "--out", "far.npz"],
    ):
        start(runs / "plain", "--count", 40, *flags)
    plain, cut, far = (np.float64(np.load(f"{name}.npz")["images"]) for name in ("plain", "cut", "far"))
    assert cut.std(0).mean() < 0.2 * plain.std(0).mean()
    assert np.abs(far - plain).max() <= 1  # a level, by the rounding of the quantiles


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["plain"], "name a run and where its samples go"),
        (["plain", "--out", "made", "--count", "0"], "--count 0"),
        (["plain", "--out", "made", "--seed", "4294967296"], "a seed below"),
        (["plain", "--out", "made", "--label", "7"], "is not conditional: leave it out"),
        (["classes", "--out", "made", "--label", "cat"], "--label cat: the classes are 0, 1, 2"),
        (["points", "--out", "made"], r"samples of shape \[2\] are no pictures: name an .npz file"),
        (["plain", "--out", "there"], "--out there exists: name a new folder"),
        (["plain", "--out", "there.npz"], "--out there.npz exists"),
    ],
)
def test_refusals(runs, flags, text):
    Path("there").mkdir()
    Path("there/mine.txt").write_text("mine")
    Path("there.npz").write_text("mine")
    with pytest.raises(UserError, match=text):
        start(runs / flags[0], *flags[1:])
    assert Path("there/mine.txt").read_text() == "mine" == Path("there.npz").read_text() and not Path("made").exists()


def test_a_translator_is_not_sampled():
    cyclegan_digits.main(
        cyclegan_digits.Config(workdir="run", data="digits", steps=1, batch_size=4, width=4, devices=1)
    )
    for out in ("made", "made.npz"):
        with pytest.raises(UserError, match="is given a, not noise"):
            start("run", "--out", out)
    assert [path.name for path in Path(".").iterdir()] == ["run"]


def test_a_run_that_measures_nothing(runs):
    """--features none: for few images, and where no time is for it."""
    assert "eval/" not in (runs / "plain/metrics.jsonl").read_text()
    np.savez("few.npz", images=np.random.default_rng(0).integers(0, 256, (5, 8, 8), np.uint8))
    config = dcgan_digits.Config(
        workdir="run", data="few.npz", features="none", steps=1, batch_size=4, width=4, devices=1
    )
    dcgan_digits.main(config)
    with pytest.raises(UserError, match="frechet_pixels: the experiment measures"):
        dcgan_digits.main(dcgan_digits.Config(workdir="other", features="none", best="frechet_pixels"))


def test_flags_of_another_run(runs, capsys):
    flags = ["--config", f"{runs}/points/config.json", "--batch-size", "16", "--workdir", "again"]
    cli.run_in_process(gan_ring.main, gan_ring.Config, flags)
    kept = gan_jax.load("again").config
    assert (kept["width"], kept["gen_blocks"], kept["steps"], kept["batch_size"]) == (4, 1, 1, 16)
    for words, text in (
        (["--config"], "--config needs a file"),
        (["--config=nowhere.json"], "--config nowhere.json is not the config.json of a run"),
        ([f"--config={runs}/plain/config.json"], "is of experiments.dcgan_digits, and this is experiments.gan_ring"),
    ):
        with pytest.raises(SystemExit) as exit_:
            cli.run_in_process(gan_ring.main, gan_ring.Config, words)
        assert exit_.value.code == 2 and text in capsys.readouterr().err

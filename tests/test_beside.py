"""What stands beside a run's samples: real images in the same layout, and the nearest real neighbours of samples."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from experiments import cgan_mnist, dcgan_digits, gan_ring
from gan_jax import data
from gan_jax.data.stacked import triples
from gan_jax.data.validate import image_set
from gan_jax.training import Recipe, Setup, beside
from gan_jax.types import Source
from gan_jax.workdir import pictures


def some(count=300, shape=(8, 8, 1), seed=0, labels=True):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, *shape), np.uint8)
    return image_set(images, np.arange(count) % 10 if labels else None, "some")


def read(png):
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture), picture.info.get("Description", "")


@pytest.mark.parametrize("labels", [True, False])
def test_examples_are_the_set_itself(labels):
    """In its own order, also with flips, which are of the batches."""
    images = some(labels=labels)
    which = np.array([5, 0, 299])
    batch = data.source(images, 16, 0, flip=True).examples(which)
    np.testing.assert_array_equal(batch["image"], images.scaled(which))
    assert (list(batch["label"]) == [5, 0, 9]) if labels else [*batch] == ["image"]


def test_examples_of_stacked_digits():
    digits = some(labels=True)
    batch = data.stacked(digits, 16, 0, count=50).examples(np.array([3, 49]))
    chosen = triples(300, 50)[[3, 49]]
    for image, label, indices in zip(batch["image"], batch["label"], chosen, strict=True):
        np.testing.assert_array_equal(image, np.concatenate(list(digits.scaled(indices)), -1))
        assert label == int("".join(str(i % 10) for i in indices))


def test_real_images_have_the_classes_of_the_samples():
    """Each image once, as long as there are enough of its class."""
    images = some()
    setup, seen = Setup(data.source(images, 16, 0), shown=20), []

    def show(samples, batch):
        seen.append((samples, batch))
        return {"png": b"x"}

    known = {"label": np.arange(20) % 10}
    assert beside.real(Recipe(None, None, None, show=show), setup, known, labels=True) == {"png": b"x"}
    (shown, batch), every = seen[0], images.scaled()
    places = [int(np.flatnonzero((every == one).all((1, 2, 3)))[0]) for one in shown]
    assert [place % 10 for place in places] == batch["label"].tolist() and len({*places}) == 20


def test_a_source_without_examples_has_nothing_beside():
    setup = Setup(data.ring(16, 0), shown=20)
    assert beside.real(Recipe(None, None, None), setup, {}, labels=False) == {}
    assert beside.nearest(np.zeros((20, 2)), setup.source) == b""


@pytest.mark.parametrize("part", [7, 2_000])
@pytest.mark.parametrize("count", [2, 40, 300])
def test_nearest_real_images(monkeypatch, count, part):
    """Against distances of every pair, whatever the parts; the rows of the picture are samples, then their neighbours."""
    monkeypatch.setattr(beside, "PART", part)
    images = some(count)
    samples = some(20, seed=1).scaled()
    pixels, text = read(beside.nearest(samples, data.source(images, 2, 0)))
    real = images.scaled()
    away = np.sqrt(((samples[:16, None] - real[None]) ** 2).sum((2, 3, 4), dtype=np.float64))
    kept = min(beside.NEAREST, count)
    order = np.argsort(away, 1)[:, :kept]
    blocks = []
    for start in (0, 8):
        below = np.concatenate([real[order[start : start + 8, i]] for i in range(kept)])
        for part_of, gap in ((samples[start : start + 8], 4), (below, 18)):
            sheet = pictures.grid(part_of, 8)[..., 0]
            blocks.append(np.pad(sheet, ((0, gap), (0, 0)), constant_values=255))
    np.testing.assert_array_equal(pixels, np.concatenate(blocks))
    others = np.sqrt(((real[:, None] - real[None]) ** 2).sum((2, 3, 4), dtype=np.float64))
    np.fill_diagonal(others, np.inf)
    looked = np.linspace(0, count - 1, min(count, 16)).astype(int)
    expected = [np.median(away.min(1)), np.median(others[looked].min(1))]
    found = [float(x) for x in re.findall(r"[:e] ([\d.]+) (?:\(median\)|from)", text)]
    np.testing.assert_allclose(found, expected, rtol=6e-3)  # three digits
    assert f"its nearest of {count:,} real images" in text


def test_copies_are_seen():
    images = some()
    _, text = read(beside.nearest(images.scaled(np.arange(30, 50)), data.source(images, 16, 0)))
    assert "pixels in [-1, 1]: 0 (median)" in text


def test_only_a_part_of_a_large_set_is_searched(monkeypatch):
    monkeypatch.setattr(beside, "SEARCHED", 100)
    asked = []
    images = some()

    def examples(which):
        asked.extend(which)
        return {"image": images.scaled(which)}

    source = data.source(images, 16, 0)
    source = Source(**{**vars(source), "examples": examples})
    assert "nearest of 100 real images" in read(beside.nearest(some(4, seed=1).scaled(), source))[1]
    assert len({*asked}) <= 100


@pytest.mark.parametrize("shape", [(9, 8, 1), (8, 8, 3)])
def test_samples_of_other_shapes_have_no_neighbours(shape):
    assert beside.nearest(some(20, shape).scaled(), data.source(some(), 16, 0)) == b""


def test_a_run_writes_both(tmp_path):
    """Once, and in the order of its classes; a run of points has neither."""
    common = {"steps": 2, "batch_size": 8, "width": 4, "devices": 1, "features": "none"}
    dcgan_digits.main(dcgan_digits.Config(workdir=str(tmp_path / "a"), **common))
    first = (tmp_path / "a" / "real.png").read_bytes()
    assert read((tmp_path / "a" / "neighbours.png").read_bytes())[1].startswith("In each block")
    assert read(first)[0].shape == read((tmp_path / "a" / "samples" / "00000002.png").read_bytes())[0].shape
    text = (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
    assert text.count("<figcaption>real images") == 1 and "its nearest of 1,797 real images" in text
    dcgan_digits.main(dcgan_digits.Config(workdir=str(tmp_path / "a"), **{**common, "steps": 4}))
    assert (tmp_path / "a" / "real.png").read_bytes() == first
    cgan_mnist.main(cgan_mnist.Config(workdir=str(tmp_path / "c"), data="digits", **common))
    assert read((tmp_path / "c" / "real.png").read_bytes())[0].shape[0] > 40
    config = {key: value for key, value in common.items() if key != "features"}
    gan_ring.main(gan_ring.Config(workdir=str(tmp_path / "r"), gen_blocks=1, disc_blocks=1, **config))
    assert not [*(tmp_path / "r").glob("real*")] and not (tmp_path / "r" / "neighbours.png").exists()


def test_large_images_are_searched_a_few_at_a_time(monkeypatch):
    """However large they are, so that the search takes no more memory."""
    monkeypatch.setattr(beside, "VALUES", 1_000)
    asked, images = [], some(200)

    def examples(which):
        asked.append(len(which))
        return {"image": images.scaled(which)}

    source = Source(**{**vars(data.source(images, 16, 0)), "examples": examples})
    beside.nearest(some(4, seed=1).scaled(), source)
    assert max(asked) <= max(15, 8 * beside.NEAREST)  # 1,000 values of 64, and the neighbours that are drawn


@pytest.mark.parametrize("error", [OSError("gone"), ValueError("odd"), MemoryError()])
def test_a_search_that_fails_costs_no_result(tmp_path, capfd, monkeypatch, error):
    """And no picture of an earlier step is left in its place."""
    common = {"workdir": "run", "batch_size": 8, "width": 2, "devices": 1, "features": "none"}
    dcgan_digits.main(dcgan_digits.Config(steps=1, **common))
    assert (tmp_path / "run" / "neighbours.png").exists()

    def fails(*_):
        raise error

    monkeypatch.setattr(beside, "nearest", fails)
    dcgan_digits.main(dcgan_digits.Config(steps=2, **common))
    assert "warning: the nearest real images are not shown" in capfd.readouterr().err
    assert (tmp_path / "run" / "result.json").exists() and not (tmp_path / "run" / "neighbours.png").exists()
    assert "Nearest real images" not in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_a_write_that_was_cut_off_is_made_up_for(tmp_path):
    common = {"workdir": "run", "batch_size": 8, "width": 2, "devices": 1, "features": "none"}
    dcgan_digits.main(dcgan_digits.Config(steps=1, **common))
    (tmp_path / "run" / "real.png").rename(tmp_path / "run" / "real.part")
    dcgan_digits.main(dcgan_digits.Config(steps=2, **common))
    assert (tmp_path / "run" / "real.png").exists()


def test_a_show_that_takes_no_real_images_ends_no_run(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(beside, "real", lambda *_: 1 / 0)
    config = dcgan_digits.Config(workdir="run", steps=1, batch_size=8, width=2, devices=1, features="none")
    dcgan_digits.main(config)
    assert "warning: real images are not shown: ZeroDivisionError" in capfd.readouterr().err
    assert (tmp_path / "run" / "result.json").exists() and not [*(tmp_path / "run").glob("real*")]

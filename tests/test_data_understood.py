"""What is read of files whose meaning must be guessed, what is said of it, and what is refused as doubtful."""

import os

import numpy as np
import pytest
from PIL import Image

from gan_jax import data
from gan_jax.data import folders
from gan_jax.data.validate import image_set
from gan_jax.training import greeting
from gan_jax.types import UserError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (40, 8, 8), np.uint8)
LABELS = np.arange(40) % 2


@pytest.mark.parametrize("labels, names", [(LABELS + 1, ("1", "2")), (LABELS * 9, ("0", "9"))])
def test_classes_are_those_that_occur(labels, names):
    """Numbered from 0 with their numbers as names; the images and labels of a run are then those of labels from 0."""
    plain, found = image_set(GREY, LABELS, "set"), image_set(GREY, labels, "set")
    assert found.classes == 2 and found.names == names and found.class_names == names
    np.testing.assert_array_equal(found.labels, plain.labels)
    assert found.digest == plain.digest and plain.names == () and plain.class_names == ("0", "1")


def test_declared_names_of_classes_that_no_image_has_are_left_out():
    found = image_set(GREY, LABELS * 2, "set", names=("cat", "dog", "eel"))
    assert found.classes == 2 and found.names == ("cat", "eel") and found.labels.max() == 1


@pytest.mark.parametrize(
    "low, high, text",
    [
        (-0.004, 0.96, r"values from -0.004 to 0.96 are in \[-1, 1\], or in \[0, 1\] but for some"),
        (-0.4, 1.0, r"store np.clip\(images, 0, 1\) where 0 is black, uint8 in 0..255 where -1 is"),
        (0.0, 1.001, "values from 0 to 1.001: floats must be in"),
    ],
)
def test_a_doubtful_range_is_refused(low, high, text):
    images = np.full((4, 8, 8), 0.5, np.float32)
    images[0, 0, 0], images[1, 0, 0] = low, high
    with pytest.raises(UserError, match=text):
        image_set(images, None, "set")


@pytest.mark.parametrize(
    "low, high, expected", [(-1e-7, 1 + 1e-7, (-1, 1)), (0, 0.5, (-1, 0)), (-0.6, 0.2, (-0.6, 0.2))]
)
def test_a_range_that_is_clear_is_read(low, high, expected):
    images = np.full((4, 8, 8), (low + high) / 2)
    images[0, 0, 0], images[1, 0, 0] = low, high
    found = image_set(images, None, "set").images
    np.testing.assert_allclose([found.min(), found.max()], expected, atol=1e-7)


def test_one_decision_for_all_splits(tmp_path):
    """A test split without a negative value is read as its training images are."""
    train = np.linspace(-1, 1, 4 * 64).reshape(4, 8, 8)
    np.savez(tmp_path / "f.npz", x_train=train, x_test=train[3:])
    found = data.load(str(tmp_path / "f.npz"), "test").images
    np.testing.assert_allclose(found[..., 0], train[3:], atol=1e-7)


@pytest.mark.parametrize(
    "shape, text",
    [
        ((64, 4, 16, 16), r"64 images of 4x16 with 16 channels.*store images.transpose\(0, 2, 3, 1\)"),
        ((64, 2, 16, 16), r"transpose\(0, 2, 3, 1\)"),
        (
            (32, 32, 3, 500),
            r"with 500 channels, and at most 4 are taken: they come last: store images.transpose\(3, 0, 1, 2\)",
        ),
        ((64, 16, 16, 5), r"at most 4 are taken: store \[n h w c\]"),
        ((256, 200, 3), r"is one image \[h w c\], or 256 images of 200x3: store images\[None\]"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_axes_in_another_order_are_refused(tmp_path, shape, text, stream):
    np.save(tmp_path / "x.npy", np.zeros(shape, np.uint8))
    with pytest.raises(UserError, match=text):
        data.load(str(tmp_path / "x.npy"), stream=stream)


def test_a_stack_that_may_lie_on_its_side_is_said(tmp_path):
    np.save(tmp_path / "x.npy", RNG.integers(0, 256, (16, 16, 64), np.uint8))
    lines = greeting.told(data.load(str(tmp_path / "x.npy")).facts)
    assert "read as 16 images of 16x64; for 64 images of 16x16 store images.transpose(2, 0, 1)" in lines


@pytest.mark.parametrize(
    "content",
    [
        {"images": GREY, "y": LABELS},
        {"x_train": GREY, "labels": LABELS, "x_test": GREY, "y_test": LABELS},
        {"arr_0": GREY, "arr_1": LABELS[:, None]},
        {"data": GREY, "targets": LABELS, "weights": LABELS / 2},
    ],
)
def test_labels_by_another_name_are_found(tmp_path, content):
    np.savez(tmp_path / "x.npz", **content)
    found = data.load(str(tmp_path / "x.npz"))
    np.testing.assert_array_equal(found.labels, LABELS)
    assert "with the labels" in found.facts["arrays"] and "2 classes: 0 20, 1 20" in greeting.told(found.facts)[0]


def test_two_arrays_that_may_be_labels_are_named(tmp_path):
    np.savez(tmp_path / "x.npz", images=GREY, age=LABELS, kind=LABELS)
    with pytest.raises(
        UserError, match="age and kind could be the labels of images, 40 whole numbers each: name them labels"
    ):
        data.load(str(tmp_path / "x.npz"))


@pytest.mark.parametrize("how", ["npy", "folder"])
@pytest.mark.parametrize("largest", [1, 15])
def test_nearly_black_levels_are_warned_of(tmp_path, how, largest):
    masks = (GREY % (largest + 1)).astype(np.uint8)
    np.save(tmp_path / "x.npy", masks)
    (tmp_path / "x").mkdir()
    for i, one in enumerate(masks):
        Image.fromarray(one).save(tmp_path / "x" / f"{i:02}.png")
    for stream in (False, True):
        facts = data.load(str(tmp_path / ("x.npy" if how == "npy" else "x")), stream=stream).facts
        assert f"warning: no value is above {largest} of 255" in greeting.told(facts)[-1]


def test_files_that_are_passed_over_are_counted(tmp_path):
    """Pictures by any of their suffixes are read, and what is none is counted, also a link to nothing."""
    for name, kind in (
        ("a.gif", "GIF"),
        ("b.jfif", "JPEG"),
        ("c.JPE", "JPEG"),
        ("d.bmp", "BMP"),
        ("e.tif", "TIFF"),
        ("f.png", "PNG"),
    ):
        Image.new("RGB", (8, 8), "red").save(tmp_path / name, format=kind)
    for name in ("notes.txt", "more.txt", "clip.mp4", ".hidden.png", "._f.png"):
        (tmp_path / name).write_bytes(b"")
    os.symlink("nowhere", tmp_path / "gone")
    found = data.load(str(tmp_path))
    assert len(found.images) == 6
    assert found.facts["left_out"] == {".mp4": 1, "gone (a link to nothing)": 1, ".txt": 2}
    assert "left out: .mp4 1, gone (a link to nothing) 1, .txt 2" in greeting.told(found.facts)


def test_a_class_that_is_a_link_to_nothing_is_named(tmp_path):
    (tmp_path / "a").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "a" / "0.png")
    os.symlink("not_mounted", tmp_path / "b")
    facts = data.load(str(tmp_path)).facts
    assert facts["classes"] == {"a": 1} and facts["left_out"] == {"b (a link to nothing)": 1}


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_a_bare_word_is_a_set_and_a_folder_has_its_dot(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()
    for i in range(3):
        Image.new("L", (28, 28), 8 * i).save(tmp_path / name / f"{i}.png")
    assert data.load(f"./{name}").facts["folder"] == str(tmp_path / name) and data.is_name(name)
    if name == "digits":
        found = data.load(name)
        assert len(found.images) == 1797
        assert "read as the set of that name; what lies here is ./digits" in greeting.told(found.facts)


def test_a_folder_of_another_name_needs_no_dot(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "food101").mkdir()  # which TFDS knows, and nobody has prepared
    Image.new("L", (8, 8)).save(tmp_path / "food101" / "0.png")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    assert len(data.load("food101").images) == 1


def test_a_picture_that_is_too_large_is_no_damage(tmp_path, monkeypatch):
    Image.new("L", (100, 100)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4_000)
    with pytest.raises(
        UserError, match="a.png has more than 8,000 pixels, which is too large to be opened: make it smaller"
    ):
        folders.read(tmp_path, size=8)


def test_a_fault_in_one_split_does_not_change_how_another_is_read(tmp_path):
    train, test = np.linspace(0, 1, 4 * 64).reshape(4, 8, 8), np.full((2, 8, 8), 0.5)
    test[0, 0, 0] = np.nan
    np.savez(tmp_path / "f.npz", x_train=train, x_test=test)
    np.testing.assert_allclose(data.load(str(tmp_path / "f.npz")).images[..., 0], 2 * train - 1, atol=1e-6)


@pytest.mark.parametrize(
    ("facts", "lines"),
    [
        ({}, []),
        ({"left_out": {".txt": 1}}, ["left out: .txt 1"]),  # of a reader that is called by itself
        ({"arrays": "x_train"}, ["arrays x_train"]),
        (
            {"sources": {"a": {"arrays": "x"}, "b": {"left_out": {"folder": 2}}}},
            ["a: arrays x", "b: left out: folder 2"],
        ),
    ],
)
def test_any_facts_can_be_told(facts, lines):
    assert greeting.told(facts) == lines and list(greeting.folders(facts)) == []


def test_a_class_may_be_called_as_a_fact(tmp_path):
    for name in ("folder", "values", "sources"):
        (tmp_path / name).mkdir()
        Image.new("L", (8, 8), 99).save(tmp_path / name / "0.png")
    facts = data.load(str(tmp_path)).facts
    assert greeting.told(facts) == ["values 99 to 99 of 255; 3 classes: folder 1, sources 1, values 1"]
    assert list(greeting.folders(facts)) == [tmp_path]


def test_a_file_that_is_called_as_a_set_is_not_the_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").write_text("notes")
    assert len(data.load("digits").images) == 1797
    with pytest.raises(UserError, match=r"./digits: neither .npz nor .npy nor a folder"):
        data.load("./digits")

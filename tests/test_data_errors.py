"""What a user reads whose data cannot be used: the values, and the mend."""

import sys

import numpy as np
import pytest
from PIL import Image

from gan_jax import data
from gan_jax.data import arrays, digits, folders
from gan_jax.data.validate import image_set
from gan_jax.types import UserError

UINT8 = np.random.default_rng(0).integers(0, 256, (10, 6, 5, 3), np.uint8)
NAN = np.zeros((4, 2, 2, 1), np.float32)
NAN[1, 0, 1, 0] = np.nan
NAN[3] = np.inf


@pytest.mark.parametrize(
    "images, labels, text",
    [
        (UINT8[0, 0], None, r"set: images must be \[n h w c\] or \[n h w\], and these are \[5, 3\]"),
        (UINT8[None], None, r"these are \[1, 10, 6, 5, 3\]"),
        (UINT8[:0], None, r"no images: the shape is \[0, 6, 5, 3\]"),
        (UINT8[:, :0], None, "no images"),
        (UINT8.transpose(0, 3, 1, 2), None, r"channels first: store images.transpose\(0, 2, 3, 1\)"),
        (UINT8.astype(np.int32), None, "images are int32: store uint8 in 0..255, or float32"),
        (UINT8 > 9, None, "images are bool"),
        (UINT8.astype(np.float32), None, r"values from 0 to 255: floats must be in \[0, 1\] or \[-1, 1\]"),
        (UINT8 / 100 - 1.5, None, "values from -1.5 to 1.0"),
        (NAN, None, r"5 values are NaN or infinite, the first at index \(1, 0, 1, 0\)"),
        (UINT8, np.zeros(9, int), r"10 images need 10 labels, and the labels are \[9\]"),
        (UINT8, np.eye(10), r"labels are \[10, 10\]: if they are one-hot, store labels.argmax\(1\)"),
        (UINT8, np.zeros(10), "labels are float64: store integers"),
        (UINT8, np.arange(10) - 1, "labels from -1 to 8: they must count from 0"),
        (UINT8, np.arange(10) * 1000, "labels from 0 to 9000 for 10 images: number the classes from 0"),
    ],
)
def test_images(images, labels, text):
    with pytest.raises(UserError, match=text):
        image_set(images, labels, "set")


def test_labels_beyond_the_classes():
    with pytest.raises(UserError, match=r"labels from 0 to 9, but there are 5 classes: they must be in 0..4"):
        image_set(UINT8, np.arange(10), "set", 5)


@pytest.mark.parametrize(
    "content, split, text",
    [
        (
            {"a": UINT8, "b": UINT8},
            "train",
            "no images for train: expected x_train or images or image or x, found a, b; rename",
        ),
        ({"a": UINT8[0, 0]}, "train", "found a;"),
        ({}, "train", "found nothing"),
        ({"x_test": UINT8}, "train", "found x_test"),
        ({"images": UINT8}, "test", "no images for test: expected x_test, found images"),
        ({"images": UINT8}, "valid", "no split 'valid': an .npz has train .* and test"),
        ({"x_train": np.array([None, 1])}, "train", "holds Python objects"),
        ({"x_train": UINT8.astype(float)}, "train", "set.npz: values from 0 to 255"),
    ],
)
def test_npz(tmp_path, content, split, text):
    np.savez(tmp_path / "set.npz", **content)
    with pytest.raises(UserError, match=text):
        arrays.read(tmp_path / "set.npz", split)


@pytest.mark.parametrize("cut", [0, 4, 100, 500, -1])
@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_cut_files(tmp_path, suffix, cut):
    path = tmp_path / f"set.{suffix}"
    np.savez_compressed(path, x_train=UINT8) if suffix == "npz" else np.save(path, UINT8)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match="damaged|no NumPy file"):
        arrays.read(path)


def test_npz_with_a_damaged_member(tmp_path):
    np.savez_compressed(tmp_path / "set.npz", x_train=UINT8)
    content = bytearray((tmp_path / "set.npz").read_bytes())
    content[300:320] = bytes(20)
    (tmp_path / "set.npz").write_bytes(content)
    with pytest.raises(UserError, match="damaged"):
        arrays.read(tmp_path / "set.npz")


def test_npy_has_one_split(tmp_path, monkeypatch):
    np.save(tmp_path / "set.npy", UINT8)
    monkeypatch.setattr(np, "load", None)  # which of a large one would take long
    with pytest.raises(UserError, match="an .npy has no split 'test'"):
        arrays.read(tmp_path / "set.npy", "test")


def test_npy_of_objects(tmp_path):
    np.save(tmp_path / "set.npy", np.array([None]), allow_pickle=True)
    with pytest.raises(UserError, match="Python objects"):
        arrays.read(tmp_path / "set.npy")


@pytest.mark.parametrize(
    "files, options, text",
    [
        ({}, {}, r"no images: it is empty; \.png, \.jpg, .* are read"),
        ({"a.mp4": b"", "b.txt": b"", "c.MP4": b""}, {}, "no images: only .mp4, .txt files"),
        ({"a.png": (4, 4), "b.png": (4, 8)}, {}, r"several sizes: .*a.png is 4x4, .*b.png is 8x4; .*--size 4"),
        ({"b.png": (4, 4), "cat/a.png": (4, 4)}, {}, r"holds images \(b.png\) and sub-folders \(cat\)"),
        ({"cat/a.png": (4, 4), "dog/x.txt": b""}, {}, "class dog has no images: only .txt files"),
        ({"train/cat/a.png": (4, 4)}, {}, "one level of sub-folders, and train holds cat: perhaps you mean .*train"),
        ({"a.png": (4, 4), "b.png": b"no image", "c.jpg": b""}, {}, "2 of 3 images are damaged, the first .*b.png"),
        ({"a.png": (4, 4)}, {"size": 0}, "size 0: 1 pixel or more"),
        ({"a.png": (4, 4)}, {"fit": "squash"}, "fit 'squash': crop, stretch or pad"),
        ({"a.png": (4, 4)}, {"channels": 4}, "channels 4: 1 or 3"),
    ],
)
def test_folders(tmp_path, files, options, text):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            (tmp_path / name).write_bytes(content)
        else:
            Image.fromarray(np.zeros(content, np.uint8)).save(tmp_path / name)
    with pytest.raises(UserError, match=text):
        folders.read(tmp_path, **options)


@pytest.mark.parametrize("kept", [0.3, 0.9])
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_cut_images(tmp_path, suffix, kept):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(UserError, match=f"1 of 1 images are damaged, the first .*a.{suffix}"):
        folders.read(tmp_path)


@pytest.mark.parametrize(
    "data_flag, options, text",
    [
        ("", {}, "--data is empty"),
        ("faces.npz", {}, r"faces.npz: no such file \(/.*faces.npz\)"),
        ("./faces", {}, r"./faces: no such file or folder \(/.*faces\)"),
        ("some/faces", {}, r"some/faces: no such file or folder \(/.*some/faces\)"),
        ("/a/b/c", {}, "/a/b/c: no such file or folder"),
        ("faces.zip", {}, "faces.zip: no such file or folder"),
        ("there.zip", {}, "there.zip: neither .npz nor .npy nor a folder: unpack it"),
        ("folder", {"split": "test"}, "a folder of images has no split 'test'"),
        ("digits", {"split": "test"}, "digits has no split 'test'"),
        ("digits", {"size": 32}, "digits: --size 32, but its images are 8x8, and only folders of images are resized"),
        ("mnits", {}, "did you mean mnist"),
        ("mnits:3.0.1", {}, "did you mean mnist"),
        ("cifar10_corrupted/fog_1", {}, "cifar10_corrupted/fog_1 is not prepared in .*tfds build"),
    ],
)
def test_load(tmp_path, monkeypatch, data_flag, options, text):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    (tmp_path / "there.zip").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=text):
        data.load(data_flag, **options)


@pytest.mark.parametrize(
    "make, text",
    [
        (
            lambda images: data.source(images, 256, seed=0),
            "a round takes 256 images .* but small has only 10: lower --batch-size",
        ),
        (lambda images: data.source(images, 0, seed=0), "batch of 0 rows: --batch-size 1 or more"),
        (lambda images: data.ring(0, seed=0), "batch of 0 rows"),
        (lambda images: data.ring(8, seed=0, modes=0), "a ring of 0 modes: 1 or more"),
        (lambda images: data.grid(8, seed=0, side=0), "a grid of side 0: 1 or more"),
    ],
)
def test_sources(make, text):
    with pytest.raises(UserError, match=text):
        make(image_set(UINT8, None, "small"))


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(UserError, match="pip install scikit-learn"):
        digits.read()

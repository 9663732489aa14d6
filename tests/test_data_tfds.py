"""TFDS sets without TensorFlow: prepared ones read, and three prepared from their original files. Everything is tiny
and local.
"""

import gzip
import io
import json
import os
import shutil
import sys
import tarfile
import threading
import urllib.request

import numpy as np
import pytest
import tensorflow_datasets as tfds_package
from PIL import Image

import gan_jax.data.tfds_prepare
from gan_jax import data
from gan_jax.data import tfds
from gan_jax.data.tfds_prepare import find
from gan_jax.types import UserError

RNG = np.random.default_rng(0)
SPLITS = {"train": 30, "test": 10}
SHAPES = {"mnist": (28, 28), "fashion_mnist": (28, 28), "cifar10": (32, 32, 3)}
ORIGINALS = {
    name: {s: (RNG.integers(0, 256, (n, *shape), np.uint8), np.arange(n) % 10) for s, n in SPLITS.items()}
    for name, shape in SHAPES.items()
}


def seen(spec):
    """What networks have to know."""
    return spec.shape, spec.classes


def idx(array):
    return gzip.compress(
        bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">i4").tobytes() + array.astype(np.uint8).tobytes(),
        mtime=0,  # the tests' names hold the bytes, and must be the same in every process
    )


def put_originals(name, root):
    """The downloads that the set is prepared from, in miniature, where the message says they belong."""
    folder = root / "downloads" / name
    folder.mkdir(parents=True)
    if name != "cifar10":
        for split, prefix in (("train", "train"), ("test", "t10k")):
            images, labels = ORIGINALS[name][split]
            (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(idx(images))
            (folder / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(idx(labels))
        return
    files = {"batches.meta.txt": "\n".join(f"class{i}" for i in range(10)).encode() + b"\n\n"}
    for split, names in (("train", [f"data_batch_{i}.bin" for i in range(1, 6)]), ("test", ["test_batch.bin"])):
        images, labels = ORIGINALS[name][split]
        rows = np.concatenate(
            [labels[:, None].astype(np.uint8), images.transpose(0, 3, 1, 2).reshape(len(images), -1)], axis=1
        )
        files |= {file: part.tobytes() for file, part in zip(names, np.split(rows, len(names)), strict=True)}
    with tarfile.open(folder / "cifar-10-binary.tar.gz", "w:gz") as tar:
        for file, content in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{file}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A TFDS directory with the originals of all three."""
    root = tmp_path_factory.mktemp("tfds")
    for name in SHAPES:
        put_originals(name, root)
    return root


@pytest.fixture(scope="module")
def custom(tmp_path_factory):
    """A TFDS directory with sets made of whatever features: name -> features, and a function that makes example i."""
    features = tfds_package.features
    picture = Image.fromarray(np.full((4, 4, 3), 9, np.uint8))
    kinds = {
        "plain": ({"image": features.Image(shape=(4, 4, 3))}, lambda i: {"image": picture}),
        "counted": (
            {"image": features.Image(shape=(4, 4, 3)), "label": features.Scalar(np.int64)},
            lambda i: {"image": picture, "label": i % 3},
        ),
        "floats": (
            {"image": features.Tensor(shape=(4, 4, 1), dtype=np.float32)},
            lambda i: {"image": np.full((4, 4, 1), i / 8, np.float32)},
        ),
        "ragged": ({"image": features.Image(shape=(None, None, 3))}, lambda i: {"image": picture}),
        "words": ({"text": features.Text()}, lambda i: {"text": "word"}),
    }
    root = tmp_path_factory.mktemp("custom")
    for name, (columns, example) in kinds.items():

        def info(self, columns=columns):
            return tfds_package.core.DatasetInfo(builder=self, features=features.FeaturesDict(columns))

        def generate(self, example=example):
            return ((i, example(i)) for i in range(8))

        methods = {
            "VERSION": tfds_package.core.Version("1.0.0"),
            "name": name,
            "_info": info,
            "_split_generators": lambda self, downloads: {"train": self._generate_examples()},
            "_generate_examples": generate,
        }
        with tfds_package.core.registered.skip_registration():
            builder = type(name, (tfds_package.core.GeneratorBasedBuilder,), methods)(
                data_dir=root, file_format="array_record"
            )
        builder.download_and_prepare()
    shutil.copytree(root / "plain", root / "records")  # as `tfds build` leaves it by default
    info = root / "records" / "1.0.0" / "dataset_info.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"fileFormat": "tfrecord", "name": "records"}))
    return root


@pytest.fixture
def no_network(monkeypatch):
    """A proxy that nobody listens at, which is refused at once: so proxies are honoured as well."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("split", SPLITS)
def test_prepared_from_the_originals(root, name, split, capfd, no_network):
    first = find(root / name) is None
    found = tfds.read(name, split, data_dir=root)
    out, err = capfd.readouterr()
    assert out == "" and (f"preparing {name} in {root} (once, about 10 s)" in err) == first

    images, labels = ORIGINALS[name][split]
    images = images.reshape(len(images), *found.spec.shape)
    assert found.images.dtype == np.uint8 and found.classes == 10
    label_of = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    assert {image.tobytes() for image in found.images} == set(label_of)
    np.testing.assert_array_equal(found.labels, [label_of[image.tobytes()] for image in found.images])


@pytest.mark.parametrize(
    "name, spec, dtype",
    [
        ("plain", ((4, 4, 3), 0), np.uint8),
        ("counted", ((4, 4, 3), 3), np.uint8),
        ("floats", ((4, 4, 1), 0), np.float32),
    ],
)
def test_other_prepared_sets(custom, name, spec, dtype):
    found = tfds.read(name, data_dir=custom)
    assert len(found.images) == 8 and seen(found.spec) == spec and found.images.dtype == dtype


@pytest.mark.parametrize("below", ["", "plain", "plain/1.0.0"])
def test_directories(custom, tmp_path, below, monkeypatch):
    shutil.copytree(custom / "plain", tmp_path / "plain")
    assert seen(data.load(str(tmp_path / below)).spec) == ((4, 4, 3), 0)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    for name in ("plain", "plain:1.0.0"):
        assert data.load(name, "train[:50%]").images.shape == (4, 4, 4, 3)


def test_the_newest_version_is_read(custom, tmp_path):
    for version in ("9.0.0", "10.0.0", "2.0.0"):
        shutil.copytree(custom / "plain" / "1.0.0", tmp_path / "plain" / version)
    assert find(tmp_path).name == "10.0.0"
    assert find(tmp_path, "9.0.0").name == "9.0.0"


def test_read_only(custom, tmp_path):
    """Nothing may be written beside what is read. Modes do not bind root, so look for what is new as well."""
    shutil.copytree(custom / "plain", tmp_path / "plain")
    before = sorted(tmp_path.rglob("*"))
    for path in before:
        os.chmod(path, 0o555 if path.is_dir() else 0o444)
    assert len(tfds.read("plain", data_dir=tmp_path).images) == 8
    assert sorted(tmp_path.rglob("*")) == before
    for path in before:
        os.chmod(path, 0o755)


def test_an_interrupted_preparation_leaves_nothing_to_read(tmp_path, monkeypatch):
    put_originals("mnist", tmp_path)
    made = []

    def interrupt(array):
        made.append(array)
        if len(made) > 35:  # train is done, test is not
            raise KeyboardInterrupt
        return Image.frombytes("L", (28, 28), array.tobytes())

    with monkeypatch.context() as patch:
        patch.setattr(Image, "fromarray", interrupt)
        with pytest.raises(KeyboardInterrupt):
            tfds.read("mnist", data_dir=tmp_path)
    assert find(tmp_path) is None
    assert len(tfds.read("mnist", data_dir=tmp_path).images) == 30


def test_a_killed_preparation_is_not_a_set(custom, tmp_path):
    shutil.copytree(custom / "plain" / "1.0.0", tmp_path / "plain" / "incomplete.ABCDEF_1.0.0")
    assert find(tmp_path) is None


def test_tensorflow_is_never_imported(root):
    assert "tensorflow" not in sys.modules


# ---- messages


@pytest.mark.parametrize(
    "name, split, text",
    [
        ("plain", "test", "plain: no split 'test': there are train, and parts"),
        ("plain", "train[:300%]", "there are train"),
        ("plain:2.0.0", "train", "no version 2.0.0 in .*plain, where the newest is 1.0.0"),
        ("ragged", "train", r"ragged: needs a feature image .* it has image \(None, None, 3\)"),
        ("words", "train", r"words: needs a feature image .* it has text \(\)"),
        (
            "records",
            "train",
            "prepared as tfrecord in .*records/1.0.0, and only array_record .*tfds build records --file_format=array_record",
        ),
        ("plein", "train", "'plein' is no file or folder here.*did you mean .*plain"),
        ("cifr10", "train", "did you mean cifar10"),
        ("zzzzqqqq", "train", "no TFDS name: see https"),
        (
            "cifar100",
            "train",
            "cifar100 is not prepared in .* needs TensorFlow.*tfds build cifar100 --file_format=array_record",
        ),
    ],
)
def test_messages_of_names(custom, name, split, text):
    with pytest.raises(UserError, match=text):
        tfds.read(name, split, data_dir=custom)


def test_message_of_several_sets(custom):
    with pytest.raises(UserError, match=r"several prepared sets: counted/1.0.0, floats/1.0.0, .*; name one"):
        data.load(str(custom))


def test_message_of_an_empty_directory(tmp_path):
    with pytest.raises(UserError, match="no prepared TFDS set"):
        tfds.read_directory(tmp_path)


@pytest.mark.parametrize("name, file", [("mnist", "train-images-idx3-ubyte.gz"), ("cifar10", "cifar-10-binary.tar.gz")])
def test_message_without_network(tmp_path, name, file, no_network):
    with pytest.raises(
        UserError,
        match=f"{name} is not prepared in .* cannot be reached .*TFDS_DATA_DIR=.*--data {name}.npz.*downloads/{name}/{file}",
    ):
        tfds.read(name, data_dir=tmp_path)
    assert not list(tmp_path.iterdir())


def test_only_the_missing_files_are_asked_for(tmp_path, no_network):
    put_originals("mnist", tmp_path)
    (tmp_path / "downloads/mnist/t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(UserError, match="files at [^,]*t10k-labels-idx1-ubyte.gz$"):
        tfds.read("mnist", data_dir=tmp_path)


def test_a_silent_network_does_not_hang(tmp_path, monkeypatch):
    monkeypatch.setattr(gan_jax.data.tfds_prepare, "WAIT", 0.1)
    monkeypatch.setattr(urllib.request, "urlopen", lambda *args, **kwargs: threading.Event().wait())
    with pytest.raises(UserError, match="no answer in 0.1 s"):
        tfds.read("mnist", data_dir=tmp_path)


@pytest.mark.parametrize(
    "name, file, content, text",
    [
        (
            "mnist",
            "train-images-idx3-ubyte.gz",
            b"no gzip",
            "train-images-idx3-ubyte.gz is damaged or cut short .*delete it",
        ),
        ("mnist", "train-images-idx3-ubyte.gz", idx(ORIGINALS["mnist"]["train"][0])[:-5000], "damaged or cut short"),
        ("mnist", "train-labels-idx1-ubyte.gz", idx(np.zeros((3, 2, 2))), "no IDX file of rank 1"),
        ("mnist", "train-labels-idx1-ubyte.gz", idx(np.zeros(29)), "has 30 images, and .* 29 labels"),
        ("mnist", "train-labels-idx1-ubyte.gz", idx(np.full(30, 11)), "preparing mnist in .* failed"),
        ("cifar10", "cifar-10-binary.tar.gz", b"no tar", "cifar-10-binary.tar.gz is damaged or cut short"),
    ],
)
def test_damaged_originals(tmp_path, name, file, content, text):
    put_originals(name, tmp_path)
    (tmp_path / "downloads" / name / file).write_bytes(content)
    with pytest.raises(UserError, match=text):
        tfds.read(name, data_dir=tmp_path)
    assert find(tmp_path) is None


def test_a_directory_that_cannot_be_written(tmp_path):
    put_originals("mnist", tmp_path)
    (tmp_path / "mnist").write_bytes(b"a file in the way")
    with pytest.raises(UserError, match="preparing mnist in .* failed: .*TFDS_DATA_DIR"):
        tfds.read("mnist", data_dir=tmp_path)


@pytest.mark.parametrize("cut", ["missing", "short"])
def test_damaged_records(custom, tmp_path, cut):
    shutil.copytree(custom / "plain", tmp_path / "plain")
    record = next(tmp_path.rglob("*array_record-*"))
    if cut == "missing":
        record.unlink()
    else:
        record.write_bytes(record.read_bytes()[: record.stat().st_size // 2])
    with pytest.raises(UserError, match="damaged or missing .*prepare it again"):
        tfds.read("plain", data_dir=tmp_path)


@pytest.mark.parametrize(
    "module", ["tensorflow_datasets", "array_record.python.array_record_module", "importlib_resources"]
)
def test_missing_packages(custom, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match="pip install tensorflow-datasets array_record importlib_resources"):
        tfds.read("plain", data_dir=custom)

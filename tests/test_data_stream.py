"""Sets that stay on disk: the same batches as from memory, to the bit, whether fetched or followed; and what cannot stay
there.
"""

import gc
import itertools
import os
import shutil
import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets as tfds_package
from PIL import Image

from gan_jax import data
from gan_jax.data import ondisk
from gan_jax.types import UserError

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (20, 6, 5, 3), np.uint8)
GREY = COLOUR[..., 0]
LABELS = np.arange(20) % 4
ROWS = 7  # two epochs of 20 are six batches, and the third spans both


def save(image, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)


def prepare(root, name, columns, examples):
    """A TFDS set, without TensorFlow."""
    features = tfds_package.features.FeaturesDict(columns)
    methods = {
        "VERSION": tfds_package.core.Version("1.0.0"),
        "name": name,
        "_info": lambda self: tfds_package.core.DatasetInfo(builder=self, features=features),
        "_split_generators": lambda self, downloads: {"train": self._generate_examples()},
        "_generate_examples": lambda self: iter(enumerate(examples)),
    }
    with tfds_package.core.registered.skip_registration():
        kind = type(name, (tfds_package.core.GeneratorBasedBuilder,), methods)
    kind(data_dir=root, file_format="array_record").download_and_prepare()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Every kind of set, by name."""
    root = tmp_path_factory.mktemp("sets")
    for i in range(20):
        save(COLOUR[i], root / "flat" / f"{i:02d}.{('png', 'webp')[i % 2]}", lossless=True)
        save(COLOUR[i], root / "classes" / f"class {LABELS[i]}" / f"{i:02d}.png")
        save(GREY[i] if i % 3 else COLOUR[i], root / "mixed" / f"{i:02d}.png")
        save(GREY[i], root / "grey" / f"{i:02d}.png")
        save(COLOUR[i, : 4 + i % 3], root / "sizes" / f"{i:02d}.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    for i in range(10):
        save(COLOUR[i], root / "turned" / f"{i:02d}.jpg", exif=exif)
        save(COLOUR[i].swapaxes(0, 1), root / "turned" / f"{i + 10:02d}.png")
    picture, label = tfds_package.features.Image(shape=(6, 5, 3)), tfds_package.features.ClassLabel(num_classes=4)
    examples = [
        {"image": Image.fromarray(image), "label": int(label)} for image, label in zip(COLOUR, LABELS, strict=True)
    ]
    two = [{"other": Image.fromarray(image), "image": Image.fromarray(image[:, ::-1])} for image in COLOUR]
    prepare(root, "small", {"image": picture, "label": label}, examples)
    prepare(root, "unlabelled", {"image": picture, "other": picture}, two)
    np.save(root / "colour.npy", COLOUR)
    np.save(root / "grey.npy", np.asfortranarray(GREY))
    return root


SETS = [
    ("flat", {}),
    ("classes", {}),
    ("mixed", {}),
    ("grey", {}),
    ("turned", {}),
    ("sizes", {"size": 4}),
    ("sizes", {"size": 9, "fit": "pad"}),
    ("mixed", {"size": 3, "fit": "stretch"}),
    ("small", {}),
    ("small", {"split": "train[25%:]+train[:15%]"}),
    ("unlabelled", {}),
    ("colour.npy", {}),
    ("grey.npy", {}),
]


def equal(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype
        np.testing.assert_array_equal(a[name], b[name])


def grain_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("grain")]


def end_of_threads():
    gc.collect()
    for _ in range(200):
        if not grain_threads():
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("name, options", SETS)
@pytest.mark.parametrize("flip", [False, True])
def test_batches_are_those_from_memory(root, name, options, flip):
    memory, disk = (data.load(str(root / name), **options, stream=stream) for stream in (False, True))
    assert isinstance(memory.images, np.ndarray) and not isinstance(disk.images, np.ndarray)
    assert (memory.spec, memory.name, memory.images.nbytes) == (disk.spec, disk.name, disk.images.nbytes)
    resident, streamed = (data.source(images, ROWS, seed=3, flip=flip) for images in (memory, disk))
    assert resident.resident and resident.follow is None and not streamed.resident
    for start, count in ((0, 6), (37, 3)):
        followed = streamed.follow(streamed.key, start)
        for step, fetched in zip(range(start, start + count), followed, strict=False):
            equal(fetched, streamed.fetch(streamed.key, step))
            equal(streamed.batch(fetched, streamed.key, jnp.asarray(step)), resident[step])
        followed.close()
    assert end_of_threads()


def test_part_of_the_rows_and_another_key(root):
    disk = data.source(data.load(str(root / "small"), stream=True), ROWS, seed=3)
    key, part = jax.random.key(9), slice(2, 5)
    for step, fetched in zip(range(4, 7), disk.follow(key, 4, part), strict=False):
        equal(fetched, {name: rows[part] for name, rows in disk.fetch(key, step).items()})
    assert end_of_threads()


def test_indexed_as_an_array(root):
    images = data.load(str(root / "flat"), stream=True).images
    assert (len(images), images.shape, images.ndim, images.dtype) == (20, (20, 6, 5, 3), 4, np.uint8)
    for index in (3, -1, np.int32(5), slice(None, None, -3), slice(8, 2), [4, -20, 4], np.array([], int), LABELS == 2):
        np.testing.assert_array_equal(images[index], COLOUR[index])
    for index in (20, [0, -21], 1.5, (0, 1, [2]), [[1]], LABELS[:5] == 2):
        with pytest.raises(IndexError):
            images[index]
    np.testing.assert_array_equal(list(images), COLOUR)  # and so an iteration ends


def test_a_large_set_stays_on_disk_by_itself(root, monkeypatch):
    """Just over the limit: grey is a third of what its size could mean, and is measured."""
    for name, on_disk in (("flat", True), ("classes", True), ("small", True), ("colour.npy", True), ("grey", False)):
        monkeypatch.setattr(ondisk.os, "sysconf", lambda name: {"SC_PAGE_SIZE": 1}.get(name, 2 * COLOUR.nbytes - 2))
        assert isinstance(data.load(str(root / name)).images, np.ndarray) != on_disk
        monkeypatch.setattr(ondisk.os, "sysconf", lambda name: {"SC_PAGE_SIZE": 1}.get(name, 2 * COLOUR.nbytes))
        assert isinstance(data.load(str(root / name)).images, np.ndarray)
    assert isinstance(data.load("digits", stream=True).images, np.ndarray)


def test_digests(root, tmp_path, monkeypatch):
    """The same for the same images wherever they lie, also in memory, and another for whatever gives other batches."""
    here = {str(case): data.load(str(root / case[0]), **case[1], stream=True).digest for case in SETS}
    assert here == {str(case): data.load(str(root / case[0]), **case[1]).digest for case in SETS}
    monkeypatch.setattr(ondisk, "PIXELS", 0)  # as of large sets, whose digests are of their files
    here = {str(case): data.load(str(root / case[0]), **case[1], stream=True).digest for case in SETS}
    assert here == {str(case): data.load(str(root / case[0]), **case[1]).digest for case in SETS}
    assert len(set(here.values())) == len(SETS)
    shutil.copytree(root, tmp_path / "copy", copy_function=shutil.copyfile)
    there = {str(case): data.load(str(tmp_path / "copy" / case[0]), **case[1], stream=True).digest for case in SETS}
    assert here == there and all(len(digest) == 16 and int(digest, 16) >= 0 for digest in here.values())

    known = {*here.values()}
    os.rename(tmp_path / "copy/flat/03.webp", tmp_path / "copy/flat/99.webp")
    known.add(data.load(str(tmp_path / "copy/flat"), stream=True).digest)
    changed = COLOUR.copy()
    changed[4, 2, 1, 0] ^= 1
    np.save(tmp_path / "copy/colour.npy", changed)
    known.add(data.load(str(tmp_path / "copy/colour.npy"), stream=True).digest)
    known.add(data.load(str(root / "small"), "train[:50%]", stream=True).digest)
    assert len(known) == len(SETS) + 3


# ---- the threads


@pytest.mark.parametrize("how", ["closed", "dropped", "never begun", "in the middle of a run", "raised"])
def test_threads_end(root, how, tmp_path):
    shutil.copytree(root / "flat", tmp_path / "flat")
    source = data.source(data.load(str(tmp_path / "flat"), stream=True), ROWS, seed=3)
    followed = source.follow(source.key, 0)
    if how == "never begun":
        assert not grain_threads()
    elif how == "raised":
        (tmp_path / "flat" / "02.png").unlink()
        with pytest.raises(UserError, match="02.png is damaged"):
            list(itertools.islice(followed, 3))
        assert list(followed) == []
    else:
        next(followed)
        assert grain_threads()
    if how == "closed":
        followed.close()
    if how == "in the middle of a run":
        source, followed = None, source.follow(source.key, 9)
        next(followed)
    del followed
    assert end_of_threads()


def test_the_last_step(root):
    """Steps are counted in 32 bits: there the iterator ends."""
    source = data.source(data.load(str(root / "small"), stream=True), ROWS, seed=3)
    assert len(list(source.follow(source.key, ondisk.STEPS - 3))) == 3
    assert end_of_threads()


def test_a_process_ends_while_it_reads_ahead(root):
    script = (
        "from gan_jax import data; import sys; s = data.source(data.load(sys.argv[1], stream=True), 7, seed=3);"
        "followed = s.follow(s.key, 0); next(followed); print('read')"
    )
    for name in ("flat", "small"):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", script, str(root / name)], capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stdout) == (0, "read\n") and "Traceback" not in done.stderr, done.stderr


# ---- messages


@pytest.mark.parametrize("kept", [0.5, 0.9])
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_an_image_that_is_damaged_behind_its_header(tmp_path, suffix, kept):
    for i in range(8):
        save(RNG.integers(0, 256, (64, 64, 3), np.uint8), tmp_path / f"{i}.{suffix}")
    path = tmp_path / f"5.{suffix}"
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(UserError, match=rf"5.{suffix}.*: replace or delete"):
        source = data.source(data.load(str(tmp_path), stream=True), 4, seed=0)
        list(itertools.islice(source.follow(source.key, 0), 2))
    assert end_of_threads()


def test_an_image_that_has_changed(root, tmp_path):
    shutil.copytree(root / "flat", tmp_path / "flat")
    images = data.load(str(tmp_path / "flat"), stream=True).images
    save(COLOUR[0, :3], tmp_path / "flat" / "04.png")
    with pytest.raises(UserError, match=r"04.png is \[3, 5, 3\], and by the headers all were \[6, 5, 3\] \[h w c\]"):
        images[[0, 4]]


def test_records_that_are_damaged_while_they_are_read(root, tmp_path):
    shutil.copytree(root / "small", tmp_path / "small")
    images = data.load(str(tmp_path / "small"), stream=True).images
    record = next(tmp_path.rglob("*array_record-*"))
    with open(record, "r+b") as file:  # in place: it is open already
        file.write(bytes(record.stat().st_size))
    with pytest.raises(UserError, match=r"small: its files in .*1.0.0 are damaged or missing .*prepare it again"):
        images[:]


@pytest.mark.parametrize(
    "name, options, text",
    [
        ("sizes", {}, r"several sizes: .*00.jpg is 5x4, .*01.jpg is 5x5; .*--size 4"),
        ("broken", {}, "2 of 3 images are damaged, the first .*b.png"),
        ("empty", {}, "no images: it is empty"),
        ("flat", {"split": "test"}, "a folder of images has no split 'test'"),
        ("small", {"split": "test"}, "no split 'test': there are train"),
        ("small", {"size": 8}, "--size 8, but its images are 5x6, and only folders"),
        (
            "set.npz",
            {},
            r"set.npz: no .npy, and only that can stay on disk: save the images with np.save, or as a folder",
        ),
        ("floats.npy", {}, "images are float64, and only uint8 stays on disk: save them as uint8 in 0..255"),
        ("objects.npy", {}, "Python objects"),
        ("flat.npy", {}, r"images must be \[n h w c\] or \[n h w\]"),
        ("cut.npy", {}, "damaged or cut short"),
        ("colour.npy", {"split": "test"}, "an .npy has no split 'test'"),
    ],
)
def test_messages(root, tmp_path, name, options, text):
    save(COLOUR[0], tmp_path / "broken" / "a.png")
    (tmp_path / "broken" / "b.png").write_bytes(b"no image")
    (tmp_path / "broken" / "c.jpg").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "set.npz", x_train=COLOUR)
    np.save(tmp_path / "floats.npy", COLOUR / 255)
    np.save(tmp_path / "objects.npy", np.array([None]), allow_pickle=True)
    np.save(tmp_path / "flat.npy", COLOUR[0, 0])
    np.save(tmp_path / "cut.npy", COLOUR)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:500])
    there = tmp_path / name if (tmp_path / name).exists() else root / name
    with pytest.raises(UserError, match=text):
        data.load(str(there), **options, stream=True)


def test_tfds_floats_stay_in_memory(tmp_path, monkeypatch):
    column = tfds_package.features.Tensor(shape=(4, 4, 1), dtype=np.float32)
    prepare(tmp_path, "floats", {"image": column}, [{"image": np.zeros((4, 4, 1), np.float32)}] * 4)
    with pytest.raises(UserError, match="floats: images are float32, and only uint8 stays on disk"):
        data.load(str(tmp_path / "floats"), stream=True)
    monkeypatch.setattr(ondisk.os, "sysconf", lambda name: 1)
    assert isinstance(data.load(str(tmp_path / "floats")).images, np.ndarray)


def test_without_grain(root, monkeypatch):
    images = data.load(str(root / "flat"), stream=True)
    monkeypatch.setitem(sys.modules, "grain", None)
    with pytest.raises(UserError, match=r"Grain, which is not installed: pip install gan_jax\[grain\]"):
        data.source(images, ROWS, seed=0)
    assert data.source(data.load(str(root / "flat")), ROWS, seed=0).resident

"""A catalogue of what users get wrong, and of what they read then: the values and the mend, before anything is written.

A row is an input and the message. On the command line every mistake is exit status 2 and a message without a traceback,
and each file is left as it was; an existing work directory may get a `.lock`, where that comes before the refusal.
"""

import contextlib
import importlib
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan_jax.training import cli, loop

RING = "--width 8 --gen-blocks 1 --disc-blocks 1 --batch-size 16 --steps 4 --devices 1"
DIGITS = "--batch-size 4 --steps 4 --devices 1"
DAMAGED = r"no checkpoint in .*ring/checkpoints can be used: the checkpoint of step 2 is damaged: "
ASIDE = "the only checkpoint is moved to 2.damaged before the refusal"


def start(name, flags):
    module = importlib.import_module(f"experiments.{name}")
    return cli.run_in_process(module.main, module.Config, shlex.split(flags))


def tree(locks=True):
    """Everything below the current directory."""
    paths = [path for path in Path.cwd().rglob("*") if locks or path.name != ".lock"]
    return {path: path.read_bytes() if path.is_file() else None for path in paths}


def refused(name, flags, text, capsys, late=False):
    """`late`: the work directory is locked by then."""
    before = tree(locks=not late)
    with pytest.raises(SystemExit) as exit_:
        start(name, flags)
    said = capsys.readouterr()
    words = " ".join(said.err.replace("│", " ").split())
    assert exit_.value.code == 2 and said.out == ""
    assert re.search(text, words), words
    assert "Traceback" not in words
    assert tree(locks=not late) == before


@pytest.fixture
def no_training(tmp_path, monkeypatch):
    """What is accepted ends where training would begin."""

    def play(self, *args):
        raise AssertionError("training began")

    monkeypatch.setattr(loop.Trainer, "play", play)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two runs of two steps, `ring` and `digits`, the latter on `small.npy`."""
    home = tmp_path_factory.mktemp("made")
    np.save(home / "small.npy", np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8))
    start("gan_ring", f"{RING} --steps 2 --workdir {home}/ring")
    config = home / "ring/config.json"  # as of a run of four steps, whose schedules are other than those of two
    config.write_text(config.read_text().replace('"steps": 2', '"steps": 4'))
    start("gan_digits", f"{DIGITS} --steps 2 --data {home}/small.npy --workdir {home}/digits")
    return home


@pytest.fixture
def runs(made):
    """Copies of them in the current directory."""
    shutil.copytree(made, ".", dirs_exist_ok=True)


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory):
    """Every kind of data that cannot be used."""
    home = tmp_path_factory.mktemp("spoilt")
    uint8 = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1), np.uint8)
    floats = uint8.astype(np.float32) / 255
    gap = floats.copy()
    gap[3, 1, 2, 0] = np.nan
    for name, array in {
        "small": uint8, "few": uint8[:9], "none": uint8[:0], "row": uint8[0, 0, :, 0], "deep": uint8[None],
        "gap": gap, "loud": floats * 255, "wide": floats * 4 - 2, "whole": uint8.astype(np.int64), "yes": uint8 > 9,
        "complex": floats.astype(np.complex64), "first": np.repeat(uint8, 3, 3).transpose(0, 3, 1, 2),
        "tiny": uint8[:, :2, :2], "odd": np.zeros((70, 10, 10), np.uint8),
    }.items():  # fmt: skip
        np.save(home / f"{name}.npy", array)
    labels = np.arange(20) % 3
    for name, arrays in {
        "short": {"x_train": uint8, "y_train": labels[:19]}, "onehot": {"x_train": uint8, "y_train": np.eye(20)[:, :10]},
        "halves": {"x_train": uint8, "y_train": labels / 2}, "below": {"x_train": uint8, "y_train": labels - 1},
        "far": {"x_train": uint8, "y_train": np.arange(20) * 99}, "words": {"x_train": uint8, "y_train": np.full(20, "cat")},
        "one": {"x_train": uint8, "y_train": labels * 0}, "stuff": {"stuff": labels}, "nothing": {},
        "test": {"x_test": uint8}, "objects": {"x_train": np.array([None])},
    }.items():  # fmt: skip
        np.savez(home / f"{name}.npz", **arrays)
    (home / "cut.npz").write_bytes((home / "short.npz").read_bytes()[:500])
    (home / "torn.npz").write_bytes(b"PK\x03\x04 cut short")
    (home / "void.npz").write_bytes(b"")
    (home / "text.npy").write_bytes(b"no array")
    (home / "set.zip").write_bytes(b"PK")
    (home / "gone.npy").symlink_to("nowhere.npy")
    (home / "file").write_text("precious")
    picture = Image.fromarray(uint8[0, ..., 0])
    for folder in (
        "empty",
        "gifs",
        "sizes",
        "damaged",
        "beside/cat",
        "deeper/train/cat",
        "hollow/a",
        "hollow/b",
        "ten",
    ):
        (home / folder).mkdir(parents=True)
    for name in ("sizes/a", "damaged/a", "damaged/b", "beside/a", "beside/cat/a", "deeper/train/cat/a", "hollow/a/a"):
        picture.save(home / f"{name}.png")
    picture.resize((8, 4)).save(home / "sizes/b.png")
    for i in range(20):
        picture.save(home / f"ten/{i}.png")
    (home / "damaged/b.png").write_bytes((home / "damaged/b.png").read_bytes()[:60])
    (home / "gifs/a.mp4").write_bytes(b"film")
    for folder in ("sets/a/1.0.0", "sets/b/1.0.0", "mangled/1.0.0"):
        (home / folder).mkdir(parents=True)
        (home / folder / "features.json").write_text("{")
        (home / folder / "dataset_info.json").write_text("{")
    (home / "orphan/checkpoints/5").mkdir(parents=True)
    (home / "broken").mkdir()
    (home / "broken/config.json").write_text("{")
    return home


@pytest.fixture
def things(spoilt):
    """Copies of all of it in the current directory."""
    shutil.copytree(spoilt, ".", dirs_exist_ok=True, symlinks=True)


# -- what is done to a run


def edit(**change):
    """Of the config.json: fields replaced, or with None removed."""

    def prepare(monkeypatch):
        path = Path("ring/config.json")
        held = {**json.loads(path.read_text()), **change}
        path.write_text(json.dumps({name: value for name, value in held.items() if value is not None}))

    return prepare


def config(**change):
    """The same of the flags in it."""

    def prepare(monkeypatch):
        path = Path("ring/config.json")
        held = json.loads(path.read_text())
        path.write_text(json.dumps({**held, "config": {**held["config"], **change}}))

    return prepare


def clear(path):
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path) if Path(path).is_dir() else Path(path).unlink()


def put(path, content=None):
    """A file of this content, or else a directory, in the place of whatever there is."""

    def prepare(monkeypatch):
        clear(path)
        Path(path).mkdir() if content is None else Path(path).write_bytes(content)

    return prepare


def gone(path):
    return lambda monkeypatch: clear(path)


NOTHING = gone("nowhere")
NO_RUN = r"ring/config.json is not a run's configuration \(.*\); name another --workdir"


STEP = Path("ring/checkpoints/2")


def shorten(monkeypatch):
    path = STEP / "manifest.ocdbt"
    path.write_bytes(path.read_bytes()[:-1])


def flip(monkeypatch):
    """One bit of the largest file."""
    path = max((STEP / "ocdbt.process_0/d").iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    return path.name


def unlisted(monkeypatch):
    """Damage in a file that the list of checksums has lost."""
    name, sums = flip(monkeypatch), STEP / "SHA256SUMS"
    sums.write_text("".join(line for line in sums.read_text().splitlines(True) if name not in line))


SPOILT = [
    (shorten, "manifest.ocdbt is not what was written"),
    (flip, "ocdbt.process_0/d/[0-9a-f]+ is not what was written"),
    (gone(STEP / "d"), "d/[0-9a-f]+ is missing"),
    (gone(STEP / "SHA256SUMS"), "SHA256SUMS is missing"),
    (put(STEP / "SHA256SUMS", b""), "SHA256SUMS is not what was written"),
    (put(STEP / "SHA256SUMS", b"garbage"), "SHA256SUMS is not what was written"),
    (put(STEP / "SHA256SUMS", b"\xff\xff  x"), "SHA256SUMS cannot be read"),
    (put(STEP / "SHA256SUMS"), "SHA256SUMS cannot be read"),
    (put(STEP), "SHA256SUMS is missing"),
    (put(STEP, b"file"), "SHA256SUMS cannot be read"),
]

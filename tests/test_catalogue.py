"""A catalogue of what users get wrong, and of what they read then: the values and the mend, before anything is written.

A row is an input and the message. On the command line every mistake is exit status 2 and a message without a traceback,
and each file is left as it was; an existing work directory may get a `.lock`, where that comes before the refusal.
"""

import contextlib
import fcntl
import importlib
import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image

import gan_jax
from experiments import gan_ring
from gan_jax import cli, data, game, images, loop, losses, optim, penalties, player, saved
from gan_jax.checkpoint import Checkpoints
from gan_jax.games.adversarial import adversarial
from gan_jax.layers import require_label
from gan_jax.metrics.frechet import frechet
from gan_jax.metrics.manifold import prdc
from gan_jax.metrics.modes import modes
from gan_jax.models import dcgan, mlp
from gan_jax.order import epoch_index
from gan_jax.types import UserError

RING = "--width 8 --batch-size 16 --steps 4 --devices 1"
DIGITS = "--batch-size 4 --steps 4 --devices 1"
DAMAGED = r"no checkpoint in .*ring/checkpoints can be used: the checkpoint of step 2 is damaged: "
ASIDE = "the only checkpoint is moved to 2.damaged before the refusal"


def start(name, flags):
    module = importlib.import_module(f"experiments.{name}")
    return cli.run(module.main, module.Config, shlex.split(flags))


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


@pytest.fixture(autouse=True)
def _no_training(tmp_path, monkeypatch):
    """What is accepted ends where training would begin."""

    def play(self, *args):
        raise AssertionError("training began")

    monkeypatch.setattr(player.Player, "play", play)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two runs of two steps, `ring` and `digits`, the latter on `small.npy`."""
    home = tmp_path_factory.mktemp("made")
    np.save(home / "small.npy", np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8))
    start("gan_ring", f"{RING} --steps 2 --workdir {home}/ring")
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
        "far": {"x_train": uint8, "y_train": labels * 99}, "words": {"x_train": uint8, "y_train": np.full(20, "cat")},
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
    (home / "gifs/a.gif").write_bytes(b"GIF89a")
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


# -- flags


@pytest.mark.parametrize(
    "flags, text",
    [
        # not of their kind
        ("--bogus 1", "Unrecognized options: --bogus"),
        ("stray", "Unrecognized options: stray"),
        ("--shard-state yes", "Unrecognized options: yes"),
        ("--workdir", "Missing value for argument '--workdir'"),
        ("--steps 1e3", "--steps: .*'1e3'"),
        ("--width 8.5", "--width: .*'8.5'"),
        ("--lr fast", "--lr: .*'fast'"),
        (
            "--on-divergence explode",
            r"'explode' for argument '--on-divergence'. Expected one of \('stop', 'rollback'\)",
        ),
        ("--precision float64", r"'float64' for argument '--precision'. Expected one of \('float32', 'bfloat16'\)"),
        ("--matmul-precision int8", "'int8' for argument '--matmul-precision'. Expected one of .*'tensorfloat32'"),
        # out of range
        ("--z-dim 0", "--z-dim 0: it must be at least 1"),
        ("--log-every 0", "--log-every 0: it must be at least 1"),
        ("--sample-every -1", "--sample-every -1: it must be at least 0"),
        ("--evaluate-every -1", "--evaluate-every -1: it must be at least 0"),
        ("--checkpoint-every -1", "--checkpoint-every -1: it must be at least 0"),
        ("--gamma -1", "--gamma -1.0: it must be at least 0 and finite"),
        ("--gamma inf", "--gamma inf: it must be at least 0 and finite"),
        ("--ema-images nan", "--ema-images nan: it must be at least 0 and finite"),
        ("--width 1000000000000", "--width"),
        # seeds
        ("--seeds 0", "--seeds 0: it must be at least 1"),
        ("--seeds -2", "--seeds -2: it must be at least 1"),
        ("--seeds two", "--seeds: .*'two'"),
        ("--seed 4294967295 --seeds 2", "--seed 4294967295 and --seeds 2: the last seed must be less than 2.32"),
        # sweep
        ("--sweep rate=1,2", "--sweep rate=1,2: 'rate' cannot be swept, .*: lr, gamma"),
        ("--sweep width=8,16", "--sweep width=8,16: 'width' cannot be swept, only fractional values can"),
        ("--sweep seed=1,2", "--sweep seed=1,2: 'seed' cannot be swept"),
        ("--sweep precision=float32,bfloat16", "--sweep precision=float32,bfloat16: 'precision' cannot be swept"),
        ("--sweep lr", "--sweep lr: NAME=VALUE,VALUE,... is needed, such as lr=0.1,0.2"),
        ("--sweep lr=", "--sweep lr=: NAME=VALUE,VALUE,... is needed"),
        ("--sweep lr=1e-3,", "--sweep lr=1e-3,: NAME=VALUE,VALUE,... is needed"),
        ("--sweep 'lr=1e-3;2e-3'", "--sweep lr=1e-3;2e-3: NAME=VALUE,VALUE,... is needed"),
        ("--sweep lr=low,high", "--sweep lr=low,high: NAME=VALUE,VALUE,... is needed"),
        ("--sweep =1", "--sweep =1: '' cannot be swept"),
        ("--sweep ''", "--sweep : '' cannot be swept"),
        ("--sweep lr=1e-3,0.001", "--sweep lr=1e-3,0.001: a value stands there twice; .* use --seeds"),
        ("--sweep lr=1e-3 lr=2e-3", "--sweep names lr twice; give all its values at once"),
        ("--sweep lr=-1,1", "--sweep lr=-1,1: --lr -1.0: it must be at least 0"),
        ("--sweep lr=0,1", "--sweep lr=0,1: --lr 0.0: it must be more than 0"),
        ("--sweep gamma=1,nan", "--sweep gamma=1,nan: --gamma nan: it must be at least 0 and finite"),
        ("--sweep gamma=1,inf", "--sweep gamma=1,inf: --gamma inf: it must be at least 0 and finite"),
        ("--sweep ema_images=-1,1", "--sweep ema_images=-1,1: --ema-images -1.0: it must be at least 0"),
        ("--sweep gamma=0.1,0.10000001", "--sweep gamma=0.1,0.10000001: a value stands there twice"),
        # batches and devices
        ("--accumulate 0", "--accumulate 0: it must be at least 1"),
        ("--accumulate 3", "--accumulate 3 cannot split --batch-size 16 evenly; try --batch-size 18"),
        ("--accumulate 32", "--accumulate 32 cannot split --batch-size 16 evenly; try --batch-size 32"),
        ("--devices -1", "--devices -1: it must be at least 0"),
        ("--devices 0 --batch-size 12", "--batch-size 12 cannot be split over 8 devices; try 16, or --devices 1"),
        ("--devices 8 --seeds 2 --batch-size 6", "--batch-size 6 cannot be split over 4 devices; try 8"),
        ("--best fid", "--best fid: the experiment measures high_quality, modes, reverse_kl, collapsed"),
        # processes
        ("--coordinator a:1", "go together; got 'a:1', 0 and -1"),
        ("--num-processes 2", "go together; got '', 2 and -1"),
        ("--process-id 0", "go together; got '', 0 and 0"),
        ("--coordinator a:1 --num-processes 2", "go together; got 'a:1', 2 and -1"),
        ("--num-processes -1", "--num-processes -1: it must be at least 0"),
        ("--coordinator a --num-processes 2 --process-id 0", "--coordinator a: HOST:PORT is needed"),
        ("--coordinator :1 --num-processes 2 --process-id 0", "--coordinator :1: HOST:PORT is needed"),
        ("--coordinator a:b --num-processes 2 --process-id 0", "--coordinator a:b: HOST:PORT is needed"),
        ("--coordinator a:65536 --num-processes 2 --process-id 0", "--coordinator a:65536: HOST:PORT is needed"),
        (
            "--coordinator a:1 --num-processes 2 --process-id 2",
            "--process-id 2 of --num-processes 2: it must be 0 to 1",
        ),
        ("--process-id -5", "--process-id -5"),
    ],
)
def test_flags(flags, text, capsys):
    refused("gan_ring", f"{RING} {flags}", text, capsys)


@pytest.mark.parametrize(
    "name, flags, text",
    [
        ("gan_digits", "--dropout 1", r"--dropout 1.0: it must be in \[0, 1\)"),
        ("gan_digits", "--dropout -0.1", "--dropout -0.1: it must be at least 0"),
        ("gan_digits", "--size -1", "--size -1: it must be at least 0"),
        ("gan_digits", "--size big", "--size: .*'big'"),
        ("gan_digits", "--flip maybe", "Unrecognized options: maybe"),
        ("gan_digits", "--best fid", "--best fid: the experiment measures frechet_pixels, precision_pixels"),
        ("gan_digits", "--sweep b1=0.5,1", r"--sweep b1=0.5,1: --b1 1.0: it must be in \[0, 1\)"),
        ("wgan_gp_mnist", "--n-disc 0", "--n-disc 0: it must be at least 1"),
        ("wgan_gp_mnist", "--n-disc 6", r"a round takes 24 images \(--batch-size times .*small.npy has only 20"),
        ("wgan_gp_mnist", "--penalty -1", "--penalty -1.0: it must be at least 0"),
        ("wgan_gp_mnist", "--b2 1", r"--b2 1.0: it must be in \[0, 1\)"),
        ("wgan_gp_mnist", "--sweep n_disc=1,2", "'n_disc' cannot be swept, .*: penalty, lr, b1, b2"),
        ("wgan_mnist", "--clip 0", "--clip 0.0: it must be more than 0"),
    ],
)
def test_flags_of_other_experiments(name, flags, text, things, capsys):
    refused(name, f"{DIGITS} --data small.npy {flags}", text, capsys)


def test_a_swept_value_that_is_needed_as_a_number(things, capsys, unchecked):
    text = "--sweep dropout=0.1,0.2: one of these is needed as a plain number .*run its values one by one"
    refused("gan_digits", f"{DIGITS} --data small.npy --sweep dropout=0.1,0.2", text, capsys)


def test_processes_that_do_not_meet(monkeypatch, capsys):
    def initialize(**given):
        raise RuntimeError("DEADLINE_EXCEEDED: Barrier timed out.\nMore of it")

    monkeypatch.setattr(jax.distributed, "initialize", initialize)
    flags = f"{RING} --coordinator 10.0.0.1:99 --num-processes 2 --process-id 1"
    refused("gan_ring", flags, "2 processes .* cannot meet by --coordinator 10.0.0.1:99: DEADLINE_EXCEEDED", capsys)


# -- data


@pytest.mark.parametrize(
    "flags, text",
    [
        # dcgan_digits as it stands
        ("--stepz 5", "--stepz"),
        ("--steps many", "--steps"),
        ("--steps 0", "--steps 0: it must be at least 1"),
        ("--batch-size -4", "--batch-size -4"),
        ("--batch-size 2000", "a round takes 2000 images .* only 1797"),
        ("--batch-size 65 --devices 2", "--batch-size 65 cannot be split over 2 devices; try 66"),
        ("--devices 99", "--devices 99, but there are 8"),
        ("--seed -1", "--seed -1"),
        ("--seed 4294967296", "--seed 4294967296 .*less than 2.32"),
        ("--b1 1.5", "--b1 1.5: it must be in"),
        ("--lr nan", "--lr nan"),
        ("--lr -1", "--lr -1"),
        ("--width 0", "--width 0"),
        ("--lr 0", "--lr 0.0: it must be more than 0"),
        ("--data few.npy --batch-size 4", "few.npy has 9 images; to measure a generator at least 12 are needed"),
        ("--fit squeeze", "squeeze"),
        ("--data nowhere.npz", "nowhere.npz: no such file"),
        ("--data ./nowhere", "nowhere: no such file or folder"),
        ("--data digit", "'digit' is no file or folder here, .*did you mean"),
        ("--data torn.npz", "torn.npz"),
        ("--data empty", "empty: no images: it is empty; PNG, JPEG and WebP are read"),
        ("--data digits --size 16", "digits: --size 16, but its images are 8x8"),
        ("--data odd.npy", "multiples of 4, and the images are 10x10; .* --size"),
        ("--workdir file", "file is a file; name a directory"),
        ("--workdir file/below", "cannot write to --workdir .*file/below: Not a directory"),
        ("--workdir orphan", "orphan holds a run without its config.json"),
        ("--workdir broken", "broken/config.json is not a run's configuration"),
        # and on other data
        ("--data tiny.npy --batch-size 4 --devices 1", "multiples of 4, and the images are 2x2"),
        ("--data ten --size 3 --batch-size 4 --devices 1", "multiples of 4, and the images are 3x3; .* --size 4"),
        ("--data ten --size 10 --batch-size 4 --devices 1", "multiples of 4, and the images are 10x10; .* --size 8"),
    ],
)
def test_dcgan(flags, text, things, capsys):
    refused("dcgan_digits", flags, text, capsys)


@pytest.mark.parametrize(
    "given, text",
    [
        # files
        ("''", "--data is empty: digits, an .npz file, a folder of images, or a TFDS name"),
        ("gone.npy", r"gone.npy: no such file \(/.*gone.npy\)"),
        ("some/set", r"some/set: no such file or folder \(/.*some/set\)"),
        ("set.zip", "set.zip: neither .npz nor .npy nor a folder: unpack it"),
        ("void.npz", "void.npz: cannot be read, it is damaged or cut short"),
        ("cut.npz", "cut.npz: cannot be read, it is damaged or cut short"),
        ("text.npy", "text.npy: holds Python objects, or is no NumPy file"),
        ("objects.npz", "objects.npz: holds Python objects"),
        ("stuff.npz", "stuff.npz: no images for train: expected x_train or .*, found stuff; rename one"),
        ("nothing.npz", "nothing.npz: no images for train: .*, found nothing"),
        ("test.npz", "test.npz: no images for train: .*, found x_test"),
        # images
        ("none.npy", r"none.npy: there are no images: the shape is \[0, 8, 8, 1\]"),
        ("row.npy", r"row.npy: images must be \[n h w c\] or \[n h w\], and these are \[8\]"),
        ("deep.npy", r"deep.npy: images must be .*, and these are \[1, 20, 8, 8, 1\]"),
        ("first.npy", r"first.npy: images \[20, 3, 8, 8\] have their channels first: store images.transpose"),
        ("gap.npy", r"gap.npy: 1 values are NaN or infinite, the first at index \(3, 1, 2, 0\)"),
        ("loud.npy", r"loud.npy: values from 0 to 255: floats must be in \[0, 1\] or \[-1, 1\]"),
        ("wide.npy", "wide.npy: values from -2 to 2: floats must be"),
        ("whole.npy", "whole.npy: images are int64: store uint8 in 0..255"),
        ("yes.npy", "yes.npy: images are bool: store uint8"),
        ("complex.npy", "complex.npy: images are complex64: store uint8"),
        ("few.npy", "few.npy has 9 images; .* at least 12 are needed"),
        ("small.npy --batch-size 21", "a round takes 21 images .*, but small.npy has only 20: lower --batch-size"),
        ("small.npy --size 16", "small.npy: --size 16, but its images are 8x8, .*leave --size out"),
        # labels
        ("short.npz", r"short.npz: 20 images need 20 labels, and the labels are \[19\]"),
        ("onehot.npz", r"onehot.npz: labels are \[20, 10\]: if they are one-hot, store labels.argmax\(1\)"),
        ("halves.npz", "halves.npz: labels are float64: store integers"),
        ("words.npz", "words.npz: labels are <U3: store integers"),
        ("below.npz", "below.npz: labels from -1 to 1: they must count from 0"),
        ("far.npz", "far.npz: labels from 0 to 198 for 20 images: number the classes from 0"),
        # folders
        ("gifs", "gifs: no images: only .gif files; PNG, JPEG and WebP are read"),
        ("sizes", "sizes: images of several sizes: .*a.png is 8x8, .*b.png is 8x4; .* --size"),
        ("damaged", "damaged: 1 of 2 images are damaged, the first .*b.png .*: replace or delete them"),
        ("beside", r"beside: holds images \(a.png\) and sub-folders \(cat\)"),
        (
            "deeper",
            "deeper: classes are one level of sub-folders, and train holds cat: perhaps you mean .*deeper/train",
        ),
        ("hollow", "hollow: class b has no images: it is empty; delete it, or fill it"),
        # TFDS
        ("mnits", "'mnits' is no file or folder here, nothing prepared in .*tfds, .*did you mean mnist"),
        ("zzzzzz", "'zzzzzz' is no file or folder here, .*see https://www.tensorflow.org/datasets"),
        ("cifar100", "cifar100 is not prepared in .*tfds, .*tfds build cifar100"),
        ("mnist", "mnist is not prepared in .*tfds, and https.* cannot be reached .no route.*--data mnist.npz"),
        ("sets", "sets: several prepared sets: a/1.0.0, b/1.0.0; name one"),
        ("mnist:9.9.9", "mnist:9.9.9"),
        ("mangled", "mangled.* damaged"),
    ],
)
def test_data(given, text, things, monkeypatch, capsys):
    monkeypatch.setattr("gan_jax.prepare._unreachable", lambda url: "no route")
    refused("gan_digits", f"{DIGITS} --data {given}", text, capsys)


@pytest.mark.parametrize("given, classes", [("small.npy", 0), ("one.npz", 1)])
def test_too_few_classes(given, classes, things, capsys):
    text = f"needs at least two classes; {given} has {classes}. Try --data mnist"
    refused("cgan_mnist", f"{DIGITS} --data {given}", text, capsys)


# -- work directories


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


@pytest.mark.parametrize(
    "prepare, flags, text",
    [
        (put("ring/config.json", b""), "", NO_RUN),
        (put("ring/config.json", b"\xff\xfe{"), "", NO_RUN),
        (put("ring/config.json", b"[]"), "", NO_RUN),
        (put("ring/config.json", b"null"), "", NO_RUN),
        (put("ring/config.json", b"{}"), "", NO_RUN),
        (edit(experiment=None), "", NO_RUN),
        (edit(config=None), "", NO_RUN),
        (edit(identity=None), "", NO_RUN),
        (edit(starts=None), "", NO_RUN),
        (edit(rollbacks=None), "", NO_RUN),
        (edit(config=[]), "", NO_RUN),
        (edit(identity=[]), "", NO_RUN),
        (edit(identity="x"), "", NO_RUN),
        (edit(starts={}), "", NO_RUN),
        (edit(rollbacks={}), "", NO_RUN),
        (put("ring/config.json"), "", "ring/config.json"),
        (edit(starts=[1]), "", NO_RUN),
        (edit(starts=[{}]), "", NO_RUN),
        (edit(starts=[{"step": "2"}]), "", NO_RUN),
        (edit(rollbacks=[1]), "", NO_RUN),
        (edit(rollbacks=[{}]), "", NO_RUN),
        (gone("ring/config.json"), "", "ring holds a run without its config.json; name another --workdir"),
        (edit(experiment="other.thing"), "", "experiment: 'other.thing' there, 'experiments.gan_ring' now"),
        (config(lr=3), "", "ring belongs to another run: lr: 3 there, 0.001 now Give the old values"),
        (config(momentum=0.9), "", "belongs to another run: momentum: 0.9 there, 'absent' now"),
        (NOTHING, "--seed 7", "ring belongs to another run: seed: 0 there, 7 now .*or another --workdir"),
        (NOTHING, "--width 9 --lr 1", "belongs to another run: lr: 0.001 there, 1.0 now width: 8 there, 9 now"),
        (NOTHING, "--seeds 2", "belongs to another run: seeds: 1 there, 2 now"),
        (NOTHING, "--sweep lr=1,2", r"belongs to another run: sweep: \[\] there, \['lr=1,2'\] now"),
        (NOTHING, "--accumulate 2", "belongs to another run: accumulate: 1 there, 2 now"),
        (NOTHING, "--precision bfloat16", "belongs to another run: precision: 'float32' there, 'bfloat16' now"),
        (NOTHING, "--matmul-precision bfloat16", "another run: matmul_precision: 'float32' there, 'bfloat16' now"),
        (NOTHING, "--workdir digits", "digits belongs to another run:.*experiment: 'experiments.gan_digits' there"),
        (NOTHING, "--workdir small.npy", "small.npy is a file; name a directory"),
        (NOTHING, "--workdir small.npy/x/y", "cannot write to --workdir .*small.npy/x/y: Not a directory"),
        (NOTHING, "--workdir /proc/nowhere/x", "cannot write to --workdir /proc/nowhere/x: "),
        (put("ring/.lock"), "", "cannot write to --workdir .*ring: Is a directory"),
        (NOTHING, f"--workdir {'x' * 300}", "--workdir .*File name too long"),
    ],
)
def test_work_directories(prepare, flags, text, runs, monkeypatch, capsys):
    prepare(monkeypatch)
    refused("gan_ring", f"{RING} --workdir ring {flags}", text, capsys)


@pytest.mark.parametrize(
    "shape, text",
    [
        ((20, 8, 8), "digits belongs to another run: data_digest: '[0-9a-f]{16}' there, '[0-9a-f]{16}' now"),
        ((20, 8, 4), r"digits belongs to another run:.* shape: \[8, 8, 1\] there, \[8, 4, 1\] now"),
    ],
)
def test_other_data_of_the_same_name(shape, text, runs, capsys):
    np.save("small.npy", np.zeros(shape, np.uint8))
    refused("gan_digits", f"{DIGITS} --data small.npy --workdir digits", text, capsys)


@pytest.mark.parametrize("holder", ["process 123 on elsewhere", "another process"])
def test_a_work_directory_in_use(holder, runs, capsys):
    with open("ring/.lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write("" if holder == "another process" else f"{holder}\n")
        held.flush()
        text = f"ring is in use by {holder}: .*Wait for it, stop it, or name another --workdir"
        refused("gan_ring", f"{RING} --workdir ring", text, capsys)


@pytest.mark.parametrize(
    "owner, name, path, flags, text",
    [
        (Path, "mkdir", "fresh", "--workdir fresh", "cannot write to --workdir .*fresh: Permission denied"),
        (os, "open", ".lock", "--workdir ring", "cannot write to --workdir .*ring: Permission denied"),
        (Path, "write_text", "config.part", "--workdir ready", "cannot write to --workdir .*ready: Permission denied"),
        (Path, "write_text", "config.part", "--workdir ring", "cannot write to --workdir .*ring: Permission denied"),
        (Path, "read_text", "config.json", "--workdir ring", "ring.*Permission denied"),
        (Path, "iterdir", "ready", "--workdir ready", "ready.*Permission denied"),
        (Path, "iterdir", "checkpoints", "--workdir ring", "checkpoints.*Permission"),
        (
            Path,
            "mkdir",
            "checkpoints",
            "--workdir ready",
            "cannot keep checkpoints in .*ready/checkpoints: Permission denied",
        ),
    ],
)
def test_work_directories_without_permission(owner, name, path, flags, text, runs, monkeypatch, capsys):
    Path("ready").mkdir()
    plain = getattr(owner, name)

    def denied(self, *args, **kwargs):
        if Path(self).name == path:
            raise PermissionError(13, "Permission denied", str(self))
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(owner, name, denied)
    refused("gan_ring", f"{RING} {flags}", text, capsys, late=True)


def test_a_folder_of_images_without_permission(things, monkeypatch, capsys):
    def denied(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", denied)
    refused("gan_digits", f"{DIGITS} --data ten", "ten.*Permission denied", capsys)


@pytest.mark.parametrize(
    "content",
    [
        (b'{"step": 1, "seconds": 1}\n{"ste\n{"step": 2, "seconds": 2}\n'),
        (b"3\n"),
        (b"{}\n"),
        (b"\xff\n"),
        (None),
    ],
)
def test_a_damaged_record(content, runs, monkeypatch, capsys):
    put("ring/metrics.jsonl", content)(monkeypatch)
    refused("gan_ring", f"{RING} --workdir ring", "ring/metrics.jsonl", capsys, late=True)


# -- checkpoints

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


@pytest.mark.parametrize("prepare, text", SPOILT)
def test_only_damaged_checkpoints(prepare, text, runs, monkeypatch, capsys):
    prepare(monkeypatch)
    refused("gan_ring", f"{RING} --workdir ring", f"{DAMAGED}{text}.*Name another --workdir", capsys, late=True)


def test_only_damaged_checkpoints_once_more(runs, monkeypatch, capsys):
    shorten(monkeypatch)
    with pytest.raises(SystemExit):
        start("gan_ring", f"{RING} --workdir ring")
    capsys.readouterr()
    refused("gan_ring", f"{RING} --workdir ring", "damaged", capsys, late=True)


@pytest.mark.parametrize(
    "prepare, text",
    [
        (put("ring/checkpoints", b"file"), "cannot keep checkpoints in .*ring/checkpoints: File exists"),
        (unlisted, DAMAGED),
        (lambda monkeypatch: STEP.rename(STEP.with_name("002")), "ring/checkpoints"),
        (lambda monkeypatch: STEP.rename(STEP.with_name("²")), "ring/checkpoints"),
    ],
)
def test_checkpoints(prepare, text, runs, monkeypatch, capsys):
    prepare(monkeypatch)
    refused("gan_ring", f"{RING} --workdir ring", text, capsys, late=True)


# -- gan_jax.load


def networks(monkeypatch):
    """The experiment has wider ones now. What Orbax makes of it is said here without its many threads."""

    def restore(self, step, like):
        raise UserError(f"checkpoint {step} cannot be read: Requested shape: (9,); remove it to use the one before it")

    plain = gan_ring.build
    monkeypatch.setattr(gan_ring, "build", lambda config, spec: plain(gan_ring.Config(width=9, batch_size=16), spec))
    monkeypatch.setattr(Checkpoints, "restore", restore)


def nameless(monkeypatch):
    monkeypatch.delattr(gan_ring, "Config")


def module(text):
    """The run's experiment is this file."""

    def prepare(monkeypatch):
        Path("catalogued.py").write_text(text)
        monkeypatch.delitem(sys.modules, "catalogued", raising=False)
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        monkeypatch.syspath_prepend(Path.cwd())
        edit(experiment="catalogued")(monkeypatch)

    return prepare


NO_CONFIG = "ring/config.json is not a run's configuration"
NO_BEST = "ring has no best checkpoint: a run keeps one when it is evaluated"
BEST = Path("ring/checkpoints/best.json")


@pytest.mark.parametrize(
    "prepare, options, text",
    [
        (NOTHING, {"workdir": "nowhere"}, "nowhere is no run's directory: it has no config.json"),
        (NOTHING, {"workdir": "small.npy"}, "small.npy is no run's directory: it has no config.json"),
        (NOTHING, {"workdir": ""}, "is no run's directory: it has no config.json"),
        (gone("ring/checkpoints"), {}, "ring has no checkpoint yet; a run writes one every --checkpoint-every steps"),
        (put("ring/checkpoints"), {}, "ring has no checkpoint yet"),
        (NOTHING, {"member": 1}, "member 1 of .*ring, which has 1: 0 to 0"),
        (NOTHING, {"member": -1}, "member -1 of .*ring, which has 1: 0 to 0"),
        (gone(BEST), {"best": True}, NO_BEST),
        (put(BEST, b"{"), {"best": True}, NO_BEST),
        (put(BEST, b'{"step": 9}'), {"best": True}, NO_BEST),
        (put(BEST, b"[]"), {"best": True}, NO_BEST),
        (flip, {"best": True}, "of step 2, is damaged: ocdbt"),
        *((prepare, {}, f"{DAMAGED}{text}") for prepare, text in SPOILT),
        (unlisted, {}, DAMAGED),
        (
            edit(experiment="no.such"),
            {},
            "the run's experiment, no.such, cannot be imported .*start Python where it can",
        ),
        (module("import nothing_of_it"), {}, "catalogued, cannot be imported .No module named 'nothing_of_it'"),
        (config(width=-8), {}, "--width -8: it must be at least 1"),
        (module("def"), {}, "catalogued, cannot be imported"),
        (module("x = 1"), {}, "catalogued.*Config"),
        (nameless, {}, "experiments.gan_ring.*Config"),
        (config(momentum=0.9), {}, "momentum"),
        (networks, {}, "^(?!.*remove).*networks"),
        (put("ring/config.json", b"{"), {}, NO_CONFIG),
        (put("ring/config.json", b"[]"), {}, NO_CONFIG),
        (put("ring/config.json", b"{}"), {}, NO_CONFIG),
        (put("ring/config.json"), {}, NO_CONFIG),
        (edit(config=None), {}, NO_CONFIG),
        (edit(identity=None), {}, NO_CONFIG),
        (edit(experiment=""), {}, NO_CONFIG),
        (edit(experiment=3), {}, NO_CONFIG),
    ],
)
def test_load(prepare, options, text, runs, monkeypatch):
    prepare(monkeypatch)
    before = tree()
    with pytest.raises(UserError, match=text):
        gan_jax.load(**{"workdir": "ring", **options})
    assert tree() == before


def drawn(shape):
    return lambda: gan_jax.load("ring")(np.zeros(shape, np.float32))


def labelled(*label):
    """Two samples of three classes."""
    sampler = saved.Sampler(lambda z, label: np.zeros((len(z), 2), np.float32), 2, 3, 0, {})
    return lambda: sampler(np.zeros((2, 2), np.float32), np.array(label))


@pytest.mark.parametrize(
    "call, text",
    [
        (drawn((4, 3)), r"takes z \[b 2\], and was given \(4, 3\); sampler.latents\(n\) makes some"),
        (lambda: gan_jax.load("ring")(np.zeros((1, 2)), np.zeros(1, int)), "classes=0 and was given labels"),
        (drawn(2), r"\(2,\)"),
        (drawn((2, 3, 2)), r"\(2, 3, 2\)"),
        (drawn(()), r"\(\)"),
        (lambda: gan_jax.load("ring").latents(-1), "-1"),
        (labelled(0, 7), "7"),
        (labelled(0, -1), "-1"),
        (labelled(0, 1, 2), "3"),
    ],
)
def test_samplers(call, text, runs, unchecked):
    with pytest.raises(ValueError, match=text):
        call()


# -- in a program

TX = optax.sgd(0.1)
GEN, DISC = mlp.Generator((2,), widths=(4,)), mlp.Discriminator(widths=(4,))
KEY = jax.random.key(0)
POINTS = np.zeros((4, 2), np.float32)


def rounds(batch, of=None, **options):
    of = of or adversarial(GEN, DISC, losses.hinge(), z_dim=2)
    return game.make_update(of, TX, TX, **options)(game.init(of, TX, TX, KEY, batch), batch, KEY)


def begun(of, batch):
    return game.init(of, TX, TX, KEY, batch)


def played(**change):
    config = gan_ring.Config(width=8, batch_size=16, steps=2, devices=1)
    return loop.run(config, gan_ring.build, data.ring(**{"rows": 16, "seed": 0, **change}))


@pytest.mark.parametrize(
    "call, text",
    [
        # the game
        (lambda: rounds({"image": POINTS}, n_disc=0), "n_disc is the discriminator's steps .*at least 1; got 0"),
        (lambda: rounds({"image": POINTS}, n_disc=-1), "at least 1; got -1"),
        (lambda: rounds({"image": POINTS}, n_disc=3), r"a round of 3 D steps needs .*multiple of 3; got \[4\] rows"),
        (lambda: rounds({"image": POINTS, "label": np.zeros(2, int)}, n_disc=2), r"multiple of 2; got \[2, 4\] rows"),
        (lambda: rounds({"image": POINTS}, ema_decay=1.5), "1.5"),
        (lambda: rounds({"image": POINTS}, ema_decay=-0.5), "-0.5"),
        (lambda: game.half_life(-1, 64), "a half-life of -1 images with batches of 64 and .*: they must be at least 0"),
        (
            lambda: game.half_life(10, 0),
            "a half-life of 10 images with batches of 0 and .*: they must be at least 0, 1",
        ),
        (lambda: game.half_life(float("nan"), 64), "nan"),
        (lambda: game.half_life(10, 4, ramp_up=-1.0), "-1.0"),
        (
            lambda: begun(
                adversarial(GEN, DISC, losses.hinge(), z_dim=2, classes=3),
                {"image": POINTS},
            ),
            r"the game has classes=3, but the batch has no labels, only \['image'\]",
        ),
        (
            lambda: begun(
                adversarial(
                    GEN, dcgan.Discriminator(width=4), losses.hinge(), z_dim=2, penalties=[(1.0, penalties.r1)]
                ),
                {"image": np.zeros((2, 8, 8, 1), np.float32)},
            ),
            "a gradient penalty needs a discriminator without batch norm: batch_norm=False",
        ),
        (
            lambda: rounds({"image": POINTS}, adversarial(GEN, DISC, losses.hinge(), z_dim=2, accumulate=0)),
            "accumulate.*0",
        ),
        (
            lambda: rounds({"image": POINTS}, adversarial(GEN, DISC, losses.hinge(), z_dim=2, accumulate=3)),
            "accumulate.*3",
        ),
        (lambda: begun(adversarial(GEN, DISC, losses.hinge(), z_dim=0), {"image": POINTS}), "z_dim.*0"),
        # the loop
        (lambda: played(rows=4), "the source gives 4 rows a step; batch_size x n_disc = 16 x 1 are needed"),
        (lambda: played(seed=5), "the source's key is not that of the run's seed, 0"),
        # losses, penalties, optimisers
        (lambda: losses.minimax(real_label=0.5), r"real_label .* in \(0.5, 1\]; got 0.5"),
        (lambda: losses.non_saturating(real_label=1.1), r"real_label .* in \(0.5, 1\]; got 1.1"),
        (lambda: losses.least_squares(real_label=float("nan")), r"real_label .* in \(0.5, 1\]; got nan"),
        (lambda: losses.boundary_seeking(real_label=0.0), r"real_label .* in \(0.5, 1\]; got 0.0"),
        (
            lambda: losses.relativistic_paired().gen(real=jnp.zeros(3), fake=jnp.zeros((3, 1))),
            r"real is \(3,\) and fake \(3, 1\); give it equal shapes",
        ),
        (
            lambda: penalties.wgan_gp(lambda x: x.sum(-1), POINTS, POINTS[:3], KEY),
            r"interpolating needs equal shapes: real is \(4, 2\) and fake \(3, 2\)",
        ),
        (
            lambda: penalties.zero_centred(lambda x: x.sum(-1), POINTS, POINTS[:, :1], KEY),
            r"real is \(4, 2\) and fake \(4, 1\)",
        ),
        (lambda: optim.clip_weights(0.0), "limit must be positive, got 0.0; the paper's is 0.01"),
        (lambda: optim.clip_weights(-0.01), "limit must be positive, got -0.01"),
        (lambda: optim.clip_weights(float("nan")), "limit must be positive, got nan"),
        (lambda: optim.clip_weights(0.1).update(POINTS, optax.EmptyState()), "clip_weights needs the parameters"),
        # networks
        (
            lambda: dcgan.Discriminator().init(KEY, np.zeros((2, 64), np.float32), train=False),
            r"takes images \[b h w c\], and was given \(2, 64\); mlp.Discriminator takes any shape",
        ),
        (lambda: require_label(None, 3, "net"), "net has classes=3 and was given no label; they go together"),
        # measures and pictures
        (lambda: images.grid(np.zeros((4, 8, 8))), r"a grid is made of images \[b h w c\].*; got \(4, 8, 8\)"),
        (lambda: images.grid(np.zeros((0, 8, 8, 1))), r"none of them 0; got \(0, 8, 8, 1\)"),
        (lambda: frechet(POINTS[:1], POINTS), r"real features must be \[n d\] with n at least 2; got \(1, 2\)"),
        (lambda: frechet(POINTS, POINTS[:, :1]), "real features have 2 dimensions and fake ones 1"),
        (lambda: frechet(POINTS, POINTS + np.nan), "fake features hold 8 values that are not finite"),
        (lambda: prdc(POINTS, POINTS, k=4), "k = 4 neighbours need more than 4 .*; got 4 real and 4 fake"),
        (lambda: prdc(POINTS, POINTS, k=0), "k = 0"),
        (lambda: modes(POINTS, POINTS[:0], 0.1), "no samples to count modes of"),
        (
            lambda: epoch_index(jnp.zeros(2, jnp.uint32), jnp.zeros(1, jnp.uint32), 0),
            r"size must be in \[1, 2\*\*31\): 0",
        ),
    ],
)
def test_in_a_program(call, text, unchecked):
    with pytest.raises(ValueError, match=text):
        call()
    assert not tree()

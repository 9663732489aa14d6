"""The catalogue of mistakes: flags, and data."""

import jax
import pytest
from catalogue import DIGITS, RING, refused

pytestmark = pytest.mark.usefixtures("no_training")


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
        (
            "--precision float16",
            r"'float16' for argument '--precision'. Expected one of \('float32', 'bfloat16', 'float64'\)",
        ),
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
        ("--evaluate-every 0 --patience 5", "--patience 5 counts evaluations while training: give --evaluate-every"),
        ("--accumulate 3", "--accumulate 3 cannot split --batch-size 16 evenly; try --batch-size 18"),
        ("--accumulate 32", "--accumulate 32 cannot split --batch-size 16 evenly; try --batch-size 32"),
        ("--devices -1", "--devices -1: it must be at least 0"),
        ("--devices 0 --batch-size 12", "--batch-size 12 cannot be split over 8 devices; try 16, or --devices 1"),
        ("--devices 8 --seeds 2 --batch-size 6", "--batch-size 6 cannot be split over 4 devices; try 8"),
        ("--best fid", "--best fid: the experiment measures overlap, modes, high_quality, reverse_kl, collapsed"),
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
        ("gan_digits", "--best fid", "--best fid: the experiment measures frechet_pixels, kid_pixels"),
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
        ("--data empty", r"empty: no images: it is empty; \.png, .* are read"),
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
        (
            "first.npy",
            r"first.npy: \[20, 3, 8, 8\] would be .*: they have their channels first: store images.transpose\(0, 2, 3, 1\)",
        ),
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
        ("far.npz", "far.npz: 20 labels from 0 to 1881 for 20 images: number the classes from 0"),
        # folders
        ("gifs", "gifs: no images: only .mp4 files; .png, .* are read"),
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
    monkeypatch.setattr("gan_jax.data.tfds_prepare._unreachable", lambda url: "no route")
    refused("gan_digits", f"{DIGITS} --data {given}", text, capsys)


@pytest.mark.parametrize("given, classes", [("small.npy", 0), ("one.npz", 1)])
def test_too_few_classes(given, classes, things, capsys):
    text = f"needs at least two classes; {given} has {classes}. Try --data mnist"
    refused("cgan_mnist", f"{DIGITS} --data {given}", text, capsys)

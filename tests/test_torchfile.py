"""The reader of PyTorch's files against files that PyTorch wrote (tests/references/inception.py), whole and spoilt."""

import re
import struct

import numpy as np
import pytest
from references.inception import HERE, small
from torchwriter import Calls, Storage, archive, pickled, stream, tensor

from gan_jax.evaluation import torchfile
from gan_jax.types import UserError

FILES = {name: (HERE / f"{name}.pth").read_bytes() for name in ("zip", "legacy")}


@pytest.mark.parametrize("name", FILES)
def test_reads_what_torch_wrote(name):
    found, expected = torchfile.read(HERE / f"{name}.pth"), small()
    assert list(found) == list(expected)
    for key, array in expected.items():
        assert found[key].dtype == array.dtype and found[key].flags.c_contiguous and found[key].flags.writeable
        np.testing.assert_array_equal(found[key], array, strict=True)
    found["a.weight"][:] = 0  # each has memory of its own, whatever they shared in the file
    np.testing.assert_array_equal(found["a.row"], expected["a.row"])


@pytest.mark.parametrize("name", FILES)
def test_cut_anywhere_is_told(name, tmp_path):
    path = tmp_path / "cut.pth"
    for size in range(0, len(FILES[name]), 13):
        path.write_bytes(FILES[name][:size])
        with pytest.raises(UserError, match=re.escape(str(path))):
            torchfile.read(path)


@pytest.mark.parametrize("name", FILES)
def test_spoilt_anywhere_is_told_or_harmless(name, tmp_path):
    """A changed byte is refused, or changes a number; it never raises anything else."""
    rng, path, names = np.random.default_rng(0), tmp_path / "spoilt.pth", set(small())
    for _ in range(400):
        data = bytearray(FILES[name])
        data[rng.integers(len(data))] = rng.integers(256)
        path.write_bytes(data)
        try:
            assert len(torchfile.read(path)) <= len(names)
        except UserError as error:
            assert str(path) in str(error)


DATA = np.arange(6, dtype=np.float32).tobytes()
COUNTED = struct.pack("<q", 6) + DATA


@pytest.mark.parametrize(
    "data", [archive({"w": tensor()}, data_0=DATA), stream({"w": tensor()}, ["0"], COUNTED)], ids=["zip", "legacy"]
)
def test_files_made_here_are_read(data, tmp_path):
    (tmp_path / "made.pth").write_bytes(data)
    np.testing.assert_array_equal(torchfile.read(tmp_path / "made.pth")["w"], np.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            archive({"w": Calls(eval, "open('ran', 'w')")}),
            "asks for __builtin__.eval, and a state dict of tensors is read here",
        ),
        (
            stream({"w": Calls(eval, "open('ran', 'w')")}),
            "asks for __builtin__.eval, and a state dict of tensors is read here",
        ),
        (pickled(Calls(eval, "open('ran', 'w')")), "is no file of torch.save: it begins neither as a zip archive nor"),
        (archive(Calls(getattr, [], "append")), "asks for __builtin__.getattr"),
        (archive({"w": Storage("storage", dict, "0", "cpu", 6)}), "asks for __builtin__.dict"),
        (archive([tensor()]), "holds a list, not a state dict"),
        (archive({"model": {"w": tensor()}}), "has dict at 'model': a state dict has tensors by name"),
        (archive({"epoch": 3, "w": tensor()}), "has int at 'epoch'"),
        (archive({3: tensor()}), "has Tensor at 3"),
        (archive({"w": tensor()}), "lacks x/data/0, which its tensors are in"),
        (archive({"w": tensor()}, data_0=DATA[:-1]), "of storage '0' it has 23 of 24 bytes"),
        (archive({"w": tensor()}, data_0=DATA, byteorder="big"), "was written big-endian"),
        (
            archive({"w": tensor(1)}, data_0=DATA),
            r"a tensor at 1 of shape (2, 3) with strides (3, 1) in a storage of 6",
        ),
        (archive({"w": tensor(strides=(4, 1))}, data_0=DATA), "with strides (4, 1) in a storage of 6"),
        (archive({"w": tensor(-1)}, data_0=DATA), "has a tensor at -1"),
        (archive({"w": tensor(5, strides=(-3, 1))}, data_0=DATA), "with strides (-3, 1)"),
        (archive({"w": tensor(shape=(6,))}, data_0=DATA), "of shape (6,) with strides (3, 1)"),
        # Two that disagree on one storage: the second would read past its end.
        (archive({"v": tensor(), "w": tensor(shape=(9, 9), count=99)}, data_0=DATA), "it has 24 of 396 bytes"),
        (archive({"w": tensor(view=[("0", 0, 6)])}, data_0=DATA), "as a view of another"),
        (archive({"w": tensor(key=0)}, data_0=DATA), "names a storage as"),
        (stream({"w": tensor()}, ["0"], COUNTED[:-1]), "it has 23 of 24 bytes"),
        (stream({"w": tensor()}, ["0"], struct.pack("<q", 7) + DATA), "storage '0' has 6 elements, and 7"),
        (stream({"w": tensor()}, ["1"], COUNTED), "holds a storage '1' that no tensor is in"),
        (stream({"w": tensor()}), "is damaged, cut short, or no file of torch.save (KeyError"),
        (stream({"w": tensor()}, protocol=1002), "is of torch.save's protocol 1002"),
        (stream({"w": tensor()}, magic=1), "is no file of torch.save"),
        (b"<html>404</html>", "is no file of torch.save"),
        (b"", "is no file of torch.save"),
        (b"PK\x03\x04", "is damaged, cut short"),
    ],
)
def test_refuses(data, message, tmp_path):
    path = tmp_path / "spoilt.pth"
    path.write_bytes(data)
    with pytest.raises(UserError, match=re.escape(f"{path} ") + ".*" + re.escape(message)):
        torchfile.read(path)
    assert not (tmp_path / "ran").exists()  # the current directory is here


@pytest.mark.parametrize("name", ["absent.pth", "."])
def test_what_is_no_file_is_told(name, tmp_path):
    with pytest.raises(UserError, match=re.escape(f"{tmp_path / name} cannot be read")):
        torchfile.read(tmp_path / name)

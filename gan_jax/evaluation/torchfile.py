"""Reading of state dicts saved by PyTorch, without PyTorch, in both formats of `torch.save`.

Since torch 1.6 the file is a zip archive: <name>/data.pkl, a pickle, and <name>/data/<key>, the bytes of each storage.
Before, it was a stream: pickles of a magic number, the protocol, the writer's system, the object and the list of
storage keys, then each storage as its number of elements (int64) and its bytes. In both, a tensor is a view of a
storage: offset, shape and strides, in elements. Everything is little-endian.

A pickle may call any function it names; here all names but those of a state dict are refused.
"""

import os
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from typing import IO, Any, NamedTuple

import numpy as np

from gan_jax.types import UserError

MAGIC = 0x1950A86A20F9469CFC6C  # torch.serialization.MAGIC_NUMBER
PROTOCOL = 1001
DTYPES = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "LongStorage": "<i8", "IntStorage": "<i4",
    "ShortStorage": "<i2", "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "?",
}  # fmt: skip


class _Storage(NamedTuple):
    dtype: np.dtype
    key: str
    size: int  # elements


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the tensors of a state dict by name, in its order, each contiguous and writable. Runs no code of the file.

    Raises UserError, with the path, where the file cannot be read, is no PyTorch file, is damaged or cut short, or
    holds anything but a flat dict of tensors of the types in DTYPES.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(4)
            file.seek(0)
            return _read_zip(file) if start == b"PK\x03\x04" else _read_stream(file)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except _Refused as refusal:
        raise UserError(f"{path} {refusal}") from refusal
    # All that arbitrary bytes, read as a pickle, can raise.
    except (
        pickle.UnpicklingError, zipfile.BadZipFile, zlib.error, struct.error, ArithmeticError, AttributeError,
        EOFError, LookupError, MemoryError, RuntimeError, TypeError, ValueError,
    ) as error:  # fmt: skip
        raise UserError(
            f"{path} is damaged, cut short, or no file of torch.save ({type(error).__name__}: {error}): get it anew"
        ) from error


class _Refused(Exception):
    """What is wrong with the file: text that follows its path in the message."""


def _read_zip(file: IO[bytes]) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        roots = [name.removesuffix("data.pkl") for name in names if name.endswith("/data.pkl")]
        if len(roots) != 1:
            raise _Refused(f"is a zip archive with {len(roots)} entries */data.pkl; torch.save writes one")
        (root,) = roots
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise _Refused("was written big-endian, which is not read here; save it again on another machine")

        def data(storage: _Storage) -> bytes:
            name = f"{root}data/{storage.key}"
            if name not in names:
                raise _Refused(f"lacks {name}, which its tensors are in: get it anew")
            return archive.read(name)

        with archive.open(f"{root}data.pkl") as pickled:
            tensors = _tensors(_Unpickler(pickled).load())
        return _arrays(tensors, data)


def _read_stream(file: IO[bytes]) -> dict[str, np.ndarray]:
    try:
        magic = _Unpickler(file).load()
    except Exception:  # a file of another kind
        magic = None
    if magic != MAGIC:
        raise _Refused("is no file of torch.save: it begins neither as a zip archive nor with PyTorch's magic number")
    if (protocol := _Unpickler(file).load()) != PROTOCOL:
        raise _Refused(f"is of torch.save's protocol {protocol}, and {PROTOCOL} is read here; save it again")
    _Unpickler(file).load()  # the writer's system, such as sizes of its integers; the file is always little-endian
    tensors = _tensors(_Unpickler(file).load())
    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    contents: dict[str, bytes] = {}
    for key in _Unpickler(file).load():
        if key not in storages:
            raise _Refused(f"holds a storage {key!r} that no tensor is in: get it anew")
        (count,) = struct.unpack("<q", file.read(8))
        if count != storages[key].size:
            raise _Refused(f"says that storage {key!r} has {storages[key].size} elements, and {count}: get it anew")
        contents[key] = file.read(count * storages[key].dtype.itemsize)
    return _arrays(tensors, lambda storage: contents[storage.key])


class _Unpickler(pickle.Unpickler):
    """Unpickler that knows the names in a state dict of tensors, and refuses all others."""

    def __init__(self, file: Any):
        super().__init__(file, encoding="utf-8")

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if module == "torch" and name in DTYPES:
            return np.dtype(DTYPES[name])
        raise _Refused(
            f"asks for {module}.{name}, and a state dict of tensors is read here, as torch.save(model.state_dict(), path) writes, of {', '.join(DTYPES)}"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, count, *view = pid  # the fourth is the device
        if kind != "storage" or not isinstance(dtype, np.dtype) or not isinstance(key, str) or count < 0:
            raise _Refused(f"names a storage as {pid!r}, which is not understood here")
        if any(part is not None for part in view):
            raise _Refused(f"has storage {key!r} as a view of another, as before torch 0.4; save it again")
        return _Storage(dtype, key, count)


def _rebuild(storage: _Storage, offset: int, shape: tuple, strides: tuple, *_: Any) -> _Tensor:
    """Stands for torch._utils._rebuild_tensor_v2, whose further arguments are about gradients."""
    if not isinstance(storage, _Storage) or len(shape) != len(strides) or min(offset, *shape, *strides, 0) < 0:
        raise _Refused(f"has a tensor at {offset} of shape {shape} with strides {strides}: get it anew")
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if 0 not in shape and last >= storage.size:
        raise _Refused(
            f"has a tensor at {offset} of shape {shape} with strides {strides} in a storage of {storage.size}: get it anew"
        )
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _tensors(loaded: Any) -> dict[str, _Tensor]:
    if not isinstance(loaded, dict):
        raise _Refused(f"holds a {type(loaded).__name__}, not a state dict")
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, _Tensor):
            raise _Refused(
                f"has {type(value).__name__.lstrip('_')} at {name!r}: a state dict has tensors by name, none within another"
            )
    return loaded


def _arrays(tensors: dict[str, _Tensor], data: Callable[[_Storage], bytes]) -> dict[str, np.ndarray]:
    buffers: dict[_Storage, np.ndarray] = {}
    arrays = {}
    for name, (storage, offset, shape, strides) in tensors.items():
        if storage not in buffers:  # keyed by the whole _Storage, since `_rebuild` checked bounds against its size
            content, size = data(storage), storage.size * storage.dtype.itemsize  # bytes
            if len(content) != size:
                raise _Refused(
                    f"is cut short: of storage {storage.key!r} it has {len(content)} of {size} bytes: get it anew"
                )
            buffers[storage] = np.frombuffer(content, storage.dtype)
        flat = buffers[storage][offset:]
        steps = tuple(stride * flat.itemsize for stride in strides)
        # The view lies within the storage, as `_rebuild` has checked.
        view = np.lib.stride_tricks.as_strided(flat, shape, steps) if 0 not in shape else np.zeros(shape, flat.dtype)
        arrays[name] = view.copy("C")
    return arrays

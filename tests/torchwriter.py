"""Files as PyTorch writes them, and ones that it would not, made without it."""

import io
import pickle
import struct
import zipfile

from gan_jax.evaluation import torchfile


class Calls:
    """What a pickle can be made to do to who loads it."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


class Storage:
    def __init__(self, *pid):
        self.pid = pid


class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        return value.pid if isinstance(value, Storage) else None


def rebuilt(storage, *window):
    """As torch._utils._rebuild_tensor_v2 is called; written under its name by `pickled`."""
    raise AssertionError("is pickled, not called")


class FloatStorage:
    pass


def pickled(value):
    """With protocol 2, in which names stand as lines: the names here become torch's."""
    out = io.BytesIO()
    Pickler(out, 2).dump(value)
    ours = out.getvalue()
    for name, new in ((rebuilt, b"torch._utils\n_rebuild_tensor_v2\n"), (FloatStorage, b"torch\nFloatStorage\n")):
        ours = ours.replace(f"{name.__module__}\n{name.__qualname__}\n".encode(), new)
    return ours


def archive(value, **entries):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("x/data.pkl", pickled(value))
        for name, data in entries.items():
            file.writestr(f"x/{name.replace('_', '/')}", data)
    return out.getvalue()


def stream(value, keys=(), data=b"", magic=torchfile.MAGIC, protocol=torchfile.PROTOCOL):
    return b"".join(map(pickled, (magic, protocol, {}, value, list(keys)))) + data


def tensor(offset=0, shape=(2, 3), strides=(3, 1), count=6, key="0", dtype=FloatStorage, view=()):
    storage = Storage("storage", dtype, key, "cpu", count, *view)
    return Calls(rebuilt, storage, offset, shape, strides, False, {})


def saved(state_dict):
    """The stream of float32 tensors, as PyTorch wrote it before 1.6."""
    tensors = {}
    for name, array in state_dict.items():
        strides = tuple(stride // 4 for stride in array.strides)
        tensors[name] = tensor(0, array.shape, strides, array.size, key=name)
    data = [struct.pack("<q", array.size) + array.tobytes() for array in state_dict.values()]
    return stream(tensors, state_dict, b"".join(data))

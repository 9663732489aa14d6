"""What tests/test_inception.py and tests/test_torchfile.py compare with, made by PyTorch: run once,

    python tests/references/inception.py

where torch, torchvision, pytorch-fid and torch-fidelity are installed. The first two functions need NumPy alone, and the
tests use them too.
"""

import json
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def seeded(shapes):
    """A state dict with tensors of `shapes` by name, drawn in the order of the names, that keeps activations of order one.

    Kernels are normal with variance 2 / fan-in (He et al. 2015, arXiv:1502.01852): the mean square of what goes in is that of
    what comes out, after the ReLU. Batch norm's gamma^2 / var averages about 1, and its shifts are a tenth of that.
    """
    rng = np.random.default_rng(0)
    out = {}
    for name in sorted(shapes):
        shape, part = tuple(shapes[name]), name.partition(".bn.")[2] or name.rpartition(".")[2]
        if part == "num_batches_tracked":
            out[name] = np.zeros(shape, np.int64)
            continue
        x = rng.standard_normal(shape, np.float32)
        if part == "running_var":
            x = np.exp(x / 4)
        elif len(shape) > 1:
            x *= np.float32(np.sqrt((1 if name == "fc.weight" else 2) / np.prod(shape[1:])))
        else:
            x = x / 10 + (1 if name.endswith("bn.weight") else 0)
        out[name] = x
    return out


def images(count=2):
    """[b 299 299 3] uint8: sums of a few waves, and noise."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:299, :299] / 299
    waves = rng.uniform(-30, 30, (count, 3, 5, 3))[..., None, None]  # of each image and channel: frequencies and phase
    made = np.sin(waves[..., 0, :, :] * x + waves[..., 1, :, :] * y + waves[..., 2, :, :]).sum(2)  # [b c h w]
    made = 128 + 42 * made + 25 * rng.standard_normal(made.shape)
    return np.clip(made, 0, 255).transpose(0, 2, 3, 1).astype(np.uint8)


def fingerprint(x):
    """Of [b h w c] or [b d]: mean, standard deviation, and 16 entries spread over all of it."""
    x = np.asarray(x, np.float64)
    at = np.random.default_rng(2).integers(x.size, size=16)
    return {"shape": list(x.shape), "mean": x.mean(), "std": x.std(), "entries": x.reshape(-1)[at].tolist()}


def small():
    """A little state dict for the reader of files: a matrix, strided ones, a row of the matrix (which shares its storage
    where `torch.from_numpy` makes tensors of them), a scalar, and other dtypes.
    """
    rng = np.random.default_rng(3)
    matrix = rng.standard_normal((3, 4)).astype(np.float32)
    return {
        "a.weight": matrix,
        "a.row": matrix[1],
        "a.column": matrix[:, 2],
        "b.turned": rng.standard_normal((2, 3, 4)).transpose(2, 0, 1),
        "b.count": np.array(7, np.int64),
        "half": rng.standard_normal(5).astype(np.float16),
        "flags": np.array([True, False, True]),
        "bytes": np.arange(5, dtype=np.uint8),
        "empty": np.zeros((0, 3), np.float32),
    }


def main():
    from collections import OrderedDict
    from importlib.metadata import version
    from unittest import mock

    import pytorch_fid.inception as source
    import torch
    import torchvision
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    # PyTorch's tensor of a matrix and of its row, as two windows on one storage.
    arrays = small()
    tensors = OrderedDict((name, torch.from_numpy(array)) for name, array in arrays.items())
    tensors["a.row"], tensors["a.column"] = tensors["a.weight"][1], tensors["a.weight"][:, 2]
    torch.save(tensors, HERE / "zip.pth")
    torch.save(tensors, HERE / "legacy.pth", _use_new_zipfile_serialization=False)

    with (
        mock.patch.object(source, "load_state_dict_from_url"),
        mock.patch.object(torchvision.models.Inception3, "load_state_dict"),
    ):
        model = source.fid_inception_v3()
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    weights = {name: torch.from_numpy(array) for name, array in seeded(shapes).items()}
    model.load_state_dict(weights)
    blocks = {}

    def keep(name):
        def hook(_, inputs, out):
            out = out.permute(0, 2, 3, 1) if out.ndim == 4 else out  # [b c h w] -> [b h w c]
            blocks[name] = out.numpy()

        return hook

    for name, child in model.named_children():
        child.register_forward_hook(keep(name))
    pixels = torch.from_numpy(images()).permute(0, 3, 1, 2)
    with torch.no_grad():
        model.eval()((pixels.float() - 128) / 128)

    # The other package, on the same: it differs by rounding.
    with mock.patch.object(torch, "load", lambda path, **_: weights):
        other = FeatureExtractorInceptionV3("inception", ["2048", "logits", "logits_unbiased"], "seeded")
    with torch.no_grad():
        features, logits, unbiased = (out.numpy() for out in other(pixels))
    print("pytorch-fid's and torch-fidelity's:")
    print(" features", abs(features - blocks["avgpool"][:, 0, 0]).max() / blocks["avgpool"].std())
    print(" logits", abs(logits - blocks["fc"]).max() / blocks["fc"].std())

    packages = ("torch", "torchvision", "pytorch-fid", "torch-fidelity")
    kept = {
        "versions": {name: version(name) for name in packages},
        "shapes": shapes,
        "blocks": {name: fingerprint(out) for name, out in blocks.items() if name != "dropout"},
        "unbiased": fingerprint(unbiased),
    }
    for name, block in kept["blocks"].items():
        print(f"{name:16} {block['shape']} mean {block['mean']:.3f} std {block['std']:.3f}")
    lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in kept.items()]
    (HERE / "inception.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()

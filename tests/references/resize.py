"""What tests/test_resize.py compares with, made by the packages that use each resizer: run once,

    python tests/references/resize.py

where torch, torch-fidelity, pytorch-fid and clean-fid are installed.
"""

import json
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
SIZES = [(1, 1), (2, 3), (8, 8), (26, 23), (32, 32), (64, 48), (97, 128), (256, 299), (299, 299), (300, 64), (512, 640)]
LAYERS = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3")  # of pytorch-fid's first block


def image(height, width):
    """[h w 3] uint8: noise, whose values are often black or white."""
    noise = np.random.default_rng([height, width]).normal(128, 100, (height, width, 3))
    return np.clip(np.rint(noise), 0, 255).astype(np.uint8)


def entries(x):
    """[299 299 3] -> 60 of its entries, the corners first."""
    at = np.random.default_rng(2).integers(0, 299, (20, 2))
    at[:4] = [[0, 0], [0, 298], [298, 0], [298, 298]]
    return x[at[:, 0], at[:, 1]].reshape(-1)


def main():
    from importlib.metadata import version
    from unittest import mock

    import torch
    from cleanfid.inception_torchscript import InceptionV3W
    from cleanfid.resize import build_resizer
    from pytorch_fid.inception import InceptionV3
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

    def tensorflow(pixels):  # as torch_fidelity.feature_extractor_inceptionv3 does before its first layer
        x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
        x = interpolate_bilinear_2d_like_tensorflow1x(x, size=(299, 299), align_corners=False)
        return ((x - 128) / 128)[0].permute(1, 2, 0).numpy()

    def pytorch(pixels):  # its own network with the layers left out; images as torchvision's ToTensor makes them
        with mock.patch("pytorch_fid.inception.fid_inception_v3") as layers:
            layers.return_value.configure_mock(**dict.fromkeys(LAYERS, torch.nn.Identity()))
            network = InceptionV3([0])
        network.blocks = torch.nn.ModuleList([torch.nn.Identity()])
        x = torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous().to(torch.float32).div(255)
        return network(x)[0][0].permute(1, 2, 0).numpy()

    def pillow(pixels):  # its own network with the layers left out
        network = InceptionV3W.__new__(InceptionV3W)
        torch.nn.Module.__init__(network)
        seen = []
        network.layers = torch.nn.Module()
        network.layers.forward = lambda x: seen.append(x) or torch.zeros(1, 2048)
        network.resize_inside = False
        network(torch.from_numpy(build_resizer("clean")(pixels).transpose(2, 0, 1))[None])
        return seen[0][0].permute(1, 2, 0).numpy()

    packages = ("torch", "torch-fidelity", "pytorch-fid", "clean-fid", "pillow")
    kept = {"versions": {name: version(name) for name in packages}}
    for resizer in (tensorflow, pytorch, pillow):
        for height, width in SIZES:
            made = entries(resizer(image(height, width))).astype(np.float64)
            kept[f"{resizer.__name__} {height} {width}"] = made.tolist()
    lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in kept.items()]
    (HERE / "resize.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()

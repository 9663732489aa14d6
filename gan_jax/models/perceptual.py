"""Networks that were trained on photographs, by whose features images are compared; their weights are read from files.

The files are plain `.npz` with the arrays that are named here, kernels [out in h w]; gan_jax brings none.
"""

import hashlib
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.types import Array, UserError

VGG = ("conv0", "conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1")


def vgg19(path: str | os.PathLike) -> Callable[[Array], dict[str, jax.Array]]:
    """Returns the function from images [b h w 3] in [-1, 1] to the features relu1_1, relu2_1 and relu3_1 of VGG-19, [b h w
    64], [b h/2 w/2 128] and [b h/4 w/4 256].

    The file has vgg19.NAME.weight and .bias for each of VGG; conv0 takes RGB in [0, 1] to what the network was trained on.
    Borders are mirrored. Simonyan and Zisserman 2015, arXiv:1409.1556, normalised as by Gatys et al. 2016. The file is read
    when the function is first called. Raises UserError for a file that holds no such arrays.
    """
    held: dict[str, Any] = {}

    def layer(name: str) -> tuple[jax.Array, jax.Array]:
        if not held:
            held.update(_read(path, [f"vgg19.{one}.{part}" for one in VGG for part in ("weight", "bias")]))
        kernel, bias = held[f"vgg19.{name}.weight"], held[f"vgg19.{name}.bias"]
        return jnp.asarray(kernel.transpose(2, 3, 1, 0)), jnp.asarray(bias)

    def conv(x: jax.Array, name: str) -> jax.Array:
        kernel, bias = layer(name)
        by = kernel.shape[0] // 2
        x = jnp.pad(x, ((0, 0), (by, by), (by, by), (0, 0)), mode="reflect") if by else x
        x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return x + bias[None, None, None]

    def halved(x: jax.Array) -> jax.Array:
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    def features(images: Array) -> dict[str, jax.Array]:
        x = conv((jnp.asarray(images, jnp.float32) + 1) / 2, "conv0")
        found = {"relu1_1": (x := jax.nn.relu(conv(x, "conv1_1")))}
        x = halved(jax.nn.relu(conv(x, "conv1_2")))
        found["relu2_1"] = x = jax.nn.relu(conv(x, "conv2_1"))
        x = halved(jax.nn.relu(conv(x, "conv2_2")))
        found["relu3_1"] = jax.nn.relu(conv(x, "conv3_1"))
        return found

    return features


FIRE = tuple(f"fire{i}" for i in range(2, 10))
POOLED = ("conv1", "fire4", "fire8")  # after these the maximum of 3x3 pixels is taken, at every second one
COMPARED = ("conv1", "fire3", "fire5", "fire9")


def squeezenet(path: str | os.PathLike) -> Callable[[Array], dict[str, jax.Array]]:
    """Returns the function from images [b h w 3] in [-1, 1] to the features of the layers COMPARED of SqueezeNet 1.0, [b h' w'
    c]: h' is about h/2 of the first and h/16 of the last.

    The file has for each layer NAME.codebook, NAME.weight_code, a place in it for each weight, and NAME.bias; a layer is
    conv1, or fireN.conv1x1_1, fireN.conv1x1_2 and fireN.conv3x3_2. It was trained on BGR in 0..255 less the mean.
    Iandola et al. 2016, arXiv:1602.07360; the codes are of Han et al. 2016, arXiv:1510.00149. The file is read when the function
    is first called. Raises UserError for a file that holds no such arrays.
    """
    layers = ("conv1", *(f"{name}.{part}" for name in FIRE for part in ("conv1x1_1", "conv1x1_2", "conv3x3_2")))
    held: dict[str, Any] = {}

    def conv(x: jax.Array, name: str, stride: int = 1) -> jax.Array:
        kernel = held[f"{name}.codebook"].ravel()[held[f"{name}.weight_code"].astype(int)].transpose(2, 3, 1, 0)
        padding = "SAME" if stride == 1 else "VALID"
        y = jax.lax.conv_general_dilated(
            x, jnp.asarray(kernel), (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return jax.nn.relu(y + jnp.asarray(held[f"{name}.bias"])[None, None, None])

    def pooled(x: jax.Array) -> jax.Array:
        # The last window may hang over the border.
        pads = [(0, 0), *((0, -(n - 3) % 2) for n in x.shape[1:3]), (0, 0)]
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), pads)

    def features(images: Array) -> dict[str, jax.Array]:
        if not held:
            held.update(
                _read(path, [f"{one}.{part}" for one in layers for part in ("codebook", "weight_code", "bias")])
            )
        levels = (jnp.asarray(images, jnp.float32)[..., ::-1] + 1) * 127.5
        x = conv(levels - jnp.array([104.0, 117.0, 123.0])[None, None, None], "conv1", 2)
        found = {"conv1": x}
        x = pooled(x)
        for name in FIRE:
            squeezed = conv(x, f"{name}.conv1x1_1")
            found[name] = x = jnp.concatenate(
                [conv(squeezed, f"{name}.{part}") for part in ("conv1x1_2", "conv3x3_2")], -1
            )
            x = pooled(x) if name in POOLED else x
        return {name: found[name] for name in COMPARED}

    return features


def feature_distance(features: Callable[[Array], dict[str, jax.Array]]) -> Callable[[Array, Array], float]:
    """Returns the distance of two images [1 h w 3]: the mean over layers and pixels of |x - y|^2, with the channels x and y of each
    pixel divided by their norm: LPIPS without its learnt weights (Zhang et al. 2018, arXiv:1801.03924, equation 1).
    """

    @jax.jit
    def compare(x: Array, y: Array) -> jax.Array:
        both = [[_unit(one) for one in features(z).values()] for z in (x, y)]
        return jnp.mean(jnp.stack([jnp.mean(jnp.sum((a - b) ** 2, -1)) for a, b in zip(*both, strict=True)]))

    return lambda x, y: float(compare(x, y))


def _unit(x: jax.Array) -> jax.Array:
    return x / jnp.sqrt(jnp.sum(x**2, -1, keepdims=True) + 1e-10)


def weights_digest(path: str | os.PathLike) -> str:
    """Returns 16 hex digits of the SHA-256 of a file of weights, for protocols. Raises UserError where it cannot be read."""
    try:
        return hashlib.sha256(Path(path).expanduser().read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error}") from error


def _read(path: str | os.PathLike, names: list[str]) -> dict[str, np.ndarray]:
    try:
        with open(os.path.expanduser(path), "rb") as file, np.load(file, allow_pickle=False) as held:
            if missing := [name for name in names if name not in held.files]:
                raise UserError(f"{path}: no array {missing[0]}: this is no file of that network's weights")
            return {name: np.asarray(held[name], np.float32) for name in names}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error

"""Networks that were trained on photographs, by whose features images are compared; their weights are read from files.

The files are plain `.npz` with the arrays that are named here, kernels [out in h w]; gan_jax brings none.
"""

import os
from collections.abc import Callable
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


def _read(path: str | os.PathLike, names: list[str]) -> dict[str, np.ndarray]:
    try:
        with np.load(os.path.expanduser(path), allow_pickle=False) as file:
            if missing := [name for name in names if name not in file.files]:
                raise UserError(f"{path}: no array {missing[0]}: this is no file of that network's weights")
            return {name: np.asarray(file[name], np.float32) for name in names}
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error

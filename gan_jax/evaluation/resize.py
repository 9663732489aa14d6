"""The three ways in which images are brought to 299x299 pixels for the Inception network, in [-1, 1].

FID differs by whole points between them (Parmar et al. 2022, arXiv:2104.11222), so a number says which was used. All are
linear and separable, out = H x W', with H [299 h] and W [299 w] a few weights a row; they differ in where an output pixel
lies in the input, in which inputs it takes, and in the scale they end with. Images are [b h w c], uint8 in 0..255 or
float in [-1, 1], of 1 channel, which is used for all three, or of 3. ValueError for others.

Float images are not rounded to 256 levels here, and published protocols measure images that were (`images.to_uint8`).
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from gan_jax.types import Array

SIDE = 299

Given = UInt8[Array, "b h w c"] | Float[Array, "b h w c"]
Resized = Float[Array, "b 299 299 3"]


def tensorflow(images: Given) -> Resized:
    """TensorFlow 1's bilinear, of the original FID and of torch-fidelity: output pixel i lies at i h / 299, no half pixels,
    and takes the two inputs around it, however much smaller it makes the image.

    In float32 on 0..255, then (x - 128) / 128: white is 127/128, not 1.
    """
    return (_resize(_levels(images), _two(lambda i, scale: i * scale)) - 128) / 128


def pytorch(images: Given) -> Resized:
    """PyTorch's bilinear (`interpolate(align_corners=False)`), of pytorch-fid: output pixel i lies at
    (i + 1/2) h / 299 - 1/2, at 0 where that is less, and takes the two inputs around it.

    In float32 on [0, 1], then 2 x - 1: black and white are -1 and 1.
    """
    # The scale is divided out before the sum, as there.
    half = _two(lambda i, scale: np.maximum(scale * (i + np.float32(0.5)) - np.float32(0.5), np.float32(0)))
    return 2 * _resize(_levels(images) / 255, half) - 1


def pillow(images: Given) -> Resized:
    """Pillow's bicubic (a = -1/2), of clean-fid: output pixel i lies at (i + 1/2) h / 299, and where the image becomes
    smaller its filter is as much wider, so that it takes all inputs it stands for (antialiasing).

    In float32 on 0..255, rounded nowhere and clipped to 0..255, then (x - 128) / 128: white is 127/128.
    """
    return (jnp.clip(_resize(_levels(images), _cubic), 0, 255) - 128) / 128


def _levels(images: Given) -> Float[Array, "b h w c"]:
    """0..255 in float32."""
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape:
        raise ValueError(f"images to be resized are [b h w c] of 1 or 3 channels, none of them 0; got {images.shape}")
    if images.dtype == np.uint8:
        return jnp.asarray(images, jnp.float32)
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"images are uint8 in 0..255 or float in [-1, 1]; got {images.dtype}")
    return (jnp.asarray(images, jnp.float32) + 1) * 127.5


def _resize(x: Float[Array, "b h w c"], weights: Callable[[int], np.ndarray]) -> Resized:
    """H x W', columns first, then rows, as all three do."""
    high, wide = (jnp.asarray(weights(size), jnp.float32) for size in x.shape[1:3])
    x = jnp.einsum("qw,bhwc->bhqc", wide, x, precision="highest")
    x = jnp.einsum("ph,bhqc->bpqc", high, x, precision="highest")
    return jnp.broadcast_to(x, (*x.shape[:3], 3))


def _two(place: Callable[[np.ndarray, np.float32], np.ndarray]) -> Callable[[int], np.ndarray]:
    """[299 size]: the two inputs around `place(i, size / 299)` by their distance, all in float32 as in the programs
    that are followed; past the end the last input.
    """

    def weights(size: int) -> np.ndarray:
        at = place(np.arange(SIDE, dtype=np.float32), np.float32(size / SIDE))
        low = np.minimum(at.astype(int), size - 1)
        part = at - low.astype(np.float32)
        out = np.zeros((SIDE, size), np.float32)
        np.add.at(out, (np.arange(SIDE), low), 1 - part)
        np.add.at(out, (np.arange(SIDE), np.minimum(low + 1, size - 1)), part)
        return out

    return weights


def _cubic(size: int) -> np.ndarray:
    """[299 size]: Keys' cubic around each output pixel's centre, its rows made to sum to 1, in float64."""
    scale = size / SIDE
    wide = max(scale, 1.0)
    out = np.zeros((SIDE, size))
    for i in range(SIDE):
        centre = (i + 0.5) * scale
        # Inputs whose pixels are in reach, two filter widths, with bounds rounded as Pillow rounds them.
        inputs = np.arange(max(int(centre - 2 * wide + 0.5), 0), min(int(centre + 2 * wide + 0.5), size))
        x = np.abs((inputs + 0.5 - centre) / wide)
        near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
        row = np.where(x < 1, near, np.where(x < 2, far, 0))
        out[i, inputs] = row / row.sum()
    return out

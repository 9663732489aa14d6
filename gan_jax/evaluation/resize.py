"""Three ways of resizing images to 299x299 pixels, in [-1, 1], for the Inception network.

FID differs by whole points between them (Parmar et al. 2022, arXiv:2104.11222), so protocols name the one that was
used. All are linear and separable, out = H x W', where H [299 h] and W [299 w] have a few weights in each row. They
differ in the position of an output pixel in the input, in the inputs it uses, and in the final scale. Images are [b h w
c], uint8 in 0..255 or floats in [-1, 1], of 3 channels, or of 1, which is repeated. All raise ValueError for other
images.

Float images are not rounded to 256 levels here; published protocols measure rounded images (`pictures.to_uint8`).
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
    """Resizes by TensorFlow 1's bilinear interpolation, as in the original FID and torch-fidelity.

    Output pixel i lies at i h / 299, without half pixels, and uses the two inputs around it, however much the image
    shrinks. In float32 on 0..255, then (x - 128) / 128: white is 127/128, not 1.
    """
    return (_resize(_levels(images), _linear(lambda i, scale: i * scale)) - 128) / 128


def pytorch(images: Given) -> Resized:
    """Resizes by PyTorch's bilinear interpolation (`interpolate(align_corners=False)`), as in pytorch-fid.

    Output pixel i lies at max((i + 1/2) h / 299 - 1/2, 0), and uses the two inputs around it. In float32 on [0, 1],
    then 2 x - 1: black and white are -1 and 1.
    """
    # Divided by 255 before the interpolation, as in pytorch-fid, for the same rounding.
    half = _linear(lambda i, scale: np.maximum(scale * (i + np.float32(0.5)) - np.float32(0.5), np.float32(0)))
    return 2 * _resize(_levels(images) / 255, half) - 1


def pillow(images: Given) -> Resized:
    """Resizes by Pillow's bicubic interpolation (a = -1/2), as in clean-fid.

    Output pixel i lies at (i + 1/2) h / 299. Where the image shrinks, the filter is wider by the same factor, so that
    every input has a weight (antialiasing). In float32 on 0..255, clipped to 0..255 but not rounded, then (x - 128) /
    128: white is 127/128.
    """
    return (jnp.clip(_resize(_levels(images), _cubic), 0, 255) - 128) / 128


def _levels(images: Given) -> Float[Array, "b h w c"]:
    """The images in 0..255, float32."""
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or 0 in images.shape:
        raise ValueError(f"images to be resized are [b h w c] of 1 or 3 channels, none of them 0; got {images.shape}")
    if images.dtype == np.uint8:
        return jnp.asarray(images, jnp.float32)
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"images are uint8 in 0..255 or float in [-1, 1]; got {images.dtype}")
    return (jnp.asarray(images, jnp.float32) + 1) * 127.5


def _resize(x: Float[Array, "b h w c"], weights: Callable[[int], np.ndarray]) -> Resized:
    """H x W', columns first, then rows, as in all three programs."""
    high, wide = (jnp.asarray(weights(size), jnp.float32) for size in x.shape[1:3])
    x = jnp.einsum("qw,bhwc->bhqc", wide, x, precision="highest")
    x = jnp.einsum("ph,bhqc->bpqc", high, x, precision="highest")
    return jnp.broadcast_to(x, (*x.shape[:3], 3))


def _linear(place: Callable[[np.ndarray, np.float32], np.ndarray]) -> Callable[[int], np.ndarray]:
    """Weights [299 size] of linear interpolation between the two inputs around `place(i, size / 299)`; beyond the end,
    the last input. In float32, as in the original programs.
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
    """Weights [299 size]: Keys' cubic filter around the centre of each output pixel; rows sum to 1. In float64."""
    scale = size / SIDE
    wide = max(scale, 1.0)
    out = np.zeros((SIDE, size))
    for i in range(SIDE):
        centre = (i + 0.5) * scale
        # Inputs within two filter widths of the centre, with the bounds rounded as in Pillow.
        inputs = np.arange(max(int(centre - 2 * wide + 0.5), 0), min(int(centre + 2 * wide + 0.5), size))
        x = np.abs((inputs + 0.5 - centre) / wide)
        inner, outer = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
        row = np.where(x < 1, inner, np.where(x < 2, outer, 0))
        out[i, inputs] = row / row.sum()
    return out

"""Bicubic resizing as MATLAB's `imresize`, by which papers on super-resolution make small images of large ones.

It is linear and separable, H x W': `weights` gives H. Keys' kernel with a = -1/2, widened by the scale where the image
shrinks (antialiasing), and the image mirrored at its borders, the edge repeated. Pillow's bicubic weighs the borders
otherwise: it normalises what lies inside.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from gan_jax.types import Array, UserError


def weights(size: int, to: int) -> np.ndarray:
    """Returns H [to size], float64, whose rows sum to 1."""
    scale = to / size
    wide = max(1.0, 1 / scale)
    centres = (np.arange(to) + 0.5) / scale - 0.5
    reach = int(np.ceil(2 * wide)) + 1
    places = np.floor(centres)[:, None].astype(int) + np.arange(-reach, reach + 1)[None]  # [to taps]
    x = np.abs(centres[:, None] - places) / wide
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    taps = np.where(x <= 1, near, np.where(x <= 2, far, 0))
    taps /= taps.sum(1, keepdims=True)
    mirrored = places % (2 * size)
    mirrored = np.where(mirrored < size, mirrored, 2 * size - 1 - mirrored)
    out = np.zeros((to, size))
    np.add.at(out, (np.arange(to)[:, None], mirrored), taps)
    return out


def resized(image: UInt8[np.ndarray, "h w c"], to: tuple[int, int]) -> UInt8[np.ndarray, "hh ww c"]:
    """Returns the image of `to` pixels (height, width), in float64, rounded and clipped to 0..255."""
    high, wide = (weights(size, new) for size, new in zip(image.shape[:2], to, strict=True))
    out = np.einsum("ph,hwc,qw->pqc", high, image.astype(np.float64), wide, optimize=True)
    return np.clip(np.floor(out + 0.5), 0, 255).astype(np.uint8)  # MATLAB rounds halves up


def shrunk(images: Float[Array, "b h w c"], scale: int) -> Float[Array, "b hh ww c"]:
    """Returns images in [-1, 1] of sides that are `scale` times smaller, clipped, and rounded to the 256 levels of a file.

    Raises UserError where a side is no multiple of `scale`.
    """
    h, w = images.shape[1:3]
    if h % scale or w % scale:
        raise UserError(f"images of {h}x{w} cannot be made {scale} times smaller: take sides that are multiples of it")
    images = jnp.asarray(images)
    high, wide = (jnp.asarray(weights(size, size // scale), images.dtype) for size in (h, w))
    out = jnp.einsum("ph,bhwc->bpwc", high, images, precision="highest")
    out = jnp.einsum("qw,bpwc->bpqc", wide, out, precision="highest")
    return jax.lax.stop_gradient(jnp.round((jnp.clip(out, -1, 1) + 1) * 127.5) / 127.5 - 1)

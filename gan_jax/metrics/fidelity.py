"""How near an image is to the one that it should be: mean absolute difference, PSNR and SSIM, of all pixels, of those that
were missing, or of the luma as papers on super-resolution report them. Images are uint8 in 0..255 or floats in [-1, 1].
"""

import numpy as np
from jaxtyping import Float, Shaped

from gan_jax.metrics import checks
from gan_jax.metrics.ssim import ssim
from gan_jax.types import Array

LUMA = np.array([65.481, 128.553, 24.966])  # of ITU-R BT.601, for R, G and B in [0, 1]


def l1(x: Shaped[Array, "b h w c"], y: Shaped[Array, "b h w c"], where: Array | None = None) -> Float[np.ndarray, " b"]:
    """Returns the mean of |x - y| over the entries of each image, in [0, 2], with pixels in [-1, 1].

    `where` [b h w 1], if it is given, has 1 at the pixels that count, and 0 at the others; an image without any gives
    NaN. Raises ValueError as `psnr`.
    """
    x, y = _pair(x, y)
    return _mean(2 * np.abs(x - y), where)


def psnr(
    x: Shaped[Array, "b h w c"], y: Shaped[Array, "b h w c"], where: Array | None = None
) -> Float[np.ndarray, " b"]:
    """Returns -10 log10 E (x - y)^2 of each image, in dB, with pixels in [0, 1]; infinite for equal images.

    `where` as in `l1`. PSNRs of several images are averaged, not their errors. Raises ValueError for unequal shapes, and for
    what are no images.
    """
    x, y = _pair(x, y)
    with np.errstate(divide="ignore"):
        return -10 * np.log10(_mean((x - y) ** 2, where))


def luma(images: Shaped[Array, "b h w 3"]) -> Float[np.ndarray, "b h w 1"]:
    """Returns Y = 16 + 65.481 R + 128.553 G + 24.966 B, R, G and B in [0, 1], over 255: in [16/255, 235/255], as floats.

    It is ITU-R BT.601's of the limited range, MATLAB's `rgb2ycbcr`, not rounded.
    """
    images = checks.images(images, "images")
    if images.shape[-1] != 3:
        raise ValueError(f"luma is of images in colour; got {images.shape}")
    return (16 + checks.scaled(images) @ LUMA[:, None]) / 255


def enlarged(
    x: Shaped[Array, "h w c"], y: Shaped[Array, "h w c"], scale: int, *, colour: bool = True
) -> dict[str, float]:
    """Returns the "psnr" and the "ssim" of one enlarged image beside the true one, by the protocol of the papers: the luma, with
    `scale` pixels cut off at every border. `colour` False takes the first channel at its full range, for the grey
    image among the test images, which the papers score so although its copies have three equal channels.
    """
    x, y = (np.asarray(image)[None, scale:-scale, scale:-scale] for image in (x, y))
    if x.shape != y.shape:
        raise ValueError(f"images are compared one by one: shapes must be equal; got {x.shape} and {y.shape}")
    of = luma if colour and x.shape[-1] == 3 else lambda image: checks.scaled(image[..., :1])
    x, y = (2 * of(image) - 1 for image in (x, y))
    return {"psnr": float(psnr(x, y)[0]), "ssim": float(ssim(x, y)[0])}


def _pair(x: Array, y: Array) -> tuple[np.ndarray, np.ndarray]:
    x, y = checks.images(x, "x"), checks.images(y, "y")
    if x.shape != y.shape:
        raise ValueError(f"images are compared one by one: shapes must be equal; got {x.shape} and {y.shape}")
    return checks.scaled(x), checks.scaled(y)


def _mean(values: np.ndarray, where: Array | None) -> np.ndarray:
    if where is None:
        return values.mean((1, 2, 3))
    weights = np.broadcast_to(np.asarray(where, np.float64), values.shape)
    with np.errstate(invalid="ignore"):
        return (values * weights).sum((1, 2, 3)) / weights.sum((1, 2, 3))

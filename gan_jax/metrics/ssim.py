"""Structural similarity (SSIM) at one scale and at several, and the variety of a set of images measured with it.

Wang et al. 2004 (IEEE TIP 13(4)) and Wang et al. 2003 (multi-scale, Asilomar); Odena et al. 2017, arXiv:1610.09585,
section 4.3. Images are converted to [0, 1], uint8 by x / 255 and floats in [-1, 1] by (x + 1) / 2, so the data range is
1: SSIM compares luminance by ratios of means, which are meaningless for means around 0. In float64 on the host.
"""

from collections.abc import Callable
from functools import reduce

import numpy as np
from jaxtyping import Float, Shaped

from gan_jax.metrics.checks import images as checked
from gan_jax.metrics.checks import scaled
from gan_jax.types import Array

WEIGHTS = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])  # finest first; they sum to 1.0001 as published
WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2
ENTRIES = 2**17  # values of the images that are compared at a time


def scales_for(h: int, w: int) -> int:
    """Returns the largest number of scales, 1 to 5, for which the 11x11 window fits into the coarsest scale.

    The condition is min(h, w) > 10 * 2^(scales - 1): 5 above 160 pixels, 3 at 64, 2 at 28 and 32. Below 11 pixels the
    result is 1, and the window shrinks to the shorter side. Raises ValueError for sides under 1.
    """
    if min(h, w) < 1:
        raise ValueError(f"images of {h}x{w} pixels have no scale")
    return max([1, *(s for s in range(2, len(WEIGHTS) + 1) if min(h, w) > (WINDOW - 1) * 2 ** (s - 1))])


def ssim(x: Shaped[Array, "b h w c"], y: Shaped[Array, "b h w c"]) -> Float[np.ndarray, " b"]:
    """Returns the mean over pixels and channels of (2 mx my + C1)(2 sxy + C2) / ((mx^2 + my^2 + C1)(sx^2 + sy^2 + C2)).

    Local moments are weighted by an 11x11 Gaussian window of sigma 1.5 (for smaller images as wide as their shorter
    side), without the sample correction n / (n - 1), at the pixels where the window lies within the image; C1 = .01^2,
    C2 = .03^2. In [-1, 1], 1 only for equal images. Two constant images are compared by their means alone, (2 mx my +
    C1) / (mx^2 + my^2 + C1).

    Equal to pytorch-msssim's `ssim`, and to scikit-image's `structural_similarity(gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False)`, whose mean leaves out the same border; only its map (`full=True`) has one, reflected.
    Both agree for data in [0, 1] with data_range 1, or in 0..255 with 255. Raises ValueError where `ms_ssim` does for
    images.
    """
    x, y = _pair(x, y)
    return _blockwise(x, y, lambda x, y: _terms(x, y)[0].mean(1))


def ms_ssim(x: Shaped[Array, "b h w c"], y: Shaped[Array, "b h w c"], scales: int) -> Float[np.ndarray, " b"]:
    """Returns prod_j CS_j^w_j * SSIM_last^w_last, in [0, 1], where CS is the second factor of SSIM.

    CS is used at every scale but the coarsest, and the full SSIM there. Between scales images are halved by 2x2 means;
    an odd side is first padded by a line of zeros in front, as in pytorch-msssim. A negative mean counts as 0. The
    product is taken for each channel, and then averaged over channels. The weights are the published ones for 5 scales,
    and for fewer the first `scales` of them divided by their sum. Equal to pytorch-msssim's `ms_ssim`.

    Raises ValueError for unequal shapes, no images, values that are not finite or out of range, or more scales than
    `scales_for` allows.
    """
    x, y = _pair(x, y)
    most = scales_for(*x.shape[1:3])
    if not 1 <= scales <= most:
        raise ValueError(
            f"{scales} scales of {x.shape[1]}x{x.shape[2]} images: 1 to {most} fit the {WINDOW}x{WINDOW} window"
        )
    weights = WEIGHTS if scales == len(WEIGHTS) else WEIGHTS[:scales] / WEIGHTS[:scales].sum()

    def measure(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        product = np.ones(x.shape[:2])  # [b c]
        for scale, weight in enumerate(weights):
            similarity, contrast = _terms(x, y)
            last = scale == scales - 1
            product *= np.maximum(similarity if last else contrast, 0) ** weight
            x, y = (x, y) if last else (_halved(x), _halved(y))
        return product.mean(1)

    return _blockwise(x, y, measure)


def ms_ssim_pairs(images: Shaped[Array, "n h w c"], pairs: int, seed: int) -> float:
    """Returns the mean MS-SSIM of random pairs of different images, in [0, 1]: the higher, the less varied the set.

    Pairs are drawn with replacement by `default_rng(seed)`, and compared at `scales_for` scales. Odena et al. use 100
    pairs of each class, both images of the same class: pass one class at a time for their protocol. A value alone means
    little; `diversity` compares it with that of real images. Raises ValueError for fewer than two images, fewer than
    one pair, or images that `ms_ssim` refuses.
    """
    images = checked(images, "images", least=2)
    if pairs < 1:
        raise ValueError(f"at least 1 pair is needed; got {pairs}")
    rng = np.random.default_rng(seed)
    first = rng.integers(len(images), size=pairs)
    second = (first + rng.integers(1, len(images), size=pairs)) % len(images)
    scales, rows = scales_for(*images.shape[1:3]), max(1, ENTRIES // images[0].size)
    blocks = [slice(i, i + rows) for i in range(0, pairs, rows)]
    return float(np.concatenate([ms_ssim(images[first[b]], images[second[b]], scales) for b in blocks]).mean())


def diversity(
    real: Shaped[Array, "m h w c"], fake: Shaped[Array, "n h w c"], pairs: int, seed: int
) -> dict[str, float]:
    """Returns `ms_ssim_pairs` of the fake images ("ms_ssim") and of the real images ("ms_ssim_real").

    Fakes that are much more similar to each other than real images are indicate mode collapse. Raises ValueError where
    `ms_ssim_pairs` does, and for images of unequal sizes.
    """
    real, fake = checked(real, "real", least=2), checked(fake, "fake", least=2)
    if real.shape[1:] != fake.shape[1:]:
        raise ValueError(f"real images are {real.shape[1:]} and fake ones {fake.shape[1:]}: make them of one size")
    return {"ms_ssim": ms_ssim_pairs(fake, pairs, seed), "ms_ssim_real": ms_ssim_pairs(real, pairs, seed)}


def _pair(x: Shaped[Array, "..."], y: Shaped[Array, "..."]) -> tuple[np.ndarray, np.ndarray]:
    x, y = checked(x, "x"), checked(y, "y")
    if x.shape != y.shape:
        raise ValueError(f"images are compared one by one: shapes must be equal; got {x.shape} and {y.shape}")
    return x, y


def _blockwise(x: np.ndarray, y: np.ndarray, measure: Callable) -> np.ndarray:
    """Applies `measure`, [b c h w] in [0, 1] -> [b], to a few images at a time: it holds 20 arrays of their size."""
    rows = max(1, ENTRIES // x[0].size)
    pairs = ((x[i : i + rows], y[i : i + rows]) for i in range(0, len(x), rows))
    return np.concatenate([measure(*(scaled(np.moveaxis(z, 3, 1).copy()) for z in pair)) for pair in pairs])


def _mean(x: np.ndarray) -> np.ndarray:
    """[b c h w] -> [b c h' w'], local means under the Gaussian window, where it lies within the image."""
    size = min(WINDOW, *x.shape[2:])
    offsets = np.arange(size) - (size - 1) / 2
    window = np.exp(-(offsets**2) / (2 * SIGMA**2))
    window /= window.sum()
    h, w = (side - size + 1 for side in x.shape[2:])
    x = reduce(np.add, (weight * x[:, :, i : i + h] for i, weight in enumerate(window)))
    return reduce(np.add, (weight * x[..., i : i + w] for i, weight in enumerate(window)))


def _terms(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[b c h w] -> SSIM and its second factor (contrast and structure), both averaged over pixels: [b c]."""
    mx, my = _mean(x), _mean(y)
    contrast = (2 * (_mean(x * y) - mx * my) + C2) / (_mean(x * x) - mx * mx + _mean(y * y) - my * my + C2)
    similarity = contrast * (2 * mx * my + C1) / (mx * mx + my * my + C1)
    return similarity.mean((2, 3)), contrast.mean((2, 3))


def _halved(x: np.ndarray) -> np.ndarray:
    b, c, h, w = x.shape
    x = np.pad(x, ((0, 0), (0, 0), (h % 2, 0), (w % 2, 0)))
    return x.reshape(b, c, -(-h // 2), 2, -(-w // 2), 2).mean((3, 5))

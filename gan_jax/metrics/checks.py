"""What metrics check before they compute: features and images of the right shape, finite, and enough of them."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

from gan_jax.types import Array


def features(x: Shaped[Array, "..."], name: str, least: int = 1) -> np.ndarray:
    """[n d] with n at least `least` and d at least 1, all finite; float32 as it is, anything else as float64."""
    x = np.asarray(x)
    if x.ndim != 2 or len(x) < least or x.shape[1] < 1:
        raise ValueError(f"{name} features must be [n d] with n at least {least} and d at least 1; got {x.shape}")
    x = x if x.dtype == np.float32 else x.astype(np.float64)
    if not np.isfinite(x).all():
        raise ValueError(f"{name} features hold {np.count_nonzero(~np.isfinite(x))} values that are not finite")
    return x


def one_width(**sets: np.ndarray) -> None:
    """Features of one d, by the names the caller knows them by."""
    if len({x.shape[1] for x in sets.values()}) > 1:
        widths = ", ".join(f"{name} {x.shape[1]}" for name, x in sets.items())
        raise ValueError(f"features must have one number of dimensions; got {widths}")


def one_count(real: np.ndarray, fake: np.ndarray, what: str) -> None:
    """As many fakes as real ones."""
    if len(real) != len(fake):
        raise ValueError(
            f"{what} needs as many fakes as reals; got {len(real)} real and {len(fake)} fake: take {min(len(real), len(fake))} of each"
        )


def images(x: Shaped[Array, "..."], name: str, least: int = 1) -> np.ndarray:
    """[n h w c] with n at least `least`: uint8, or floats in [-1, 1], all finite."""
    x = np.asarray(x)
    if x.ndim != 4 or len(x) < least or x.size == 0:
        raise ValueError(f"{name} must be images [n h w c] with n at least {least}; got {x.shape}")
    if x.dtype == np.uint8:
        return x
    if not jnp.issubdtype(x.dtype, jnp.floating):  # NumPy alone knows nothing of bfloat16
        raise ValueError(f"{name} must be uint8 in 0..255 or floats in [-1, 1]; got {x.dtype}")
    if not np.isfinite(x).all():
        raise ValueError(f"{name} hold {np.count_nonzero(~np.isfinite(x))} values that are not finite")
    if x.min() < -1 or x.max() > 1:
        raise ValueError(f"{name} must be uint8 in 0..255 or floats in [-1, 1]; got {x.min():g} to {x.max():g}")
    return x


def scaled(x: np.ndarray, dtype: type = np.float64) -> np.ndarray:
    """Images as `images` lets them in -> floats in [0, 1]."""
    return x.astype(dtype) / 255 if x.dtype == np.uint8 else (x.astype(dtype) + 1) / 2

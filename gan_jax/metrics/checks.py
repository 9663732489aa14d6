"""Checks of the inputs of metrics: shape, type, number of rows, and that all values are finite."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

from gan_jax.types import Array


def features(x: Shaped[Array, "..."], name: str, least: int = 1) -> np.ndarray:
    """Returns features [n d] as float32 if they are float32, otherwise as float64.

    Raises ValueError unless x is [n d] with n at least `least` and d at least 1, and all values are finite. `name` is
    how messages call the set.
    """
    x = np.asarray(x)
    if x.ndim != 2 or len(x) < least or x.shape[1] < 1:
        raise ValueError(f"{name} features must be [n d] with n at least {least} and d at least 1; got {x.shape}")
    x = x if x.dtype == np.float32 else x.astype(np.float64)
    if not np.isfinite(x).all():
        raise ValueError(f"{name} features hold {np.count_nonzero(~np.isfinite(x))} values that are not finite")
    return x


def one_width(**sets: np.ndarray) -> None:
    """Raises ValueError unless all sets of features [n d] have the same d; keywords name the sets in the message."""
    if len({x.shape[1] for x in sets.values()}) > 1:
        widths = ", ".join(f"{name} {x.shape[1]}" for name, x in sets.items())
        raise ValueError(f"features must have one number of dimensions; got {widths}")


def one_count(real: np.ndarray, fake: np.ndarray, what: str) -> None:
    """Raises ValueError unless there are as many fake examples as real ones; `what` is the metric that needs it."""
    if len(real) != len(fake):
        raise ValueError(
            f"{what} needs as many fakes as reals; got {len(real)} real and {len(fake)} fake: take {min(len(real), len(fake))} of each"
        )


def images(x: Shaped[Array, "..."], name: str, least: int = 1) -> np.ndarray:
    """Returns images [n h w c], uint8 in 0..255 or floats in [-1, 1], as a NumPy array of the same type.

    Raises ValueError for another rank, type or range, for values that are not finite, and for fewer than `least`
    images.
    """
    x = np.asarray(x)
    if x.ndim != 4 or len(x) < least or x.size == 0:
        raise ValueError(f"{name} must be images [n h w c] with n at least {least}; got {x.shape}")
    if x.dtype == np.uint8:
        return x
    if not jnp.issubdtype(x.dtype, jnp.floating):  # jnp, because NumPy does not count bfloat16 among the floats
        raise ValueError(f"{name} must be uint8 in 0..255 or floats in [-1, 1]; got {x.dtype}")
    if not np.isfinite(x).all():
        raise ValueError(f"{name} hold {np.count_nonzero(~np.isfinite(x))} values that are not finite")
    if x.min() < -1 or x.max() > 1:
        raise ValueError(f"{name} must be uint8 in 0..255 or floats in [-1, 1]; got {x.min():g} to {x.max():g}")
    return x


def scaled(x: np.ndarray, dtype: type = np.float64) -> np.ndarray:
    """Returns images that `images` accepts, uint8 in 0..255 or floats in [-1, 1], as floats of `dtype` in [0, 1]."""
    return x.astype(dtype) / 255 if x.dtype == np.uint8 else (x.astype(dtype) + 1) / 2

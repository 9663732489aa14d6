"""Mixtures of Gaussians in the plane, with known modes and densities, drawn anew in each step or once."""

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.data.ondisk import digest_of
from gan_jax.types import Batch, ImageSet, Key, PyTree, Source, UserError, spec_of

# Folded into the key, so that data are not drawn from the same bits as the latents of a run.
DRAW = 2**32 - 3


def ring(rows: int, seed: int, modes: int = 8, radius: float = 1.0, std: float = 0.01) -> Source:
    """Returns a `Source` of equally likely Gaussians on a circle (VEEGAN, arXiv:1705.07761, section 5.1).

    Batches are {"image": float32 [b 2], "label": int32 [b], the component}, not scaled to [-1, 1]. The defaults are
    those of PacGAN.
    """
    return _mixture(rows, seed, ring_centres(modes, radius), std, f"ring of {modes}, radius {radius:g}, std {std:g}")


def grid(rows: int, seed: int, side: int = 5, spacing: float = 2.0, std: float = 0.05) -> Source:
    """Returns a `Source` of equally likely Gaussians on a square grid around 0 (VEEGAN, arXiv:1705.07761, section 5.1).

    Batches are {"image": float32 [b 2], "label": int32 [b], the component, row by row}, not scaled to [-1, 1]. The
    defaults are those of PacGAN.
    """
    return _mixture(
        rows, seed, grid_centres(side, spacing), std, f"grid of {side}x{side}, {spacing:g} apart, std {std:g}"
    )


def ring_centres(modes: int = 8, radius: float = 1.0) -> np.ndarray:
    """Returns the centres, float32 [modes 2], counter-clockwise from (radius, 0).

    The start of the circle is not repeated at its end, as it is in much published code. Raises UserError for no modes.
    """
    if modes < 1:
        raise UserError(f"a ring of {modes} modes: 1 or more")
    angle = 2 * np.pi * np.arange(modes) / modes
    return (radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)).astype(np.float32)


def grid_centres(side: int = 5, spacing: float = 2.0) -> np.ndarray:
    """Returns the centres, float32 [side**2 2]; by default {-4, -2, 0, 2, 4} x {-4, -2, 0, 2, 4}."""
    if side < 1:
        raise UserError(f"a grid of side {side}: 1 or more")
    line = spacing * (np.arange(side) - (side - 1) / 2)
    return np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2).astype(np.float32)


def points(centres: np.ndarray, std: float, count: int = 100_000, seed: int = 0) -> ImageSet:
    """Draws a fixed set of `count` points from a mixture of equally likely Gaussians, for `data.source` (PacGAN,
    arXiv:1712.04086, section 4.1).

    `images` of the set are float32 [count 2], not scaled to [-1, 1]; labels are int32 [count], the component.
    """
    if count < 1:
        raise UserError(f"a set of {count} points: 1 or more")
    rng = np.random.default_rng(seed)
    label = rng.integers(0, len(centres), count).astype(np.int32)
    image = (centres[label] + std * rng.standard_normal((count, 2))).astype(np.float32)
    digest = digest_of("points", image.tobytes(), label.tobytes())
    return ImageSet(image, label, len(centres), f"{count:,} points of {len(centres)} modes, std {std:g}", digest)


def _mixture(rows: int, seed: int, centres: np.ndarray, std: float, name: str) -> Source:
    if rows < 1:
        raise UserError(f"batch of {rows} rows: --batch-size 1 or more")

    def fetch(key: Key, step: int, which: slice = slice(None)) -> PyTree:
        return ()

    def batch(fetched: PyTree, key: Key, step: jax.Array) -> Batch:
        label_key, noise_key = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, DRAW), step))
        label = jax.random.randint(label_key, (rows,), 0, len(centres), jnp.int32)
        noise = jax.random.normal(noise_key, (rows, 2), jnp.float32)
        return {"image": jnp.asarray(centres)[label] + std * noise, "label": label}

    return Source(fetch, batch, jax.random.key(seed), rows, spec_of((2,), len(centres)), 0, True, name)

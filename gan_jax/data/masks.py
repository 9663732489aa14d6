"""What is missing of an image: masks [b h w 1], 1 where it is missing."""

import jax
import jax.numpy as jnp
import numpy as np

from gan_jax.types import HeldOut, Key

STROKES = 4


def centre(rows: int, height: int, width: int) -> np.ndarray:
    """Returns masks of the central rectangle of half of both sides, a quarter of the image."""
    mask = np.zeros((rows, height, width, 1), np.float32)
    mask[:, height // 4 : height // 4 + height // 2, width // 4 : width // 4 + width // 2] = 1
    return mask


def held_out(images: np.ndarray, mask: np.ndarray) -> HeldOut:
    """Returns images [n h w c] with this mask [h w 1] of all, for people to judge how it is filled."""
    masks = np.broadcast_to(mask, (len(images), *mask.shape)).astype(np.float32)
    return HeldOut({"image": images, "mask": masks}, images, np.where(masks > 0, 0, images))


def free_form(key: Key, rows: int, height: int, width: int) -> jax.Array:
    """Returns masks of 1 to 4 straight strokes, and in half of the rows of a rectangle beside them; on average a fifth of all
    pixels is missing. Strokes are 1/4 to 3/4 of the shorter side long and 1/12 to 1/5 thick; the sides of a rectangle
    are 1/4 to 5/8 of the image's. After Yu et al. 2019, arXiv:1806.03589, appendix, with fewer corners.
    """
    side = min(height, width)
    keys = jax.random.split(key, 6)
    y, x = jnp.arange(height) + 0.5, jnp.arange(width) + 0.5
    start = jax.random.uniform(keys[0], (rows, STROKES, 2)) * jnp.array([height, width])[None, None]
    angle = jax.random.uniform(keys[1], (rows, STROKES), maxval=2 * np.pi)
    length = jax.random.uniform(keys[2], (rows, STROKES), minval=side / 4, maxval=side * 3 / 4)
    thick = jax.random.uniform(keys[3], (rows, STROKES), minval=side / 24, maxval=side / 10)
    along = jnp.stack([jnp.sin(angle), jnp.cos(angle)], -1)  # [b s 2]
    pixels = jnp.stack(jnp.broadcast_arrays(y[:, None], x[None]), -1)  # [h w 2]
    away = pixels[None, None] - start[:, :, None, None]  # [b s h w 2]
    part = jnp.clip(jnp.sum(away * along[:, :, None, None], -1), 0, length[:, :, None, None])
    distance = jnp.linalg.norm(away - part[..., None] * along[:, :, None, None], axis=-1)
    drawn = jnp.arange(STROKES)[None] < jax.random.randint(keys[4], (rows, 1), 1, STROKES + 1)  # [b s]
    missing = jnp.any((distance < thick[:, :, None, None]) & drawn[:, :, None, None], 1)  # [b h w]
    u = jax.random.uniform(keys[5], (rows, 5))
    box = []
    for i, (places, size) in enumerate(((y, height), (x, width))):
        extent = size * (0.25 + 0.375 * u[:, i : i + 1])
        begin = (size - extent) * u[:, i + 2 : i + 3]
        box.append((places[None] >= begin) & (places[None] < begin + extent))
    inside = box[0][:, :, None] & box[1][:, None, :] & (u[:, 4] < 0.5)[:, None, None]
    return (missing | inside).astype(jnp.float32)[..., None]

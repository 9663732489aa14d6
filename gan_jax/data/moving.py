"""Clips of moving shapes that gan_jax draws itself, so that the first run with video needs no download: what they show is known
exactly. After the moving shapes of MoCoGAN (Tulyakov et al. 2018, arXiv:1707.04993, section 4.1).
"""

import numpy as np

from gan_jax.data.understood import understood
from gan_jax.data.validate import digest
from gan_jax.types import ImageSet

CLASSES = ("up", "left")
SWING = 0.2  # of the side, across, at most


def moving(count: int, length: int, size: int, seed: int) -> ImageSet:
    """Returns `count` clips [n length size size 3] uint8, the two classes in turn, drawn by the seed: on black a disc or a square of
    one colour, which moves up or to the left over half to three quarters of the side, and swings across once, back to where it began.

    Places are whole pixels, so that pixels are of the colour or black.
    """
    rng = np.random.default_rng(seed)
    clips = np.zeros((count, length, size, size, 3), np.uint8)
    labels = (np.arange(count) % len(CLASSES)).astype(np.int32)
    time = np.linspace(0, 1, length)
    rows, columns = np.indices((size, size))
    for i, label in enumerate(labels):
        radius = rng.uniform(0.08, 0.13) * size
        reach = size - 1 - 2 * radius
        along = radius + reach * (1 - rng.uniform(0, 0.2) - time * rng.uniform(0.5, 0.75))
        middle = radius + reach * rng.uniform(0.25, 0.75)
        across = middle + SWING * reach * rng.uniform(-1, 1) * np.sin(2 * np.pi * time)
        y, x = np.rint((along, across) if label == 0 else (across, along))
        colour = rng.integers(60, 256, 3)
        dy, dx = (np.abs(axis - at[:, None, None]) for axis, at in ((rows, y), (columns, x)))
        inside = dy**2 + dx**2 <= radius**2 if rng.random() < 0.5 else np.maximum(dy, dx) <= radius * 0.9
        clips[i] = inside[..., None] * colour
    name = f"moving, {count} by {seed}"
    facts = {"layout": f"{count} clips of {length} frames, drawn by gan_jax"}
    return understood(ImageSet(clips, labels, len(CLASSES), name, digest(clips, labels), CLASSES, facts))

"""Samples that move: an animation of all clips beside each other, and a picture with the frames of some in rows."""

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from gan_jax.types import Batch
from gan_jax.workdir import pictures

FRAME = 100  # milliseconds that a frame is shown
BESIDE, ROWS = 36, 8  # clips in an animation, and in a picture


def show(samples: Float[np.ndarray, "b t h w c"], batch: Batch) -> dict[str, bytes]:
    """Returns {"gif": all clips, at most BESIDE, "png": the frames of the first ROWS, a row for each}: a recipe's `show`."""
    clips = np.asarray(samples)[:BESIDE]
    sheets = [pictures.grid(clips[:, i]) for i in range(clips.shape[1])]
    rows = clips[:ROWS]
    return {
        "gif": gif(sheets),
        "png": pictures.png(pictures.grid(rows.reshape(-1, *rows.shape[2:]), columns=rows.shape[1])),
    }


def gif(frames: Sequence[UInt8[np.ndarray, "h w c"]]) -> bytes:
    """Returns an animation that goes on for ever, each frame for FRAME milliseconds (equal ones after each other become one that is
    shown longer), in the 256 colours that suit each best.
    """
    images = [Image.fromarray(frame[..., 0] if frame.shape[-1] == 1 else frame) for frame in frames]
    file = io.BytesIO()
    images[0].save(file, format="GIF", save_all=True, append_images=images[1:], duration=FRAME, loop=0)
    return file.getvalue()

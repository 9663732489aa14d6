"""PNG pictures of samples: grids of images, and scatter plots of points. `show` and `points` can be a recipe's `show`:
(samples, batch) -> {suffix: bytes of a file}.
"""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from gan_jax.types import Batch

WIDE = 640  # pixels to which small images are enlarged at most


def to_uint8(images: Float[np.ndarray, "*b"]) -> UInt8[np.ndarray, "*b"]:
    """Converts values in [-1, 1] to 0..255, rounded; values outside are clipped, NaN becomes 0."""
    return np.clip(np.nan_to_num(np.rint((np.asarray(images, np.float32) + 1) * 127.5)), 0, 255).astype(np.uint8)


def grid(
    images: Float[np.ndarray, "b h w c"], columns: int | None = None, pad: int = 2
) -> UInt8[np.ndarray, "hh ww shown"]:
    """Returns one picture of all images, row by row; by default about as wide as it is high.

    Small images are enlarged by a whole factor to at least 40 pixels, their longer side to at most WIDE, smoothly
    (bicubic), since 8x8 digits are hard to read as squares. Of 2 channels the first is shown, of more than 3 the first three. Raises ValueError for another
    rank, or where there is nothing to show.
    """
    if np.ndim(images) != 4 or 0 in np.shape(images):
        raise ValueError(f"a grid is made of images [b h w c], none of them 0; got {np.shape(images)}")
    pixels = to_uint8(images)[..., : 3 if np.shape(images)[-1] >= 3 else 1]
    count, height, width, channels = pixels.shape
    scale = max(1, min(math.ceil(40 / min(height, width)), WIDE // max(height, width)))
    if scale > 1:
        pixels = np.stack([_enlarge(image, scale) for image in pixels])
    columns = columns or min(count, math.ceil(math.sqrt(count * height / width)))
    rows = math.ceil(count / columns)
    cell = (height * scale + pad, width * scale + pad)
    sheet = np.full((rows * cell[0] + pad, columns * cell[1] + pad, channels), 255, np.uint8)
    for i, image in enumerate(pixels):
        top, left = (i // columns) * cell[0] + pad, (i % columns) * cell[1] + pad
        sheet[top : top + height * scale, left : left + width * scale] = image
    return sheet


def _enlarge(image: np.ndarray, scale: int) -> np.ndarray:
    height, width, channels = image.shape
    smooth = Image.fromarray(image[..., 0] if channels == 1 else image).resize(
        (width * scale, height * scale), Image.Resampling.BICUBIC
    )
    return np.asarray(smooth).reshape(height * scale, width * scale, channels)


def scatter(
    fake: Float[np.ndarray, "b 2"], real: Float[np.ndarray, "k 2"], side: int = 480
) -> UInt8[np.ndarray, "side side c"]:
    """Returns a scatter plot of points in the plane: `real` as grey rings, `fake` as blue dots.

    The scale shows every real point, with a margin of a quarter. Fake points outside are drawn at the border.
    """
    centre = (real.max(0) + real.min(0)) / 2
    reach = 1.25 * float(np.abs(real - centre).max()) or 1.0

    def place(points: np.ndarray) -> Sequence[tuple[float, float]]:
        at = (np.clip((np.asarray(points) - centre) / reach, -1, 1) * [1, -1] + 1) / 2 * (side - 1)
        return [(float(x), float(y)) for x, y in at]

    picture = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(picture)
    for x, y in place(real):
        draw.ellipse((x - 9, y - 9, x + 9, y + 9), outline=(170, 170, 170), width=2)
    for x, y in place(fake):
        draw.ellipse((x - 1.5, y - 1.5, x + 1.5, y + 1.5), fill=(30, 80, 200))
    return np.asarray(picture)


def png(pixels: UInt8[np.ndarray, "h w c"]) -> bytes:
    """Encodes a picture of 1 or 3 channels as PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, format="PNG", optimize=True)
    return file.getvalue()


def show(samples: Float[np.ndarray, "b h w c"], batch: Batch, columns: int | None = None) -> dict[str, bytes]:
    """Returns {"png": one picture of all images} (`grid`); a single image is neither enlarged nor given a border."""
    del batch
    return {"png": png(to_uint8(samples[0]) if len(samples) == 1 else grid(samples, columns))}


def beside(*columns: Float[np.ndarray, "b h w _"]) -> Float[np.ndarray, "n h w c"]:
    """Returns images in rows of one of each of these sets, [columns * b h w c]; grey ones as colours where others have some."""
    channels = max(x.shape[-1] for x in columns)
    shown = [np.broadcast_to(x, (*x.shape[:3], channels)) for x in columns]
    return np.stack(shown, 1).reshape(-1, *shown[0].shape[1:])


def points(samples: Float[np.ndarray, "b 2"], batch: Batch, real: Float[np.ndarray, "k 2"]) -> dict[str, bytes]:
    """Returns {"png": a scatter plot of the points} (`scatter`)."""
    del batch
    return {"png": png(scatter(samples, real))}


def save(path: Path | str, content: bytes) -> None:
    """Writes a file atomically, and makes its directory where there is none."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(content)
    part.replace(path)

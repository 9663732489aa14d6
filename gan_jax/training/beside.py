"""What stands beside the samples of a run: real images in the same layout, and the real images nearest to some samples."""

import io
import math
from collections.abc import Mapping

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from gan_jax.training.recipe import Recipe, Setup
from gan_jax.types import Batch, Source, rows_of
from gan_jax.workdir import pictures

SAMPLES, NEAREST = 16, 3  # samples whose neighbours are searched, and neighbours of each
COLUMNS = 8
SEARCHED = 60_000  # images that are looked through at most
ON_DISK = 5_000  # where they have to be decoded
PART = 2_000  # images in memory at once, and fewer where they are large:
VALUES = 25_000_000  # values of these, 100 MB


def real(recipe: Recipe, setup: Setup, known: Batch, labels: bool) -> Mapping[str, bytes]:
    """Returns files that show real images as `show` shows samples: {suffix: content}; {} for a source without examples,
    or of other things than images.

    There are no more of them than the set has. `known` is what `show` is told of the rows. With `labels` the images are
    of the classes of the rows, as far as there are enough in the part of the set that is looked at.
    """
    source = setup.source
    if source.examples is None or "image" not in source.spec.arrays:
        return {}
    rows = setup.shown if isinstance(setup.shown, int) else rows_of(setup.shown)
    looked = np.random.default_rng(0).permutation(source.size or rows * 8)[: rows * (8 if labels else 1)]
    found = source.examples(looked)
    rows = min(rows, len(looked))
    known = {name: np.asarray(x)[:rows] for name, x in known.items()}
    chosen = np.arange(rows)
    if labels and "label" in found:
        left = {label: [*np.flatnonzero(found["label"] == label)[::-1]] for label in np.unique(found["label"])}
        for i, label in enumerate(known["label"]):
            if left.get(label):
                chosen[i] = left[label].pop() if len(left[label]) > 1 else left[label][0]
    return recipe.show(np.asarray(found["image"])[chosen], known)


def nearest(samples: np.ndarray, source: Source) -> bytes:
    """Returns a PNG of the first SAMPLES samples [b h w c], each above its NEAREST nearest real images by the Euclidean
    distance of pixels; b"" where there are no images to compare with.

    Its description says how far they are, and how far real images are from their own nearest others: samples that are
    much nearer than that are copies.
    """
    size = source.size
    if source.examples is None or not size or np.ndim(samples) != 4 or "image" not in source.spec.arrays:
        return b""
    if tuple(samples.shape[1:]) != source.spec.shape:
        return b""
    limit = min(size, ON_DISK if source.follow else SEARCHED)
    rows = max(1, min(PART, VALUES // math.prod(source.spec.shape)))
    order = np.random.default_rng(0).permutation(size)[:limit] if limit < size else np.arange(size)
    fakes = np.asarray(samples[:SAMPLES], np.float32)
    others = np.linspace(0, limit - 1, min(limit, len(fakes))).astype(
        int
    )  # places in `order` of real images to compare with
    reals = np.asarray(source.examples(order[others])["image"], np.float32)
    queries = np.concatenate([fakes, reals]).reshape(len(fakes) + len(reals), -1)
    squares = (queries**2).sum(1)
    best = np.full((len(queries), NEAREST), np.inf, np.float32)
    where = np.zeros((len(queries), NEAREST), np.int64)
    for start in range(0, limit, rows):
        part = order[start : start + rows]
        images = np.asarray(source.examples(part)["image"], np.float32).reshape(len(part), -1)
        distances = squares[:, None] + (images**2).sum(1) - 2 * queries @ images.T  # [queries part]
        itself = (others >= start) & (others < start + len(part))
        distances[len(fakes) + np.flatnonzero(itself), others[itself] - start] = np.inf
        both, indices = (
            np.concatenate([best, distances], 1),
            np.concatenate([where, np.broadcast_to(part, distances.shape)], 1),
        )
        first = np.argsort(both, axis=1, kind="stable")[:, :NEAREST]
        best, where = np.take_along_axis(both, first, 1), np.take_along_axis(indices, first, 1)
    found = np.asarray(source.examples(where.ravel())["image"], np.float32)
    found = found.reshape(len(queries), NEAREST, *found.shape[1:])[:, : min(NEAREST, limit)]
    # Once more, of the nearest alone: the difference above has lost its digits where two images are equal.
    away = np.sqrt(((found[:, 0].reshape(queries.shape) - queries) ** 2).sum(1))
    if limit == 1:
        away[len(fakes) :] = math.nan  # there is no other
    medians = [float(np.median(part)) for part in (away[: len(fakes)], away[len(fakes) :])]
    text = (
        f"In each block the first row has samples, and below each are its nearest of {limit:,} real images, by the Euclidean distance of "
        f"pixels in [-1, 1]: {medians[0]:.3g} (median). Real images are {medians[1]:.3g} from their nearest others; "
        "samples much nearer than that are copies"
    )
    return _sheet(fakes, found[: len(fakes)], text)


def _sheet(fakes: np.ndarray, found: np.ndarray, text: str) -> bytes:
    """Blocks of COLUMNS samples over their neighbours [samples nearest h w c]."""
    blocks = []
    for start in range(0, len(fakes), COLUMNS):
        part = slice(start, start + COLUMNS)
        columns = len(fakes[part])
        below = np.swapaxes(found[part], 0, 1).reshape(-1, *fakes.shape[1:])  # row by row
        for images, gap in ((fakes[part], 4), (below, 18)):
            sheet = pictures.grid(images, columns)
            width = pictures.grid(fakes[:COLUMNS], COLUMNS).shape[1]
            blocks.append(np.pad(sheet, ((0, gap), (0, width - sheet.shape[1]), (0, 0)), constant_values=255))
    pixels = np.concatenate(blocks)
    info, file = PngInfo(), io.BytesIO()
    info.add_text("Description", text)
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(
        file, format="PNG", pnginfo=info, optimize=True
    )
    return file.getvalue()

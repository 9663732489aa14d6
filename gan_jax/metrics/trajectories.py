"""What moves in clips of one object on black, read out without a network: its place, size and colour in each frame."""

from typing import NamedTuple

import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, Int, UInt8

from gan_jax.metrics.frechet import frechet

SEEN = 20  # a pixel is of an object where one of its channels is above this, of 255


class Tracks(NamedTuple):
    """The largest object in each frame of n clips of t frames."""

    objects: Int[np.ndarray, "n t"]  # number of connected ones
    centre: Float[
        np.ndarray, "n t 2"
    ]  # mean row and column of its pixels, from 0 to 1 of the sides; 1/2 where there is none
    area: Float[np.ndarray, "n t"]  # pixels
    colour: Float[np.ndarray, "n t c"]  # of its brightest pixel, 0..255

    @property
    def found(self) -> Bool[np.ndarray, "n t"]:
        return self.objects > 0


def tracks(clips: UInt8[np.ndarray, "n t h w c"]) -> Tracks:
    """Returns what moves: in each frame the largest of the connected regions of pixels above SEEN."""
    n, t, h, w, c = clips.shape
    objects, area = np.zeros((n, t), np.int64), np.zeros((n, t))
    centre, colour = np.full((n, t, 2), 0.5), np.zeros((n, t, c))
    bright = clips.max(-1)  # [n t h w]
    for i in range(n):
        for k in range(t):
            regions, objects[i, k] = scipy.ndimage.label(bright[i, k] > SEEN)
            if not objects[i, k]:
                continue
            sizes = np.bincount(regions.ravel())[1:]
            rows, columns = np.nonzero(regions == 1 + sizes.argmax())
            area[i, k] = len(rows)
            centre[i, k] = (rows.mean() + 0.5) / h, (columns.mean() + 0.5) / w
            brightest = bright[i, k][rows, columns].argmax()
            colour[i, k] = clips[i, k, rows[brightest], columns[brightest]]
    return Tracks(objects, centre, area, colour)


def content_distance(tracks: Tracks) -> float:
    """Returns the average content distance (ACD): the mean distance between the colours of an object in two frames of a clip, over all pairs
    of frames that show one, and over clips; 0..255 times the square root of the channels. NaN where no clip has two.

    Tulyakov et al. 2018, arXiv:1707.04993, section 4.2, where the colour is that of the whole object; an object of few pixels is
    darker at its edge, so here its brightest pixel counts. A frozen clip has 0.
    """
    means = []
    for colour, found in zip(tracks.colour, tracks.found, strict=True):
        seen = colour[found]
        if len(seen) > 1:
            apart = np.linalg.norm(seen[:, None] - seen[None], axis=-1)
            means.append(apart.sum() / (len(seen) * (len(seen) - 1)))
    return float(np.mean(means)) if means else float("nan")


def features(tracks: Tracks, pixels: int) -> Float[np.ndarray, "n f"]:
    """Returns of each clip row, column and area of every frame, and the mean colour, from 0 to 1: 3 t + c numbers. Areas are in units of
    200 pixels of frames of 64x64, and of as large a share of frames with `pixels`.
    """
    area = tracks.area[..., None] * (64 * 64 / 200 / pixels)
    moving = np.concatenate([tracks.centre, area], -1)  # [n t 3]
    return np.concatenate([moving.reshape(len(moving), -1), tracks.colour.mean(1) / 255], 1)


def trajectory_frechet(real: Tracks, fake: Tracks, pixels: int) -> float:
    """Returns the Fréchet distance of the `features` of two sets of clips."""
    return frechet(features(real, pixels), features(fake, pixels))


def directions(tracks: Tracks) -> Int[np.ndarray, " n"]:
    """Returns of each clip which way its object went from the first frame to the last: 0 up, 1 left, 2 down, 3 right."""
    moved = tracks.centre[:, -1] - tracks.centre[:, 0]
    down, right = moved.T
    vertical = np.abs(down) > np.abs(right)
    return np.where(vertical, np.where(down < 0, 0, 2), np.where(right < 0, 1, 3))

"""Photographs of any size, whole and as squares that are cut from them."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gan_jax.data import folders
from gan_jax.data.validate import image_set
from gan_jax.types import ImageSet, UserError


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Returns the pictures of a folder by their names, uint8 [h w 3], grey ones with three equal channels.

    Raises UserError where there are none, and for damaged ones.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise UserError(f"{path}: no such folder ({root.absolute()})")
    files, deeper, _ = folders.entries(root)
    if not files:
        more = f"; perhaps you mean {deeper[0]}" if deeper else ""
        raise UserError(f"{path}: no pictures ({', '.join(folders.SUFFIXES)}){more}")
    found, broken = {}, []
    for file in files:
        try:
            found[file.name] = folders.decode(file, None, "crop", 3)
        except folders.DAMAGED as error:
            broken.append(f"{file.name} ({error})")
    if broken:
        raise UserError(f"{path}: {len(broken)} of {len(files)} pictures are damaged, such as {broken[0]}: remove them")
    return found


def squares(photographs: Sequence[np.ndarray], side: int, name: str) -> ImageSet:
    """Returns squares of `side` pixels that cover each photograph [h w 3], as few as can be and evenly spread, so that
    neighbours overlap where the sides are no multiples. Raises UserError where a photograph is smaller.
    """
    cut = []
    for image in photographs:
        h, w = image.shape[:2]
        if min(h, w) < side:
            raise UserError(f"{name}: a photograph of {w}x{h} is smaller than squares of {side}: leave it out")
        rows, columns = (np.linspace(0, size - side, -(-size // side)).round().astype(int) for size in (h, w))
        cut += [image[r : r + side, c : c + side] for r in rows for c in columns]
    return image_set(np.stack(cut), None, name)

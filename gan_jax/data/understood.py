"""What was understood of a data set, for the greeting of a run and its config.json: guesses that are not said are errors
that are not seen.
"""

from typing import Any

import numpy as np

from gan_jax.types import ImageSet

LOOKED = 64  # images on disk that are looked at


def understood(images: ImageSet) -> ImageSet:
    """Returns the set with `facts`: the range of its values, and its classes with the number of images of each, beside
    what its reader has noted ("arrays" and "layout" of a NumPy file, "folder" and "left_out" of a folder, "name" of a bare word).
    """
    held = images.images
    if not isinstance(held, np.ndarray):
        held = np.asarray(held[np.linspace(0, len(held) - 1, min(len(held), LOOKED)).astype(int)])
    facts: dict[str, Any] = {"values": [float(held.min()), float(held.max())], "levels": held.dtype == np.uint8}
    if images.labels is not None:
        counts = np.bincount(images.labels, minlength=images.classes).tolist()
        facts["classes"] = dict(zip(images.class_names, counts, strict=True))
    return images._replace(facts={**images.facts, **facts})

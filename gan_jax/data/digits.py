"""scikit-learn's handwritten digits: 1,797 images of 8x8 pixels, which need no download."""

import numpy as np

from gan_jax.data.validate import image_set
from gan_jax.types import ImageSet, NoSplit, UserError


def read(split: str = "train") -> ImageSet:
    """Reads all 1,797 images: uint8 [1797 8 8 1], the 17 grey levels 0..16 scaled to 0..255; labels 0..9.

    Raises NoSplit for another split than "train", and UserError where scikit-learn is not installed.
    """
    if split != "train":
        raise NoSplit(f"digits has no split {split!r}: its 1,797 images are all in train")
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise UserError("digits comes with scikit-learn, which is not installed: pip install scikit-learn") from error
    digits = load_digits()
    images = np.round(digits.images * 255 / 16).astype(np.uint8)
    return image_set(images, digits.target, "digits", 10)

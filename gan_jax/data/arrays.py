"""Images from NumPy files: .npz as Keras writes them, or one .npy."""

import lzma
import os
import zipfile
import zlib

import numpy as np

from gan_jax.types import ImageSet, UserError
from gan_jax.validate import image_set

# What an .npz calls its images and labels, the usual first.
NAMES = {
    "train": (("x_train", "y_train"), ("images", "labels"), ("image", "label"), ("x", "y")),
    "test": (("x_test", "y_test"),),
}
DAMAGED = (OSError, EOFError, ValueError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)


def read(path: str | os.PathLike, split: str = "train") -> ImageSet:
    """The images of one split of an .npz, or of an .npy, which is all "train".

    In an .npz the images are x_train, images, image or x, the labels y_train, labels, label or y; for "test" x_test and
    y_test. Failing that, the only array of three or four dimensions is the images. Shapes and ranges:
    `gan_jax.validate.image_set`.

    Raises:
      UserError: no such file, split or array, a damaged file, Python objects, or images that `image_set` refuses.
    """
    name = os.fspath(path)
    if not os.path.isfile(path):
        raise UserError(f"{name}: no such file ({os.path.abspath(path)})")
    if split not in NAMES:
        raise UserError(f"{name}: no split {split!r}: an .npz has train (x_train) and test (x_test)")
    try:
        with open(path, "rb") as file:  # ours, so that it is closed whatever NumPy makes of it
            loaded = np.load(file, allow_pickle=False)
            images, labels = _choose(loaded, split, name)
    except DAMAGED as error:
        if "pickle" in str(error):
            raise UserError(
                f"{name}: holds Python objects, or is no NumPy file; store plain arrays: np.savez(path, x_train=..., y_train=...)"
            ) from error
        raise UserError(
            f"{name}: cannot be read, it is damaged or cut short: {type(error).__name__}: {error}"
        ) from error
    return image_set(images, labels, name)


def _choose(loaded, split: str, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    if isinstance(loaded, np.ndarray):
        if split != "train":
            raise UserError(f"{name}: an .npy has no split {split!r}: its images are all train")
        return loaded, None
    keys = list(loaded.keys())
    for image_key, label_key in NAMES[split]:
        if image_key in keys:
            return loaded[image_key], loaded[label_key] if label_key in keys else None
    if split == "train":
        arrays = [array for key, array in loaded.items() if array.ndim in (3, 4) and key not in ("x_test", "x_val")]
        if len(arrays) == 1:
            return arrays[0], None
    wanted = " or ".join(image_key for image_key, _ in NAMES[split])
    raise UserError(
        f"{name}: no images for {split}: expected {wanted}, found {', '.join(keys) or 'nothing'}; rename one with np.savez"
    )

"""Images from NumPy files: an .npz as Keras writes it, or an .npy."""

import lzma
import os
import zipfile
import zlib

import numpy as np
from numpy.lib.format import MAGIC_PREFIX

from gan_jax.data.ondisk import OnDisk, digest_of, on_disk, too_large
from gan_jax.data.validate import image_set
from gan_jax.types import ImageSet, NoSplit, UserError

# Names of images and labels in an .npz, the usual ones first.
NAMES = {
    "train": (("x_train", "y_train"), ("images", "labels"), ("image", "label"), ("x", "y")),
    "test": (("x_test", "y_test"),),
}
DAMAGED = (OSError, EOFError, ValueError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
SAMPLED = 1024  # images in the digest of a file that stays on disk


def read(path: str | os.PathLike, split: str = "train", *, stream: bool = False) -> ImageSet:
    """Reads the images of one split of an .npz, or of an .npy, which has only "train".

    In an .npz the images are x_train, images, image or x, and the labels y_train, labels, label or y; for "test" they
    are x_test and y_test. Without such names, the images of "train" are the only array of three or four dimensions. For
    shapes and ranges see `gan_jax.data.validate.image_set`.

    With `stream`, or where it would take more than half of the machine's memory, an .npy of uint8 stays on disk, as a
    memory map. Its digest is then one of its shape and of SAMPLED evenly spaced images (all, where there are fewer).

    Raises UserError for a missing or damaged file, a missing array, Python objects, images that `image_set` refuses,
    and `stream` with an .npz or with floats; raises NoSplit, a UserError, for a missing split.
    """
    name = os.fspath(path)
    if not os.path.isfile(path):
        raise UserError(f"{name}: no such file ({os.path.abspath(path)})")
    if split not in NAMES:
        raise NoSplit(f"{name}: no split {split!r}: an .npz has train (x_train) and test (x_test)")
    try:
        with open(path, "rb") as file:  # opened here, since NumPy may not close it on an error
            plain = file.read(len(MAGIC_PREFIX)) == MAGIC_PREFIX
            file.seek(0)
            if stream and not plain:
                raise UserError(
                    f"{name}: no .npy, and only that can stay on disk: save the images with np.save, or as a folder of PNG"
                )
            if plain:
                if split != "train":  # before reading, which takes memory
                    raise NoSplit(f"{name}: an .npy has no split {split!r}: its images are all train")
                mapped = np.load(path, mmap_mode="r", allow_pickle=False)
                if stream or (mapped.dtype == np.uint8 and too_large(mapped.nbytes)):
                    return _mapped(mapped, name, os.stat(path).st_mtime_ns)
            loaded = np.load(file, allow_pickle=False)
            images, labels = _choose(loaded, split, name)
    except DAMAGED as error:
        if "pickle" in str(error) or "Python objects" in str(error):
            raise UserError(
                f"{name}: holds Python objects, or is no NumPy file; store plain arrays: np.savez(path, x_train=..., y_train=...)"
            ) from error
        raise UserError(
            f"{name}: cannot be read, it is damaged or cut short: {type(error).__name__}: {error}"
        ) from error
    return image_set(images, labels, name)


def _mapped(images: np.ndarray, name: str, changed: int) -> ImageSet:
    if images.dtype != np.uint8:
        raise UserError(
            f"{name}: images are {images.dtype}, and only uint8 stays on disk: save them as uint8 in 0..255"
        )
    image_set(images[:1], None, name)  # only to check the shape
    images = images if images.ndim == 4 else images[..., None]
    sample = images[np.linspace(0, len(images) - 1, min(len(images), SAMPLED)).astype(int)]
    digest = digest_of("npy", images.shape, sample.tobytes())
    return on_disk(OnDisk(lambda rows: images[rows], images.shape, changed), None, name, None, digest)


def _choose(loaded, split: str, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    if isinstance(loaded, np.ndarray):
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
    raise (UserError if split == "train" else NoSplit)(
        f"{name}: no images for {split}: expected {wanted}, found {', '.join(keys) or 'nothing'}; rename one with np.savez"
    )

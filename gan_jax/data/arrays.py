"""Images from NumPy files: an .npz as Keras writes it, or an .npy."""

import lzma
import os
import zipfile
import zlib
from typing import Any

import numpy as np
from numpy.lib.format import MAGIC_PREFIX

from gan_jax.data.ondisk import OnDisk, digest_of, digested, on_disk, too_large
from gan_jax.data.validate import doubtful_layout, image_set, require_layout, span_of
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
    are x_test and y_test. Without such names, the images of "train" are the only array of three or four dimensions, and
    labels the only one of as many whole numbers. The range of floats is that of both splits. For shapes and ranges see
    `gan_jax.data.validate.image_set`.

    With `stream`, or where it would take more than half of the machine's memory, an .npy of uint8 stays on disk, as a
    memory map. The digest of an .npy of more than `ondisk.PIXELS` bytes is one of its shape and of SAMPLED evenly spaced
    images.

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
                held = np.load(file, allow_pickle=False)
                found = image_set(held, None, name)
                facts = {"layout": layout} if (layout := doubtful_layout(held.shape)) else {}
                return found._replace(
                    digest=digested(found.images, None, lambda: _sampled(np.asarray(found.images))), facts=facts
                )
            loaded = np.load(file, allow_pickle=False)
            images, labels, beside, facts = _choose(loaded, split, name)
    except DAMAGED as error:
        if "pickle" in str(error) or "Python objects" in str(error):
            raise UserError(
                f"{name}: holds Python objects, or is no NumPy file; store plain arrays: np.savez(path, x_train=..., y_train=...)"
            ) from error
        raise UserError(
            f"{name}: cannot be read, it is damaged or cut short: {type(error).__name__}: {error}"
        ) from error
    span = span_of([images, *beside])
    return image_set(images, labels, name, span=span)._replace(facts=facts)


def _mapped(images: np.ndarray, name: str, changed: int) -> ImageSet:
    if images.dtype != np.uint8:
        raise UserError(
            f"{name}: images are {images.dtype}, and only uint8 stays on disk: save them as uint8 in 0..255"
        )
    require_layout(images.shape, name)
    images = images if images.ndim == 4 else images[..., None]
    return on_disk(OnDisk(lambda rows: images[rows], images.shape, changed), None, name, (), lambda: _sampled(images))


def _sampled(images: np.ndarray) -> str:
    sample = images[np.linspace(0, len(images) - 1, min(len(images), SAMPLED)).astype(int)]
    return digest_of("npy", images.shape, sample.tobytes())


def _choose(
    loaded: Any, split: str, name: str
) -> tuple[np.ndarray, np.ndarray | None, list[np.ndarray], dict[str, Any]]:
    """The images of a split, its labels or None, the floats of the other split, which are read the same way, and which
    arrays these are.
    """
    keys = list(loaded.keys())
    others = {key for pairs in NAMES.values() for pair in pairs for key in pair} - {
        key for pair in NAMES[split] for key in pair
    }
    image_key = next((image_key for image_key, _ in NAMES[split] if image_key in keys), None)
    if image_key is None and split == "train":
        found = [key for key in keys if key not in others and key != "x_val" and loaded[key].ndim in (3, 4)]
        image_key = found[0] if len(found) == 1 else None
    if image_key is not None:
        images = loaded[image_key]
        label_key = _label_key(loaded, keys, image_key, len(images), split, name)
        floats = images.dtype.kind == "f"
        beside = [loaded[key] for pairs in NAMES.values() for key, _ in pairs if floats and key in keys]
        facts = {"arrays": image_key + (f" with the labels {label_key}" if label_key else "")}
        facts |= {"layout": layout} if (layout := doubtful_layout(images.shape)) else {}
        return images, loaded[label_key] if label_key else None, beside, facts
    wanted = " or ".join(image_key for image_key, _ in NAMES[split])
    raise (UserError if split == "train" else NoSplit)(
        f"{name}: no images for {split}: expected {wanted}, found {', '.join(keys) or 'nothing'}; rename one with np.savez"
    )


def _label_key(loaded: Any, keys: list[str], image_key: str, count: int, split: str, name: str) -> str | None:
    """The name of the array of labels: the usual one beside these images, else the only array of so many whole numbers.

    Of "train" no array that is named after another split is meant, of "test" only those that are.
    """
    usual = dict(NAMES[split]).get(image_key)
    if usual in keys:
        return usual
    found = [
        key
        for key in keys
        if key != image_key
        and any(word in key.lower() for word in ("test", "val")) == (split == "test")
        and loaded[key].dtype.kind in "iu"
        and loaded[key].shape in ((count,), (count, 1))
    ]
    if len(found) > 1:
        raise UserError(
            f"{name}: {' and '.join(found)} could be the labels of {image_key}, {count} whole numbers each: name them {usual or 'y_train'}, or leave them out"
        )
    return found[0] if found else None

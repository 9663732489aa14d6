"""Data: reading image sets, and batches of them as a function of (seed, step)."""

import os
import re

from gan_jax.data import arrays, bicubic, digits, folders, pairs, tfds
from gan_jax.data.resident import source
from gan_jax.data.stacked import stacked
from gan_jax.data.tfds_prepare import find
from gan_jax.data.together import together
from gan_jax.data.toy import grid, grid_centres, points, ring, ring_centres
from gan_jax.data.understood import understood
from gan_jax.types import ImageSet, NoSplit, UserError

__all__ = [
    "arrays",
    "bicubic",
    "digits",
    "folders",
    "grid",
    "grid_centres",
    "is_name",
    "load",
    "pairs",
    "points",
    "ring",
    "ring_centres",
    "source",
    "stacked",
    "tfds",
    "together",
]


def load(
    data: str, split: str = "train", *, size: int | None = None, fit: str = "crop", stream: bool = False
) -> ImageSet:
    """Reads the image set that `--data` names.

    `data` is "digits"; the path of an .npz or .npy file; a directory, of a prepared TFDS set or of images (PNG, JPEG,
    WebP and others); or the name of a TFDS set, such as "mnist", "cifar10", "name/config:1.0.0". `split` is "train", "test", or
    for TFDS sets any of theirs.

    `size` is the side of the square to which a folder's images are resized, and `fit` how: "crop", "stretch" or "pad".
    Other sets are not resized: their images must already have this size.

    `stream` leaves the images on disk, and reads each when it is needed. This is always done with a folder, a TFDS set
    or an .npy file whose images would take more than half of the machine's memory; the digits stay in memory. `images`
    of the result is then no np.ndarray; batches and digest are the same.

    A bare word names a set where there is one, also if a folder here is called so: that is ./word. What was understood
    of the data is in `facts` of the result.

    Raises UserError where there is no such set or it cannot be read; the message says what to do. Raises NoSplit, a
    UserError, where the set has no such split.
    """
    if not data:
        raise UserError("--data is empty: digits, an .npz file, a folder of images, or a TFDS name such as mnist")
    path = os.path.expanduser(data)
    named = os.path.exists(path) and is_name(data)
    if data == "digits":
        images = digits.read(split)
    elif path.endswith((".npz", ".npy")):
        images = arrays.read(path, split, stream=stream)
    elif os.path.isdir(path) and not named:
        if find(path) is None:
            if split != "train":
                raise NoSplit(f"{data}: a folder of images has no split {split!r}: name the folder of those images")
            images = folders.read(path, size=size, fit=fit, stream=stream)
            where = os.path.abspath(path)
            return understood(images._replace(facts={**images.facts, "folder": where, "path": where}))
        images = tfds.read_directory(path, split, stream=stream)
    elif os.path.exists(path) and not named:
        raise UserError(
            f"{data}: neither .npz nor .npy nor a folder: unpack it into a folder of PNG, JPEG or WebP images, or save it with np.savez"
        )
    elif _is_path(data):
        raise UserError(f"{data}: no such file or folder ({os.path.abspath(path)})")
    else:
        images = tfds.read(data, split, stream=stream)

    if os.path.exists(path) and not named:
        images = images._replace(facts={**images.facts, "path": os.path.abspath(path)})
    if named:
        images = images._replace(facts={**images.facts, "name": f"the set of that name; what lies here is ./{data}"})
    h, w = images.spec.shape[:2]
    if size is not None and (h, w) != (size, size):
        raise UserError(
            f"{data}: --size {size}, but its images are {w}x{h}, and only folders of images are resized: leave --size out"
        )
    return understood(images)


def is_name(data: str) -> bool:
    """Returns whether a word names a set, also where a folder here is called so: the digits, or a set of TFDS that is
    prepared or is prepared on first use.
    """
    return data == "digits" or (not os.path.dirname(data) and not data.startswith((".", "~")) and tfds.at_hand(data))


def _is_path(data: str) -> bool:
    name = re.sub(r":[\d.]+$", "", data)  # the end of mnist:3.0.1 is a version, not a suffix
    if data.startswith((".", "~", os.sep)) or os.path.splitext(name)[1]:
        return True
    # name/config may be a TFDS set: look in the catalogue and among the prepared sets.
    return os.sep in name and not tfds.known(name.split(os.sep)[0])

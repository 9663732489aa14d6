"""Image sets of TensorFlow Datasets, as catalogue and as format on disk, without TensorFlow."""

import contextlib
import difflib
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gan_jax.prepare import OURS, find, prepare, tfds_module
from gan_jax.types import ImageSet, UserError
from gan_jax.validate import image_set

CHUNK = 2048  # records decoded at a time


def read(name: str, split: str = "train", data_dir: str | os.PathLike | None = None) -> ImageSet:
    """One split of a set by its TFDS name, "name", "name/config", "name:1.0.0" or "name/config:1.0.0".

    What is prepared in `data_dir` (by default TFDS_DATA_DIR, else ~/tensorflow_datasets) is read, and may be read-only;
    mnist, fashion_mnist and cifar10 are prepared on first use, from <data_dir>/downloads/<name>/ or by download.

    Args:
      split: as TFDS writes it: "train", "test", "train[:10%]", "train+test".

    Returns:
      An `ImageSet` of the features "image" and, where there is one, "label".

    Raises:
      UserError: not prepared, not reachable, no such set or split, not images, a package that is missing.
    """
    root = _root(data_dir)
    plain, _, version = name.partition(":")
    folder = find(root / plain, version)
    if folder is None and (other := find(root / plain)):
        raise UserError(f"{name}: no version {version} in {root / plain}, where the newest is {other.name}")
    if folder is None:
        if plain not in OURS or version:
            raise UserError(_not_prepared(name, root))
        folder = prepare(plain, root)
    return _read(folder, split, name)


def read_directory(path: str | os.PathLike, split: str = "train") -> ImageSet:
    """One split of a prepared directory: the one with dataset_info.json, or one above it where there is no doubt which
    is meant.

    Raises:
      UserError: none or several sets in it, and what `read` raises.
    """
    folder = find(path)
    if folder is None:
        raise UserError(f"{path}: no prepared TFDS set in it (no dataset_info.json beside a features.json)")
    return _read(folder, split, os.fspath(path))


def known(name: str) -> bool:
    """Whether TFDS's catalogue has this name, or it is prepared in TFDS's directory."""
    return (_root(None) / name).is_dir() or name in _names()


def _names() -> list[str]:
    return list(tfds_module().list_builders(with_community_datasets=False))


def _root(data_dir: str | os.PathLike | None) -> Path:
    return Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def _read(folder: Path, split: str, name: str) -> ImageSet:
    tfds = tfds_module()
    try:
        builder = tfds.builder_from_directory(folder)
    except Exception as error:  # of whatever kind its readers of JSON and protocol buffers raise
        raise UserError(f"{name}: {folder} is damaged: {str(error).splitlines()[0]}; prepare it anew") from error
    info, features = builder.info, dict(builder.info.features.items())
    formats = sorted(form.value for form in info.available_file_formats())
    if "array_record" not in formats:
        again = (
            ""
            if info.name in OURS
            else f"pip install tensorflow; tfds build {info.name} --file_format=array_record --data_dir=DIR, then "
        )
        raise UserError(
            f"{name}: prepared as {', '.join(formats) or 'nothing known'} in {folder}, and only array_record is read without TensorFlow: "
            f"prepare it in another directory: {again}TFDS_DATA_DIR=DIR"
        )
    shape = features["image"].shape if "image" in features else None
    if not isinstance(shape, tuple) or len(shape) != 3 or None in shape:
        found = ", ".join(f"{key} {feature.shape}" for key, feature in features.items())
        raise UserError(
            f"{name}: needs a feature image [h w c] of one size; it has {found}. Save the images as a folder and use --size"
        )
    with _damage(name, folder):
        try:
            records = builder.as_data_source(split, file_format="array_record")
            count = len(records)
        except (KeyError, ValueError, AssertionError) as error:
            raise UserError(
                f"{name}: no split {split!r}: there are {', '.join(info.splits)}, and parts of them such as train[:10%]"
            ) from error
    if count == 0:
        raise UserError(f"{name}: split {split!r} is empty")

    images = np.empty((count, *shape), features["image"].np_dtype)
    label = features.get("label")
    labels = (
        np.empty(count, np.int64)
        if label is not None and label.shape == () and np.issubdtype(label.np_dtype, np.integer)
        else None
    )
    classes = getattr(label, "num_classes", None)
    with _without_advice(), _damage(name, folder):
        for start in range(0, count, CHUNK):
            rows = range(start, min(start + CHUNK, count))
            for row, record in zip(rows, records.__getitems__(list(rows)), strict=True):
                images[row] = record["image"]
                if labels is not None:
                    labels[row] = record["label"]
    return image_set(images, labels, name, classes)


def _not_prepared(name: str, root: Path) -> str:
    """Why there is nothing to read: the set is known but has to be prepared with TensorFlow, or nobody knows it."""
    plain = re.split("[/:]", name)[0]
    catalogue = _names()
    if plain in OURS:
        return f"{name} is not prepared in {root}, and only the newest version can be: leave the version out"
    if plain in catalogue:
        return (
            f"{name} is not prepared in {root}, and its preparation needs TensorFlow: pip install tensorflow; "
            f"tfds build {name} --file_format=array_record --data_dir={root}. If it is prepared elsewhere: TFDS_DATA_DIR=..."
        )
    there = [path.name for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
    close = difflib.get_close_matches(plain, [*catalogue, *there, "digits"], n=3)
    guess = f"did you mean {', '.join(close)}?" if close else "see https://www.tensorflow.org/datasets/catalog"
    return f"{name!r} is no file or folder here, nothing prepared in {root}, and no TFDS name: {guess}"


@contextlib.contextmanager
def _without_advice() -> Iterator[None]:
    """TFDS's first decoded image logs a recommendation of OpenCV; Pillow takes five seconds for MNIST, and nobody need
    read of it.
    """
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _damage(name: str, folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError, ValueError, IndexError, KeyError) as error:  # array_record's own are RuntimeError
        raise UserError(
            f"{name}: its files in {folder} are damaged or missing ({error}): delete that directory and prepare it again"
        ) from error

"""Image sets of TensorFlow Datasets (TFDS), read from their format on disk without TensorFlow."""

import contextlib
import difflib
import io
import logging
import math
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gan_jax.data.ondisk import OnDisk, digest_of, digested, on_disk, too_large
from gan_jax.data.tfds_prepare import OURS, find, prepare, tfds_module
from gan_jax.data.validate import image_set
from gan_jax.system import cache
from gan_jax.types import ImageSet, NoSplit, UserError

CHUNK = 2048  # records decoded at a time


def read(
    name: str, split: str = "train", data_dir: str | os.PathLike | None = None, *, stream: bool = False
) -> ImageSet:
    """Reads one split of a set by its TFDS name, "name", "name/config", "name:1.0.0" or "name/config:1.0.0".

    The set is read from `data_dir` (by default TFDS_DATA_DIR, else ~/tensorflow_datasets), which may be read-only if
    the set is prepared there. mnist, fashion_mnist and cifar10 are prepared on first use, from
    <data_dir>/downloads/<name>/ or by download. The result has the features "image" and, where there is one, "label".

    `split` is in TFDS's notation: "train", "test", "train[:10%]", "train+test". `stream` leaves the images on disk,
    which is always done where they are uint8 and would take more than half of the machine's memory. The digest of images
    of more than `ondisk.PIXELS` bytes is one of TFDS's description of the set, and of the names and sizes of its files.

    Raises UserError where the set is unknown, not prepared or not reachable, holds no images of one size, a package is
    missing, or with `stream` the images are floats; raises NoSplit, a UserError, where there is no such split.
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
    return _read(folder, split, name, stream)


def read_directory(path: str | os.PathLike, split: str = "train", *, stream: bool = False) -> ImageSet:
    """Reads one split of a prepared directory: the one with dataset_info.json, or one above it with a single set.

    Raises UserError where there is no set or there are several, and where `read` does.
    """
    folder = find(path)
    if folder is None:
        raise UserError(f"{path}: no prepared TFDS set in it (no dataset_info.json beside a features.json)")
    return _read(folder, split, os.fspath(path), stream)


def at_hand(name: str) -> bool:
    """Returns whether a set of this name is prepared in TFDS's directory, or is prepared on first use."""
    return name in OURS or find(_root(None) / name) is not None


def known(name: str) -> bool:
    """Returns whether TFDS's catalogue has this name, or a set of it is prepared in TFDS's directory."""
    return (_root(None) / name).is_dir() or name in _names()


def _names() -> list[str]:
    return list(tfds_module().list_builders(with_community_datasets=False))


def _root(data_dir: str | os.PathLike | None) -> Path:
    return Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def _read(folder: Path, split: str, name: str, stream: bool) -> ImageSet:
    tfds = tfds_module()
    try:
        builder = tfds.builder_from_directory(folder)
    except Exception as error:  # its readers of JSON and protocol buffers raise many kinds
        raise UserError(f"{name}: {folder} is damaged: {str(error).splitlines()[0]}; prepare it anew") from error
    info, features = builder.info, dict(builder.info.features.items())
    formats = sorted(form.value for form in info.available_file_formats())
    if "array_record" not in formats:
        command = (
            ""
            if info.name in OURS
            else f"pip install tensorflow; tfds build {info.name} --file_format=array_record --data_dir=DIR, then "
        )
        raise UserError(
            f"{name}: prepared as {', '.join(formats) or 'nothing known'} in {folder}, and only array_record is read without TensorFlow: "
            f"prepare it in another directory: {command}TFDS_DATA_DIR=DIR"
        )
    shape = features["image"].shape if "image" in features else None
    if not isinstance(shape, tuple) or len(shape) != 3 or None in shape:
        listed = ", ".join(f"{key} {feature.shape}" for key, feature in features.items())
        raise UserError(
            f"{name}: needs a feature image [h w c] of one size; it has {listed}. Save the images as a folder and use --size"
        )
    with _damage(name, folder):
        try:
            encoded = isinstance(features["image"], tfds.features.Image)
            decoders = {"image": tfds.decode.SkipDecoding()} if encoded else None
            records = builder.as_data_source(split, file_format="array_record", decoders=decoders)
            count = len(records)
        except (KeyError, ValueError, AssertionError) as error:
            raise NoSplit(
                f"{name}: no split {split!r}: there are {', '.join(info.splits)}, and parts of them such as train[:10%]"
            ) from error
    if count == 0:
        raise UserError(f"{name}: split {split!r} is empty")

    dtype, label = features["image"].np_dtype, features.get("label")
    labelled = label is not None and label.shape == () and np.issubdtype(label.np_dtype, np.integer)
    # Those that no image has, such as the 11 of the 37 of emnist/letters, are left out.
    declared = getattr(label, "names", None) or map(str, range(getattr(label, "num_classes", None) or 0))
    names = tuple(declared) if labelled else ()
    if stream and dtype != np.uint8:
        raise UserError(f"{name}: images are {np.dtype(dtype)}, and only uint8 stays on disk: leave stream out")
    if stream or (dtype == np.uint8 and too_large(count * math.prod(shape))):
        with _without_advice(), _damage(name, folder):
            labels = _labels(tfds, builder, split, count) if labelled else None
            images = _on_disk(tfds, builder, split, (count, *shape), name, folder)
            images[:1]  # TFDS logs its advice with the first image: read it here, not in a thread
            return on_disk(images, labels, name, names, lambda: _digest(builder, split, folder))

    def decoded() -> dict[str, np.ndarray]:
        arrays = {"images": np.empty((count, *shape), dtype)}
        if labelled:
            arrays["labels"] = np.empty(count, np.int64)
        for start in range(0, count, CHUNK):
            rows = range(start, min(start + CHUNK, count))
            for row, record in zip(rows, records.__getitems__(list(rows)), strict=True):
                arrays["images"][row] = _decode(record["image"], features["image"]) if encoded else record["image"]
                if labelled:
                    arrays["labels"][row] = record["label"]
        return arrays

    with _without_advice(), _damage(name, folder):
        # Decoding a million small images takes a minute, reading them decoded from the cache a second.
        times = [os.stat(part.filename).st_mtime_ns for part in builder.info.splits[split].file_instructions]
        stored = cache.arrays(digest_of(os.fspath(folder), times, _digest(builder, split, folder)), decoded)
    found = image_set(stored["images"], stored.get("labels"), name, names=names)
    return found._replace(digest=digested(found.images, found.labels, lambda: _digest(builder, split, folder)))


def _decode(encoded: bytes | None, feature: Any) -> np.ndarray:
    """Decodes common images by Pillow alone, in two thirds of the time that TFDS takes, and others by TFDS."""
    if encoded is None:
        raise ValueError("a record without an image")
    image = Image.open(io.BytesIO(encoded))
    plain = {"L": (*image.size[::-1], 1), "RGB": (*image.size[::-1], 3)}.get(image.mode)
    if feature.np_dtype == np.uint8 and plain == feature.shape:
        return np.asarray(image).reshape(plain)
    return feature.decode_example_np(encoded)


# ---- on disk


def _reader(tfds: Any, builder: Any, split: str, feature: str) -> Callable[[list[int]], list[Any]]:
    """Function from rows to one feature of each; the other features are not decoded."""
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    records = builder.as_data_source(split, file_format="array_record", deserialize_method=raw)
    only = tfds.features.FeaturesDict({feature: builder.info.features[feature]})
    return lambda rows: [only.deserialize_example_np(record)[feature] for record in records.__getitems__(rows)]


def _labels(tfds: Any, builder: Any, split: str, count: int) -> np.ndarray:
    read_rows = _reader(tfds, builder, split, "label")
    chunks = (list(range(start, min(start + CHUNK, count))) for start in range(0, count, CHUNK))
    return np.array([label for rows in chunks for label in read_rows(rows)], np.int64)


def _on_disk(tfds: Any, builder: Any, split: str, shape: tuple[int, ...], name: str, folder: Path) -> OnDisk:
    read_images = _reader(tfds, builder, split, "image")

    def read_rows(rows: list[int]) -> np.ndarray:
        images = np.empty((len(rows), *shape[1:]), np.uint8)
        with _damage(name, folder):
            for place, image in enumerate(read_images(rows)):
                images[place] = image
        return images

    return OnDisk(read_rows, shape)


def _digest(builder: Any, split: str, folder: Path) -> str:
    described = [(folder / file).read_bytes() for file in ("dataset_info.json", "features.json")]
    parts = builder.info.splits[split].file_instructions
    files = [(os.path.basename(part.filename), os.path.getsize(part.filename), part.skip, part.take) for part in parts]
    return digest_of("tfds", described, split, files)


def _not_prepared(name: str, root: Path) -> str:
    """Message of why there is nothing to read: the set has to be prepared with TensorFlow, or is unknown."""
    plain = re.split("[/:]", name)[0]
    catalogue = _names()
    if plain in OURS:
        return f"{name} is not prepared in {root}, and only the newest version can be: leave the version out"
    if plain in catalogue:
        return (
            f"{name} is not prepared in {root}, and its preparation needs TensorFlow: pip install tensorflow; "
            f"tfds build {name} --file_format=array_record --data_dir={root}. If it is prepared elsewhere: TFDS_DATA_DIR=..."
        )
    prepared = [path.name for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
    similar = difflib.get_close_matches(plain, [*catalogue, *prepared, "digits"], n=3)
    guess = f"did you mean {', '.join(similar)}?" if similar else "see https://www.tensorflow.org/datasets/catalog"
    return f"{name!r} is no file or folder here, nothing prepared in {root}, and no TFDS name: {guess}"


@contextlib.contextmanager
def _without_advice() -> Iterator[None]:
    """Silences TFDS's recommendation of OpenCV, logged with its first decoded image; Pillow is fast enough."""
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
    except (OSError, RuntimeError, ValueError, IndexError, KeyError) as error:  # array_record raises RuntimeError
        raise UserError(
            f"{name}: its files in {folder} are damaged or missing ({error}): delete that directory and prepare it again"
        ) from error

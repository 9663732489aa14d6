"""Preparing TFDS sets without TensorFlow, three common ones from their original files, and finding prepared sets."""

import contextlib
import gzip
import io
import os
import re
import tarfile
import threading
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np

from gan_jax.system.terminal import say
from gan_jax.types import UserError

OURS = ("mnist", "fashion_mnist", "cifar10")  # TFDS's own code for them needs TensorFlow
WAIT = 10  # seconds to wait for a first answer from the network; TFDS itself retries for 200
IDX = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)


def tfds_module() -> ModuleType:
    """Imports tensorflow_datasets, which takes half a second. Raises UserError where a package is missing."""
    try:
        import array_record.python.array_record_module  # noqa: F401
        import importlib_resources  # noqa: F401  TFDS 4.9.10 needs it to prepare and does not declare it
        import tensorflow_datasets
    except ImportError as error:
        raise UserError(
            f"TFDS sets need packages that are missing ({error}): pip install tensorflow-datasets array_record importlib_resources"
        ) from error
    return tensorflow_datasets


def find(path: str | os.PathLike, version: str = "") -> Path | None:
    """Returns the prepared directory of the newest version of a set, at `path` or up to three levels under it.

    With `version`, that of this version. None where there is none. Raises UserError where there are several sets.
    """
    path = Path(path)
    folders = []
    for depth in range(4):
        for info in path.glob("*/" * depth + "dataset_info.json"):
            inside = info.parent.relative_to(path).parts
            # TFDS prepares in "incomplete.*" and renames at the end: such a directory is no complete set.
            if info.with_name("features.json").is_file() and not any(part.startswith("incomplete.") for part in inside):
                folders.append(info.parent)
    if version:
        folders = [folder for folder in folders if folder.name == version]
    if len({folder.parent for folder in folders}) > 1:
        several = ", ".join(sorted(str(folder.relative_to(path)) for folder in folders))
        raise UserError(f"{path}: several prepared sets: {several}; name one")
    return max(folders, key=lambda folder: [int(part) for part in re.findall(r"\d+", folder.name)], default=None)


def prepare(name: str, root: Path) -> Path:
    """Prepares one of the sets in OURS as <root>/<name>/<version>, atomically, and returns that directory.

    The original files are taken from <root>/downloads/<name>/, under their own names (without verification), or
    downloaded with verification of their checksums. Raises UserError where the files are neither there nor can be
    downloaded, are damaged, or `root` cannot be written to.
    """
    tfds = tfds_module()
    local = root / "downloads" / name
    builder = _builder(tfds, name, root, local)
    absent = [url for url in builder.urls if not _cached(tfds, url, local)]
    if absent and (why := _unreachable(absent[0])):
        files = ", ".join(str(local / url.rpartition("/")[2]) for url in absent)
        raise UserError(
            f"{name} is not prepared in {root}, and {absent[0]} cannot be reached ({why}). "
            f"Where it is prepared: TFDS_DATA_DIR=...; as a NumPy file: --data {name}.npz; or put the original files at {files}"
        )
    say(f"preparing {name} in {root} (once, about 10 s{' after the download' if absent else ''})", error=True)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS would repeat the message above
            builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    except UserError:
        raise
    except (
        Exception
    ) as error:  # whatever it was, from a full disk to a check sum, nothing has been left that reads as a set
        if (quicker := find(root / name)) is not None:  # another process
            return quicker
        raise UserError(
            f"preparing {name} in {root} failed: {type(error).__name__}: {error}. TFDS_DATA_DIR=... puts it elsewhere"
        ) from error
    return Path(builder.data_dir)


def _builder(tfds, name: str, root: Path, local: Path):
    """TFDS's builder of the set, with readers that do not need TensorFlow; `urls` are those of the original files."""
    from PIL import Image
    from tensorflow_datasets.image_classification import cifar, mnist

    stock = {"mnist": mnist.MNIST, "fashion_mnist": mnist.FashionMNIST, "cifar10": cifar.Cifar10}[name]
    reader = _cifar if name == "cifar10" else _idx

    def split_generators(self, downloads):
        paths = [local / url.rpartition("/")[2] for url in self.urls]
        paths = [
            path if path.is_file() else Path(downloads.download(url))
            for path, url in zip(paths, self.urls, strict=True)
        ]
        return {split: self._generate_examples(split, *arrays) for split, arrays in reader(paths, self).items()}

    def generate_examples(self, split, images, labels):
        for i in range(len(images)):
            image = Image.fromarray(images[i])  # arrays would be encoded by TensorFlow
            yield (
                i,
                {"image": image, "label": int(labels[i]), **({"id": f"{split}_{i:05d}"} if name == "cifar10" else {})},
            )

    with tfds.core.registered.skip_registration():
        methods = {"_split_generators": split_generators, "_generate_examples": generate_examples}
        # TFDS finds the checksums by the module.
        ours = type(name, (stock,), {"name": name, "__module__": stock.__module__, **methods})
    builder = ours(data_dir=root, file_format="array_record")
    builder.urls = [builder._cifar_info.url] if name == "cifar10" else [builder.URL + file for file in IDX]
    return builder


def _idx(paths: list[Path], builder) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    arrays = []
    for path, rank in zip(paths, (3, 1, 3, 1), strict=True):
        with _damage(path):
            data = gzip.decompress(path.read_bytes())
            if data[:4] != bytes((0, 0, 8, rank)):  # 8: unsigned bytes; then follows one size for each axis
                raise ValueError(f"no IDX file of rank {rank}")
            shape = np.frombuffer(data, ">i4", rank, 4)
            arrays.append(np.frombuffer(data, np.uint8, offset=4 + shape.nbytes).reshape(shape))
    for i in (0, 2):
        if len(arrays[i]) != len(arrays[i + 1]):
            raise UserError(
                f"{paths[i]} has {len(arrays[i])} images, and {paths[i + 1]} {len(arrays[i + 1])} labels: they are not of one set"
            )
    return {"train": (arrays[0], arrays[1]), "test": (arrays[2], arrays[3])}


def _cifar(paths: list[Path], builder) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    meta = builder._cifar_info
    with _damage(paths[0]), tarfile.open(paths[0]) as tar:

        def member(file: str) -> bytes:
            opened = tar.extractfile(meta.prefix + file)
            if opened is None:
                raise ValueError(f"{file} is no file")
            return opened.read()

        def rows(files: list[str]) -> tuple[np.ndarray, np.ndarray]:
            data = np.frombuffer(b"".join(member(file) for file in files), np.uint8).reshape(-1, 1 + 3 * 32 * 32)
            return np.ascontiguousarray(data[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), data[:, 0]

        builder.info.features["label"].names = member(meta.label_files[0]).decode().split()
        return {"train": rows(meta.train_files), "test": rows(meta.test_files)}


@contextlib.contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, ValueError, KeyError, zlib.error, tarfile.TarError) as error:
        raise UserError(
            f"{path} is damaged or cut short ({error}): delete it and its .INFO file, and run again"
        ) from error


def _cached(tfds, url: str, local: Path) -> bool:
    """Whether the original file is there, under its own name or the one that TFDS gives to downloads."""
    from tensorflow_datasets.core.download import checksums, resource

    info = checksums.get_all_url_infos().get(url, SimpleNamespace(checksum=None))
    download = local / resource.get_dl_fname(url, info.checksum)
    return (local / url.rpartition("/")[2]).is_file() or resource.is_locally_cached(tfds.core.Path(download))


def _unreachable(url: str) -> str | None:
    """Why a URL does not answer within WAIT seconds; None if it does. Asks in a thread, since time-outs do not cover
    the look-up of the host's name.
    """
    result = [f"no answer in {WAIT} s"]

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=WAIT):
                result[0] = ""
        except (OSError, ValueError) as error:
            result[0] = str(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(WAIT)
    return result[0] or None

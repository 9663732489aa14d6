"""The published weights of the Inception network: from a given file, from the cache, or downloaded once."""

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

import filelock

from gan_jax.evaluation import torchfile
from gan_jax.evaluation.inception_net import variables
from gan_jax.system import cache
from gan_jax.system.terminal import say
from gan_jax.types import PyTree, UserError

# TensorFlow's weights of 2015-12-05; pytorch-fid and torch-fidelity have published the same file.
URL = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
WAIT = 30  # seconds without an answer, or without further data


def inception(path: str | os.PathLike = "") -> tuple[PyTree, str]:
    """Returns the variables of `inception_net.Inception`, and the SHA-256 of their file, 64 hex digits.

    The file is `path`, which may have any hash (it is part of a metric's protocol); without `path`, the published file
    in weights/ of the cache directory, which is downloaded the first time, and checked against the published hash.
    Raises UserError where the file cannot be read or downloaded, has another hash than the published one, or holds
    other tensors.
    """
    file = Path(path).expanduser() if path else _published_file()
    try:
        digest = _sha256(file)
    except OSError as error:
        raise UserError(f"--features {file} cannot be read: {error.strerror or error}; it should be {URL}") from error
    if not path and digest != SHA256:
        raise UserError(
            f"{file} is damaged: its SHA-256 is {digest}, and should be {SHA256}. Delete it, to download it anew"
        )
    try:
        return variables(torchfile.read(file)), digest
    except UserError as error:
        if str(file) in str(error):
            raise
        raise UserError(f"{file}: {error}") from error


def _published_file() -> Path:
    """The path of the published file in the cache directory, downloaded if it is not there."""
    name, root = URL.rpartition("/")[2], cache.root()
    if root is None:
        raise UserError(
            f"GAN_JAX_CACHE is off, so that there is no place for the Inception weights: download {URL} and name it by --features {name}"
        )
    file = root / "weights" / name
    if file.is_file():
        return file
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{file}.lock"):  # one of several processes downloads, the others wait
            if not file.is_file():
                _download(file)
    # NotImplementedError: a file system without locks.
    except (OSError, http.client.HTTPException, NotImplementedError) as error:
        raise UserError(
            f"the Inception weights could not be downloaded ({error or type(error).__name__}). Where there is a network: get {URL}, "
            f"and put it at {file}, or name it by --features PATH"
        ) from error
    return file


def _download(file: Path) -> None:
    """Downloads to a temporary file, which gets its final name only if its hash is the published one."""
    say(f"downloading {URL} (96 MB, once) to {file}", error=True)
    part = file.with_suffix(".part")
    try:
        # not urlopen, which keeps the proxy settings of its first call in the process
        with urllib.request.build_opener().open(URL, timeout=WAIT) as response, open(part, "wb") as out:
            while block := response.read(2**20):
                out.write(block)
        if (digest := _sha256(part)) != SHA256:
            raise UserError(
                f"what {URL} gave has {part.stat().st_size} bytes and SHA-256 {digest}, not {SHA256}: cut short, or not the file (a proxy's page?). "
                f"Run again, or put the file at {file}, or name it by --features PATH"
            )
        os.replace(part, file)
    except urllib.error.HTTPError as error:
        error.close()  # the error holds the connection
        raise
    finally:
        part.unlink(missing_ok=True)


def _sha256(file: Path) -> str:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()

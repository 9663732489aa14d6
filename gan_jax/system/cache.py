"""Results that later starts need not compute again, in the user's cache directory, which may be deleted at any time."""

import contextlib
import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

MOST = 2**31  # bytes of cached arrays; beyond it the least recently used files are deleted
OFF = "off"


def root() -> Path | None:
    """Returns GAN_JAX_CACHE, or by default gan_jax in the user's cache directory; None where GAN_JAX_CACHE is "off", and
    for a user without a home.
    """
    given = os.environ.get("GAN_JAX_CACHE")
    if given and given.lower() == OFF:
        return None
    try:
        return Path(given or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "gan_jax").expanduser()
    except RuntimeError:  # no HOME, and no entry of the user in the system's list
        return None


def arrays(name: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Returns the arrays cached under `name`, or else those of `make()`, which are then cached.

    The name must determine everything that the arrays depend on. Where the cache cannot be read or written, for example
    because the disk is full, `make` is called each time. More than MOST / 4 bytes are not cached.
    """
    folder = root()
    if folder is None:
        return make()
    path = folder / "arrays" / f"{name}.npz"
    try:
        with open(path, "rb") as file, np.load(file) as file_arrays:  # NumPy alone may not close it on an error
            stored = {key: file_arrays[key] for key in file_arrays.files}  # reading verifies the checksum of each
        os.utime(path)
        return stored
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass
    result = make()
    if sum(array.nbytes for array in result.values()) <= MOST // 4:
        with contextlib.suppress(OSError):
            _write(path, result)
    return result


def _write(path: Path, values: dict[str, np.ndarray]) -> None:
    """Writes the file atomically, then deletes the least recently used files beyond MOST bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **values)  # type: ignore[arg-type]  # NumPy's stubs take the names for an option of savez
        os.replace(part, path)
    except BaseException:
        os.unlink(part)
        raise
    others = sorted(path.parent.glob("*.npz"), key=lambda entry: entry.stat().st_mtime, reverse=True)
    total = 0
    for entry in others:
        total += entry.stat().st_size
        if total > MOST:
            entry.unlink()

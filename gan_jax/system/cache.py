"""What the next start need not compute again, in the user's cache directory: it may be deleted at any time."""

import contextlib
import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

MOST = 2**31  # bytes of arrays; what was used longest ago goes first
OFF = "off"


def root() -> Path | None:
    """GAN_JAX_CACHE, else gan_jax in the user's cache directory; None where GAN_JAX_CACHE is "off"."""
    given = os.environ.get("GAN_JAX_CACHE")
    if given == OFF:
        return None
    return Path(given or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "gan_jax").expanduser()


def arrays(name: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """`make()`, or what it returned when it was last called for this name, which must say all that the arrays depend on.

    What cannot be kept or read again, on a full disk, say, is made anew.
    """
    folder = root()
    if folder is None:
        return make()
    path = folder / "arrays" / f"{name}.npz"
    try:
        with open(path, "rb") as file, np.load(file) as kept:  # ours, so that it is closed whatever NumPy makes of it
            found = {key: kept[key] for key in kept.files}  # each with its checksum
        os.utime(path)
        return found
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass
    made = make()
    if sum(array.nbytes for array in made.values()) <= MOST // 4:
        with contextlib.suppress(OSError):
            _write(path, made)
    return made


def _write(path: Path, made: dict[str, np.ndarray]) -> None:
    """Under its name only when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **made)  # type: ignore[arg-type]  # NumPy's stubs take the names for its own option
        os.replace(part, path)
    except BaseException:
        os.unlink(part)
        raise
    others = sorted(path.parent.glob("*.npz"), key=lambda kept: kept.stat().st_mtime, reverse=True)
    total = 0
    for kept in others:
        total += kept.stat().st_size
        if total > MOST:
            kept.unlink()

"""JAX's persistent cache of compiled programs, so that the next start of a run need not compile them again."""

import hashlib
import os
import platform
from pathlib import Path

import jax
import jaxlib

from gan_jax.system import cache

MOST = 2**28  # bytes; beyond it JAX deletes the least recently used programs
# Seconds of compilation from which on a program is kept. For each that is kept JAX looks through the whole directory, some
# tenth of a second where it is full: for the many small ones that costs more than compiling them again.
WORTH = 0.1


def directory() -> Path | None:
    """Returns a directory in the user's cache for this version of XLA and this kind of processor.

    It is None where caching is off. A program compiled for one processor may use instructions that another one lacks.
    """
    root = cache.root()
    if root is None:
        return None
    processor = hashlib.sha256(f"{platform.machine()} {_features()}".encode()).hexdigest()[:12]
    return root / f"jaxlib-{jaxlib.__version__}-{processor}"


def keep() -> Path | None:
    """Makes JAX cache programs that take long to compile in `directory()`, unless JAX_COMPILATION_CACHE_DIR names another.

    Returns the directory, or None where nothing is cached: the directory cannot be written to,
    JAX_ENABLE_COMPILATION_CACHE is false, or GAN_JAX_CACHE is off. To be called only in a process that belongs to
    gan_jax, since it changes JAX's configuration. JAX itself distinguishes programs by flags, devices and shapes.
    """
    if not jax.config.jax_enable_compilation_cache:  # type: ignore[attr-defined]  # as JAX documents it
        return None
    if given := jax.config.jax_compilation_cache_dir:  # type: ignore[attr-defined]
        return Path(given)
    where = directory()
    try:
        if where is not None:
            where.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    if where is None or not os.access(where, os.W_OK):
        return None
    jax.config.update("jax_compilation_cache_dir", str(where))
    jax.config.update("jax_compilation_cache_max_size", MOST)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", WORTH)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return where


def _features() -> str:
    """The features of the processor, as Linux lists them; on other systems its name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())

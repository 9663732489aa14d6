"""How the process keeps the memory that XLA's CPU programs work in."""

import ctypes
import mmap
import os
import sys

import jax

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_MOST = 2**31 - 1  # mallopt takes an int
_NEVER = -1
_BLOCK = 2**30
_PAGE = 2**21  # of the large kind


def keep() -> bool:
    """Makes glibc's malloc keep what the main thread frees, in large pages, for the rest of the process, and JAX run the
    CPU's programs in that thread (of one device; those of several have threads of their own); whether it could.

    XLA's CPU backend allocates the temporaries of a program anew each time it runs. glibc gives large blocks back to the
    system, which hands them out again page by page and zeroed: thousands of page faults a round. Only the main thread's
    blocks can be kept. (All threads in its arena, M_ARENA_MAX = 1, keeps every block, but they then wait for each other
    in each small allocation: small games took up to twice as long, the longer the more was in the arena.) Only for a
    process that is ours, before JAX has allocated anything: what is freed stays with it, up to its greatest use of
    memory. Elsewhere than on Linux with glibc it does nothing.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if not all(hasattr(libc, name) for name in ("mallopt", "gnu_get_libc_version", "madvise")):
        return False
    options = [(_TRIM_THRESHOLD, _NEVER), (_MMAP_THRESHOLD, _MOST)]
    if not all([libc.mallopt(*option) for option in options]):
        return False
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    # Addresses for half as much as there is memory. None of it is used before it is written to.
    count = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2 // _BLOCK
    blocks = [block for block in (libc.malloc(_BLOCK) for _ in range(count)) if block]
    for block in blocks:
        first = -(-block // _PAGE) * _PAGE
        libc.madvise(first, (block + _BLOCK - first) // _PAGE * _PAGE, mmap.MADV_HUGEPAGE)
    for block in reversed(blocks):
        libc.free(block)
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    return True

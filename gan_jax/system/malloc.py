"""Settings of glibc's malloc under which the process keeps the memory that XLA's CPU programs work in."""

import ctypes
import mmap
import os
import sys

import jax

# Constants of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_MOST = 2**31 - 1  # mallopt takes an int
_NEVER = -1
_BLOCK = 2**30
_PAGE = 2**21  # a huge page


def keep() -> bool:
    """Makes glibc's malloc keep memory that the main thread frees, in huge pages; returns whether it could.

    Also makes JAX run programs of a single CPU device in that thread; with several devices, each has its own threads.

    XLA's CPU backend allocates the temporaries of a program anew each time it runs. By default glibc returns large
    blocks to the system, which provides them again page by page, zeroed: thousands of page faults in each round. Only
    blocks of the main thread can be kept. (With all threads in one arena, M_ARENA_MAX = 1, every block is kept, but
    threads then wait for each other in each small allocation: small games took up to twice as long, more so the fuller
    the arena.)

    To be called only in a process that belongs to gan_jax, before JAX has allocated anything: freed memory stays with
    the process, up to its peak use. On systems other than Linux with glibc it does nothing.
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
    # Reserves addresses for half of the physical memory; no page is used before it is written to.
    count = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2 // _BLOCK
    blocks = [block for block in (libc.malloc(_BLOCK) for _ in range(count)) if block]
    for block in blocks:
        first = -(-block // _PAGE) * _PAGE
        libc.madvise(first, (block + _BLOCK - first) // _PAGE * _PAGE, mmap.MADV_HUGEPAGE)
    for block in reversed(blocks):
        libc.free(block)
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    return True

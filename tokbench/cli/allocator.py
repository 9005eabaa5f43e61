"""Freed memory stays with the process: training on a CPU asks for the same large tensors at every step."""

from __future__ import annotations

import os
import platform

# Of glibc's <malloc.h>.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # a threshold of -1 is never reached
_USERS_OWN = (
    "GLIBC_TUNABLES",
    "MALLOC_MMAP_MAX_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "MALLOC_TRIM_THRESHOLD_",
)


def keep_freed_memory() -> bool:
    """Have glibc's malloc keep freed memory for the next tensor; whether it does now.

    By default the heap's end goes back to the system whenever 64 MiB are free there, and comes back as pages that the
    system zeroes first: 70 MiB of them in each step of the demo, a tenth of its time and more. Peak memory grows by a
    few percent, since only what lies below the most ever in use is kept; what is over 32 MiB in one piece is mapped by
    itself and goes back as before. For a process of our own, so for the commands and not on import; left alone where
    the environment has glibc's own variables for it, and on other C libraries.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in _USERS_OWN):
        return False
    import ctypes

    mallopt = ctypes.CDLL(None).mallopt
    taken = [mallopt(_MMAP_THRESHOLD, 32 * 2**20), mallopt(_TRIM_THRESHOLD, -1), mallopt(_TOP_PAD, 64 * 2**20)]
    return all(taken)

"""What glibc's malloc does with freed memory: kept for the commands, given back at once where a clip of any length goes
through in the memory of a piece."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager

# Of glibc's <malloc.h>.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # a threshold of -1 is never reached
_LARGE = 32 * 2**20  # the most that malloc's own rule raises the threshold to, above which a block is mapped by itself
_USERS_OWN = (
    "GLIBC_TUNABLES",
    "MALLOC_MMAP_MAX_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TOP_PAD_",
    "MALLOC_TRIM_THRESHOLD_",
)
_kept = False


def keep_freed_memory() -> bool:
    """Have glibc's malloc keep freed memory for the next tensor; whether it does now.

    Training on a CPU asks for the same large tensors at every step. By default the heap's end goes back to the system
    whenever 64 MiB are free there, and comes back as pages that the system zeroes first: 70 MiB of them in each step of
    the demo, a tenth of its time and more. Peak memory grows by a few percent, since only what lies below the most ever
    in use is kept; what is over 32 MiB in one piece is mapped by itself and goes back as before. For a process of our
    own, so for the commands and not on import; left alone where the environment has glibc's own variables for it, and
    on other C libraries.
    """
    global _kept
    _kept = _may_be_told() and _tell((_MMAP_THRESHOLD, _LARGE), (_TRIM_THRESHOLD, -1), (_TOP_PAD, 2 * _LARGE))
    return _kept


@contextmanager
def freed_at_once() -> Iterator[None]:
    """Within, a block of 64 KiB or more goes back to the system when it is freed, under the same conditions.

    A heap keeps what it is given back whether or not the next block fits there: half as much again after some hundred
    frames of a clip that goes through in pieces. Fresh pages cost time: 4 % at 64 channels and pieces of 16 frames.
    Afterwards the thresholds are where malloc's own rule leads to, or ``keep_freed_memory`` put them.
    """
    if not _may_be_told():
        yield
        return
    _tell((_MMAP_THRESHOLD, 64 * 2**10))
    try:
        yield
    finally:
        _tell((_MMAP_THRESHOLD, _LARGE), (_TRIM_THRESHOLD, -1 if _kept else 2 * _LARGE))


def _may_be_told() -> bool:
    return platform.libc_ver()[0] == "glibc" and not any(name in os.environ for name in _USERS_OWN)


def _tell(*options: tuple[int, int]) -> bool:
    import ctypes

    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(option, value) for option, value in options)

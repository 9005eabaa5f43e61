"""One process a cell: locks that end with the process that holds them, however it ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def acquire(path: Path, waiting: Callable[[], None] | None = None) -> int:
    """Lock ``path``, making its folder; ``waiting`` is called once if somebody else has it. Closing the descriptor
    that is returned, or the end of every process that has it, gives the lock back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting is not None:
                waiting()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def locked(path: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold ``path`` for a while; see ``acquire``."""
    descriptor = acquire(path, waiting)
    try:
        yield
    finally:
        os.close(descriptor)

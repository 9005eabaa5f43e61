"""Locks that end with the process that holds them, however it ends: a file that is left behind blocks nobody."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tokbench.errors import TokbenchError

# What file systems without locks answer, Lustre mounted without ``flock`` among them.
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}
_held: set[int] = set()


def flock(descriptor: int, how: int) -> bool:
    """``fcntl.flock``; False where the file system has no locks and the work goes on without."""
    try:
        fcntl.flock(descriptor, how)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        raise
    return True


def acquire(path: Path, waiting: Callable[[], None] | None = None) -> int:
    """Lock ``path``, making its folder; ``waiting`` is called once if somebody else has it. Closing the descriptor
    that is returned, or the end of every process that has it, gives the lock back."""
    try:
        return _acquire(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if waiting is not None:
            waiting()
        return _acquire(path, fcntl.LOCK_EX)


@contextmanager
def locked(path: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold ``path`` for a while; see ``acquire``."""
    descriptor = acquire(path, waiting)
    try:
        yield
    finally:
        _release(descriptor)


@contextmanager
def alone(path: Path, busy: str) -> Iterator[None]:
    """Hold ``path`` for a while; afterwards it is gone, and so are the folders made for it if nothing is in them.

    Raises:
        TokbenchError: ``busy`` where another process holds it, or that its folder cannot be written.
    """
    made = [folder for folder in path.parents if not folder.exists()]
    try:
        try:
            descriptor = _acquire(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TokbenchError(busy) from None
        except OSError as error:
            raise TokbenchError(f"{path.parent}: cannot be written: {error.strerror or error}") from None
        try:
            yield
        finally:
            with suppress(OSError):
                path.unlink(missing_ok=True)
            _release(descriptor)
    finally:
        with suppress(OSError):
            for folder in made:
                folder.rmdir()


def _acquire(path: Path, how: int) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        _held.add(descriptor)
        try:
            flock(descriptor, how)
            if _is(path, descriptor):
                return descriptor
        except BaseException:
            _release(descriptor)
            raise
        _release(descriptor)  # who held it has taken it away meanwhile: a lock on nothing


def _is(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _release(descriptor: int) -> None:
    _held.discard(descriptor)
    os.close(descriptor)


def _let_go() -> None:
    for descriptor in _held:
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


# Processes that read images outlive, for some seconds, the one that was killed: the lock is not theirs to keep.
os.register_at_fork(after_in_child=_let_go)

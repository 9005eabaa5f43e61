"""Writing a file whole or not at all."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tokbench.errors import TokbenchError

_DRAFT = re.compile(r"\.tokbench-([0-9a-f]{8})-(\d+)-\d+\.tmp")
_ABANDONED = 86400.0  # seconds after which nobody on another machine is still writing a draft
_numbers, _mine, _swept = itertools.count(), set[Path](), set[Path]()


@contextmanager
def written(path: str | os.PathLike[str], *, sync: bool = False) -> Iterator[Path]:
    """An empty draft beside ``path`` to write into, which takes its place where the block ends without an error.

    The file has the permissions that the user's umask gives, whoever wrote the draft. Drafts that killed processes
    left in the folder are removed.

    Args:
        sync: wait until the file is on the disk before it takes the place of the old one.

    Raises:
        TokbenchError: the file cannot be written; what was there before still is.
    """
    target = Path(path)
    draft = target.with_name(f".tokbench-{_here()}-{os.getpid()}-{next(_numbers)}.tmp")
    try:
        check_regular(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target.parent)
        _mine.add(draft)
        try:
            draft.touch()
            mode = draft.stat().st_mode
            yield draft
            if draft.stat().st_mode != mode:  # safetensors writes files that only their owner can read
                draft.chmod(mode & 0o7777)
            if sync:
                fsync(draft)
            os.replace(draft, target)
            if sync:
                fsync(target.parent)
        finally:
            draft.unlink(missing_ok=True)
            _mine.discard(draft)
    except Exception as error:
        if (reason := refused(error)) is None:
            raise
        raise TokbenchError(f"{target}: cannot write: {reason}") from error


def refused(error: Exception) -> str | None:
    """Why a file could not be written; None where ``error`` is about something else."""
    if isinstance(error, OSError):
        return None if error.errno is None else error.strerror or str(error)
    # torch's writer says where in its own source it stood, and safetensors quotes the system's number.
    said = str(error)
    if isinstance(error, RuntimeError) and ("PytorchStreamWriter" in said or "inline_container" in said):
        return "the disk is full, or refuses a file of this size"
    if type(error).__name__ == "SafetensorError":
        return "No space left on device" if "os error 28" in said or "StorageFull" in said else said
    return None


def write(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write ``content``; a reader sees the old file or the new one, never half of either.

    Raises:
        TokbenchError: the file cannot be written; what was there before still is.
    """
    with written(path) as draft:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)


def check_regular(target: Path) -> None:
    """TokbenchError where a rename would put a file in the place of a folder or a device (``/dev/stdout``)."""
    if target.is_dir():
        raise TokbenchError(f"{target}: is a folder; give the name of a file")
    if (target.exists() and not target.is_file()) or target.parent.resolve() == Path("/dev"):
        raise TokbenchError(f"{target}: is not a regular file; give the name of one")


def fsync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _here() -> str:
    """8 hex digits for the machine and container, in which process numbers mean something."""
    try:
        inside = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        inside = 0
    return hashlib.sha256(f"{socket.gethostname()} {inside}".encode()).hexdigest()[:8]


def _sweep(folder: Path) -> None:
    """Remove the drafts of processes that are gone; once a process, for a folder may hold many files."""
    if folder in _swept:
        return
    _swept.add(folder)
    for name in os.listdir(folder):
        if (found := _DRAFT.fullmatch(name)) is None or folder / name in _mine:
            continue
        try:
            if _dead(folder / name, found[1], int(found[2])):
                (folder / name).unlink()
        except OSError:  # somebody else's, or gone by now
            continue


def _dead(draft: Path, here: str, process: int) -> bool:
    if here != _here():
        return time.time() - draft.stat().st_mtime > _ABANDONED
    if process == os.getpid():  # not among ours: an earlier process that had this number
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False

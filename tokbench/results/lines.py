"""The lines of a ``runs.jsonl``: read under its lock, and what became of them."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from tokbench.errors import TokbenchError
from tokbench.results.locks import flock

if TYPE_CHECKING:
    from tokbench.results.record import Record

    _List = list[Record]
else:
    _List = list


class Records(_List):
    """Records in the order of their lines; ``damaged`` names the lines that could not be used: (number, reason)."""

    def __init__(self, records: list[Record] | None = None, damaged: list[tuple[int, str]] | None = None) -> None:
        super().__init__(records or [])
        self.damaged: list[tuple[int, str]] = list(damaged or [])


def records_file(path: Path) -> Path:
    """The file to read: the one that is named, or the ``runs.jsonl`` in a folder."""
    return path / "runs.jsonl" if path.is_dir() else path


def existing_records(path: Path) -> Path:
    """``records_file``, which is there. Raises TokbenchError where it is not."""
    file = records_file(path)
    if not file.exists():
        raise TokbenchError(f"{file}: no records there; `tokbench sweep` or `tokbench evaluate` makes them")
    return file


def records_of(out: Path) -> Path:
    """The file to write: a .jsonl that is named, or the ``runs.jsonl`` of a folder that need not be there yet."""
    return out if out.suffix == ".jsonl" else out / "runs.jsonl"


@contextmanager
def locked(file: IO[bytes], how: int) -> Iterator[IO[bytes]]:
    """Hold a lock (``fcntl.LOCK_SH``, ``LOCK_EX``) on an open file, and close it."""
    with file:
        flock(file.fileno(), how)
        try:
            yield file
        finally:
            flock(file.fileno(), fcntl.LOCK_UN)

"""The append-only file of records: one JSON line each, never edited, safe to write from several processes at once."""

from __future__ import annotations

import fcntl
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tokbench.errors import TokbenchError, printable
from tokbench.results.files import fsync
from tokbench.results.locks import flock
from tokbench.results.record import Record, decode
from tokbench.results.targets import check_writable


class Records(list[Record]):
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


class Store:
    """``results/runs.jsonl``, or any file like it.

    Writers hold an exclusive lock for one whole line and wait until it is on the disk; readers hold a shared one,
    so that no half-written line is ever seen. A missing file is an empty store.
    """

    def __init__(self, path: str | os.PathLike[str] = "results/runs.jsonl") -> None:
        self.path = Path(path)
        self._seen: tuple[tuple[int, int, int], Records] | None = None

    def check(self) -> None:
        """TokbenchError where ``append`` would fail, said before hours of work; leaves nothing behind."""
        if not self.path.exists():
            check_writable(self.path)
            return
        try:
            with _locked(open(self.path, "a+b", buffering=0), fcntl.LOCK_SH):
                pass
        except OSError as error:
            raise TokbenchError(f"{self.path}: cannot append a record: {error.strerror or error}") from error

    def append(self, record: Record) -> None:
        """Write ``record`` as one line. On return it is on the disk; on an error the file is as it was.

        Raises:
            TokbenchError: the file cannot be written.
        """
        try:
            new = not self.path.exists()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with _locked(open(self.path, "a+b", buffering=0), fcntl.LOCK_EX) as file:
                _append_line(file.fileno(), record.line + b"\n")
            if new:
                fsync(self.path.parent)
        except OSError as error:
            raise TokbenchError(f"{self.path}: cannot append a record: {error.strerror or error}") from error

    def read(self) -> Records:
        """All records that can be used; the others are in ``.damaged`` with line number and reason.

        Raises:
            TokbenchError: the file is there but cannot be read.
        """
        try:
            with _locked(open(self.path, "rb", buffering=0), fcntl.LOCK_SH) as file:
                status = os.fstat(file.fileno())
                stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
                if self._seen is None or self._seen[0] != stamp:
                    self._seen = (stamp, parse(file.read()))
        except FileNotFoundError:
            return Records()
        except OSError as error:
            raise TokbenchError(f"{self.path}: cannot read the records: {error.strerror or error}") from error
        records = self._seen[1]
        return Records(records, records.damaged)

    def whole(self) -> Records:
        """As ``read``, for what must come from all of the lines. Raises TokbenchError for a damaged one as well."""
        records = self.read()
        if records.damaged:
            number, reason = records.damaged[0]
            raise TokbenchError(f"{self.path}, line {number}: {reason}")
        return records

    def find(self, cell: str) -> Record | None:
        """The newest record of ``cell`` that finished without error."""
        return next((r for r in reversed(self.read()) if r.cell == cell and r.error is None), None)

    def cells(self) -> set[str]:
        """The cells that have a record without error: these need not run again."""
        return {record.cell for record in self.read() if record.error is None}


def parse(content: bytes) -> Records:
    """Records from the bytes of a ``runs.jsonl``; blank lines are passed over, unusable ones are named."""
    records = Records()
    lines = content.split(b"\n")
    collecting = gc.isenabled()
    gc.disable()  # thousands of dicts are made and none let go: the collector would look through them again and again
    try:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                records.append(decode(line))
            except ValueError as error:
                cut = " (the line has no end: its write was interrupted)" if number == len(lines) else ""
                records.damaged.append((number, printable(str(error), 300) + cut))
    finally:
        if collecting:
            gc.enable()
    return records


def _append_line(descriptor: int, line: bytes) -> None:
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        # A write was interrupted here. Ending its line keeps the tail (it may be whole) apart from the new record.
        line = b"\n" + line
    try:
        written = os.write(descriptor, line)
        if written != len(line):
            raise OSError(f"only {written} of {len(line)} bytes were written (is the disk full?)")
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, size)
        raise


@contextmanager
def _locked(file: IO[bytes], how: int) -> Iterator[IO[bytes]]:
    """Hold a lock (``fcntl.LOCK_SH``, ``LOCK_EX``) on an open file, and close it."""
    with file:
        flock(file.fileno(), how)
        try:
            yield file
        finally:
            flock(file.fileno(), fcntl.LOCK_UN)

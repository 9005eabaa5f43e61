"""Where a command may write: asked before its work, so that nothing is lost by it or at its end."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tokbench.errors import TokbenchError
from tokbench.results.files import check_regular


def check_target(target: Path, inputs: Iterable[str | os.PathLike[str] | None] = ()) -> None:
    """TokbenchError unless the file ``target`` may be written: it can be, is none of the inputs and holds no records.

    Args:
        inputs: files, and folders whose every file is one; names that are no path (a hub id) are passed over.
    """
    check_regular(target)
    if holds_records(target):
        raise TokbenchError(f"{target}: holds records, which are only ever added to; choose another --out")
    check_not_inputs([target], inputs)
    check_writable(target)


def check_not_inputs(targets: Iterable[Path], inputs: Iterable[str | os.PathLike[str] | None]) -> None:
    """TokbenchError where one of ``targets`` is one of ``inputs``, by whatever name: a link, another spelling."""
    there = [(target, identity) for target in targets if (identity := _identity(target)) is not None]
    if not there:
        return
    own: dict[tuple[int, int], Path] = {}
    for given in inputs:
        if given is None:
            continue
        path = Path(given)
        for file in (p for p in path.rglob("*") if p.is_file()) if path.is_dir() else (path,):
            if (identity := _identity(file)) is not None:
                own[identity] = file
    for target, identity in there:
        if identity in own:
            same = "" if str(own[identity]) == str(target) else f" (it is {own[identity]})"
            raise TokbenchError(f"{target}: would be written over, and is read{same}; choose another --out")


def check_writable(target: Path) -> None:
    """TokbenchError unless a file ``target`` can be made, or its folders and then the file. Nothing is left there."""
    try:
        with tempfile.TemporaryDirectory(dir=_nearest(target), prefix=".tokbench-"):
            pass
    except OSError as error:
        raise TokbenchError(f"{target}: cannot be written: {error.strerror or error}") from None


def check_allowed(target: Path) -> None:
    """As ``check_writable`` by the permissions alone: nothing is made, not even for a moment."""
    folder = _nearest(target)
    if not folder.is_dir():
        raise TokbenchError(f"{target}: cannot be written: Not a directory: {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise TokbenchError(f"{target}: cannot be written: no permission to write in {folder}")


def _nearest(target: Path) -> Path:
    """The folder of ``target``, or the nearest one above it that exists."""
    folder = target.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def holds_records(path: Path) -> bool:
    """Whether the first line of a file is a record's."""
    if path.name == "runs.jsonl" and path.exists():
        return True
    try:
        with path.open("rb") as file:
            line = json.loads(file.readline(1 << 24))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(line, dict) and {"id", "cell", "kind", "created"} <= line.keys()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino

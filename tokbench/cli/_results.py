"""What the commands that show results share: reading the records, writing what was made of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tokbench.results.record import Record
    from tokbench.results.store import Records


def load(path: Path) -> Records:
    """The records of a file, or of the ``runs.jsonl`` in a folder; damaged lines are named on stderr.

    Raises:
        TokbenchError: there is no such file.
    """
    from tokbench.printing import say
    from tokbench.results.store import Store, existing_records

    file = existing_records(path)
    records = Store(file).read()
    for number, reason in records.damaged:
        say(f"{file}, line {number}: not used: {reason}", error=True)
    return records


def check_page(out: Path, records: Records, results: Path) -> None:
    """TokbenchError where ``out`` cannot be written, holds records or is a file that the page is made of."""
    from tokbench.results.store import records_file
    from tokbench.results.targets import check_target

    folder = results if results.is_dir() else results.parent
    read = (folder / path for record in records for path in record.artifacts.values())
    check_target(out, [records_file(results), *read])


def keep(record: Record, file: Path) -> None:
    """Append the record; where that fails after all, print its line: what was measured is not lost."""
    from tokbench.errors import TokbenchError
    from tokbench.results.store import Store

    try:
        Store(file).append(record)
    except TokbenchError as error:
        print(record.line.decode())
        raise TokbenchError(f"{error}; the record is printed instead: add that line to a runs.jsonl") from None


def emit(content: str | RenderableType, out: Path | None) -> None:
    """Print, or write the whole file or nothing of it."""

    from tokbench.printing import say, terminal
    from tokbench.results.files import write

    if out is None:
        if isinstance(content, str):
            print(content, end="")
        else:
            terminal().print(content)
        return
    if not isinstance(content, str):
        page = io.StringIO()
        terminal(width=120, file=page).print(content)
        content = page.getvalue()
    write(out, content)
    say(f"wrote {out}")

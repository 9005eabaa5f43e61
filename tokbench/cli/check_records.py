"""``tokbench check-records``: whether files of records hold what the schema asks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def check_records(
    files: Annotated[list[Path], typer.Argument(help="Files of records, or folders that hold a runs.jsonl.")],
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only what does not hold.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="What was found as JSON, for programs.")] = False,
) -> None:
    """Check records that are to be shared: every line whole, of this schema, no id twice, no metric of another meaning.

    Exits with 1 where something does not hold; each is a line that names file and number.
    """
    import json

    from tokbench.errors import counted
    from tokbench.printing import say
    from tokbench.results.checking import check
    from tokbench.results.store import existing_records

    found = [check(existing_records(file)) for file in files]
    problems = [problem for each in found for problem in each.problems]
    if as_json:
        plain = [{"file": str(each.file), "records": each.records, "problems": each.problems} for each in found]
        print(json.dumps(plain, indent=2))
    else:
        for each in found:
            for number, reason in each.problems:
                say(f"{each.file}, line {number}: {reason}", error=True)
            if not quiet:
                wrong = counted(len(each.problems), "problem")
                say(f"{each.file}: {counted(each.records, 'record')}, {wrong if each.problems else 'all hold'}")
    if problems:
        raise typer.Exit(1)

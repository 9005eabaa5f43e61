"""Claims on the terminal: the list, and what was found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tokbench.claims.definition import Claim
from tokbench.claims.findings import Verdict
from tokbench.claims.results import Result

_STYLES = {Verdict.holds: "green", Verdict.fails: "red", Verdict.undecided: "yellow", Verdict.missing: "dim"}


def print_list(claims: Iterable[tuple[Claim, Sequence[Result]]], console: Console) -> None:
    """Name, question, and the verdicts there are."""
    table = Table("claim", "question", "verdict", box=SIMPLE_HEAD, pad_edge=False)
    table.columns[0].no_wrap = True
    for claim, results in claims:
        verdict = "; ".join(f"{result.verdict} ({result.scale})" for result in results)
        table.add_row(Text(claim.name), Text(claim.question), Text(verdict or "-"))
    console.print(table)


def print_result(result: Result, console: Console) -> None:
    """Verdict, then each statement with effect, spread over seeds, and where it comes from."""
    evidence = result.evidence
    console.print(Text(f"{evidence.claim.title}: {result.verdict} ({result.scale} scale)", style="bold"))
    # A list and not a table: statements are sentences, and in columns they would be a word wide.
    for finding in result.findings:
        line = Text(finding.verdict.value, _STYLES[finding.verdict])
        line.append(f"{' (beside)' if finding.beside else ''}: {finding.statement}", "default")
        console.print(Padding(line, (0, 0, 0, 2)))
        if finding.effect is not None:
            seeds = f"{finding.seeds} seed{'s' if finding.seeds > 1 else ''}"
            detail = f"; {finding.detail}" if finding.detail else ""
            console.print(Padding(Text(f"{finding.size} over {seeds}{detail}", style="dim"), (0, 0, 0, 6)))
    for name, why in evidence.failed.items():
        console.print(Text(f"failed: {name}: {why}", style="red"))
    for label, why in evidence.asked.impossible:
        console.print(Text(f"cannot be run: {label}: {why}"))
    if evidence.missing:
        console.print(Text(f"missing: {', '.join(evidence.missing)}", style="yellow"))

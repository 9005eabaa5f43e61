"""A claim judged by its check, and results on disk: what was asked, the records, and the table and figure made of them.

``HOME/NAME/SCALE/``: ``asked.json``, ``records.jsonl``, ``table.md``, ``figure.svg``, ``figure.png``, for some
``pictures.png``; the page of a claim, with all its scales, is ``HOME/NAME/README.md``, the list of all
``HOME/README.md``.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from tokbench.claims.definition import Claim, ScaleName
from tokbench.claims.evidence import Evidence, Request
from tokbench.claims.findings import Finding, overall
from tokbench.claims.pictures import side_by_side
from tokbench.errors import TokbenchError
from tokbench.results.files import write
from tokbench.results.record import Record
from tokbench.results.store import Store

if TYPE_CHECKING:
    from tokbench.claims.panels import Panel


class Check(Protocol):
    """What a file in ``checks`` defines. All are pure functions of the records."""

    def judge(self, evidence: Evidence) -> list[Finding]:
        """The statements of the claim and what became of each; ``not measured`` where records are missing."""

    def panels(self, evidence: Evidence) -> list[Panel]:
        """The claim in one figure; a panel of which nothing was measured yet is not drawn."""

    def table(self, evidence: Evidence) -> str:
        """The numbers, as Markdown."""

    # A check may also define ``shown(evidence) -> list[Shown]``: whose reconstructions stand on the page; and ``RULE``,
    # how it judges, where that is not by seeds.


def check_of(claim: str) -> Check:
    """The check of a claim by name: the file is its registration.

    Raises TokbenchError where there is none.
    """
    module = f"tokbench.claims.checks.{claim.replace('-', '_')}"
    if find_spec(module) is None:
        raise TokbenchError(f"claim {claim} has no check: {module.replace('.', '/')}.py is not there")
    return cast(Check, importlib.import_module(module))


@dataclass(frozen=True)
class Result:
    """A claim at one scale, judged."""

    evidence: Evidence
    findings: list[Finding]
    table: str

    @property
    def scale(self) -> ScaleName:
        return self.evidence.asked.scale

    @property
    def verdict(self) -> str:
        """``holds``, ``holds in part``, ``does not hold``, ``undecided`` or ``not measured``; and whether it is all."""
        said = overall(self.findings)
        return said if self.evidence.complete or said == "not measured" else f"{said} (incomplete)"


def judge(evidence: Evidence) -> Result:
    """The claim's check on these records."""
    check = check_of(evidence.claim.name)
    return Result(evidence, check.judge(evidence), check.table(evidence))


def find(claim: Claim, scale: ScaleName, home: Path) -> Result | None:
    """What was found at that scale; None where it was never tried."""
    asked = asked_before(claim, scale, home)
    return None if asked is None else judge(Evidence.of(claim, asked, stored(claim, scale, home)))


def asked_before(claim: Claim, scale: ScaleName, home: Path) -> Request | None:
    """What the results at that scale were asked for. Raises TokbenchError where the file is damaged."""
    path = home / claim.name / scale / "asked.json"
    if not path.exists():
        return None
    try:
        return Request.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise TokbenchError(f"{path}: not what `tokbench claims` writes ({first}); delete it and run again") from None


def stored(claim: Claim, scale: ScaleName, home: Path) -> list[Record]:
    """The records beside the page. Raises TokbenchError for a damaged line."""
    return list(Store(home / claim.name / scale / "records.jsonl").whole())


def save(result: Result, home: Path, work: Path) -> None:
    """Write what was asked, the records, the table and the figure, and the pictures where ``work`` still has them;
    pages are ``page.write_pages``'."""
    evidence = result.evidence
    folder = home / evidence.claim.name / result.scale
    lines = "".join(record.line.decode() + "\n" for record in [*evidence.records, *evidence.failures])
    write(folder / "records.jsonl", lines)
    write(folder / "asked.json", evidence.asked.model_dump_json(indent=1) + "\n")
    write(folder / "table.md", result.table)
    draw(result, folder)
    shown = getattr(check_of(evidence.claim.name), "shown", None)
    if shown is not None:
        side_by_side(shown(evidence), work, folder / "pictures.png")


def draw(result: Result, folder: Path) -> None:
    """The figure as SVG and PNG; a figure that cannot be drawn any more is taken away."""
    from tokbench.claims import panels
    from tokbench.results.figures import save as save_figure
    from tokbench.results.figures.base import figure_settings

    with figure_settings():
        figure = panels.draw(check_of(result.evidence.claim.name).panels(result.evidence))
    for suffix in ("svg", "png"):
        path = folder / f"figure.{suffix}"
        if figure is None:
            path.unlink(missing_ok=True)
        else:
            save_figure(figure, path)

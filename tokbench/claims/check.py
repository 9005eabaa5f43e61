"""The check of a claim: the functions of its file in ``tokbench/claims/checks``."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol, cast

from tokbench.claims.evidence import Evidence
from tokbench.claims.findings import Finding
from tokbench.errors import TokbenchError

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

    # A check may also define ``shown(evidence) -> list[Shown]``: whose reconstructions stand on the page.


def check_of(claim: str) -> Check:
    """The check of a claim by name: the file is its registration.

    Raises TokbenchError where there is none.
    """
    module = f"tokbench.claims.checks.{claim.replace('-', '_')}"
    if find_spec(module) is None:
        raise TokbenchError(f"claim {claim} has no check: {module.replace('.', '/')}.py is not there")
    return cast(Check, importlib.import_module(module))

"""What claims about how a generator says a code have in common: bits per position, size and speed. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokbench.claims.evidence import Evidence, Named
from tokbench.claims.findings import Finding, Verdict, faster, judged
from tokbench.claims.numbers import (
    SeedValues,
    against,
    by_seed,
    named_table,
    of_metric,
    spread_text,
    step_seconds,
    usual,
)
from tokbench.claims.panels import Panel, Series
from tokbench.results.entries import Entry, Spread

MARGIN = 0.05  # bits per position


def smaller(statement: str, row: Entry | None, than: Entry | None) -> Finding:
    """That a model has fewer parameters than another: counted, and the same for every seed."""
    own, other = parameters(row), parameters(than)
    if own is None or other is None:
        return Finding(statement, Verdict.missing, informational=True)
    verdict = Verdict.holds if own < other else Verdict.fails
    detail = f"{own:,} against {other:,}"
    return Finding(statement, verdict, other / own - 1, unit="(ratio - 1)", detail=detail, informational=True)


def parameters(entry: Entry | None) -> int | None:
    """Of the model; None without a record."""
    return None if entry is None else entry.first.model.get("parameters")


def fewer_bits(statement: str, row: Entry | None, than: Entry | None, **said: Any) -> Finding:
    """That a model needs fewer bits for a position than another."""
    own, other = position_bits(row), position_bits(than)
    detail = against(own, other)
    return judged(statement, other - own, margin=MARGIN, unit="bits per position", detail=detail, **said)


def cheaper(pair: str, row: Entry | None, than: Entry | None, **said: Any) -> list[Finding]:
    """That a model needs fewer bits and less time than another; ``pair`` says of which two."""
    return [
        fewer_bits(f"NLL of a position is lower {pair}, after equal steps", row, than, **said),
        faster(f"a train step is faster {pair}", step_seconds(row), step_seconds(than), **said),
    ]


def position_bits(entry: Entry | None) -> SeedValues:
    """Bits per position of every seed: bits per code times the codes that a position is modelled as."""
    codes = len(entry.first.model.get("vocabulary") or [0]) if entry is not None else 0
    return by_seed(entry, "nll_bits_per_code") * codes


def panels(rows: Sequence[Named], x: str, fixed: int, width: float) -> list[Panel]:
    """NLL, parameters and speed, a bar for each row; ``fixed``: the bits of a code of fixed length."""
    bits = [(name, position_bits(row).spread) for name, row in rows]
    size = [(name, Spread((parameters(row) or 0) / 1e6, None)) for name, row in rows]
    step = [(name, step_seconds(row).spread) for name, row in rows]
    rule = (float(fixed), f"fixed length, {fixed} bits")
    return [
        Panel(x, "NLL (bits per position)", [Series(bits, "lfq")], bars=True, rule=rule, width=width),
        Panel(x, "parameters (millions)", [Series(size, "lfq")], bars=True, log=10, width=width),
        Panel(x, "train step (s)", [Series(step, "lfq")], bars=True, log=10, width=width),
    ]


def table(
    evidence: Evidence, rows: Sequence[Named], first: str, code: str = "code", metrics: Sequence[str] = ()
) -> str:
    """A row for each.

    Args:
        first: heading of what they are called.
        code: what the generator has a classifier for.
        metrics: shown beside, where they were measured.
    """
    columns = {
        "NLL (bits per position)": lambda row: spread_text(position_bits(row).spread),
        f"NLL (bits per {code})": of_metric("nll_bits_per_code"),
        **usual("parameters"),
        "train step (s)": lambda row: spread_text(step_seconds(row).spread),
        **usual("steps"),
        **evidence.by_metric(evidence.measured(*metrics)),
    }
    return named_table(first, rows, columns)

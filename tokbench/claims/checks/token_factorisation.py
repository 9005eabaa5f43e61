"""One classifier of 2^18 ways against sub-tokens of 2^9 and 2^6 (MAGVIT-v2, arXiv:2310.05737, section 3.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokbench.claims.evidence import Evidence
from tokbench.claims.findings import Finding, Verdict, better, by_seed, gains, judged, label_of
from tokbench.claims.wording import against, heading, rows_text, spread_text
from tokbench.results.entries import Entry, Spread
from tokbench.results.styles import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PARTS = {"one": "1 x 2^18", "two": "2 x 2^9", "three": "3 x 2^6"}
GENERATION = ("gfid", "gfid_192")
MARGIN = 0.05  # bits a position


def judge(evidence: Evidence) -> list[Finding]:
    """NLL, speed and size of one head against two and three; two against three beside."""
    rows = {part: _row(evidence, part) for part in PARTS}
    nll = {part: position_bits(row) for part, row in rows.items()}
    step = {part: step_seconds(row) for part, row in rows.items()}
    findings = []
    for part in ("two", "three"):
        findings.append(
            judged(
                f"NLL of a position is lower in {PARTS[part]} than in {PARTS['one']}, after equal steps",
                gains(nll["one"], nll[part]),
                margin=MARGIN,
                unit="bits a position",
                detail=against(nll[part], nll["one"]),
            )
        )
        ratio = [step["one"][seed] / step[part][seed] - 1 for seed in sorted(step["one"].keys() & step[part].keys())]
        findings.append(
            judged(
                f"a train step is faster in {PARTS[part]} than in {PARTS['one']}",
                ratio,
                unit="(ratio - 1)",
                detail=against(step[part], step["one"], "s"),
            )
        )
        findings.append(_smaller(part, rows))
    findings.append(
        judged(
            f"NLL of a position is no higher in {PARTS['three']} than in {PARTS['two']}",
            gains(nll["two"], nll["three"]),
            margin=MARGIN,
            unit="bits a position",
            detail=against(nll["three"], nll["two"]),
            equal_or_better=True,
            beside=True,
        )
    )
    for metric in evidence.measured(*GENERATION):
        statement = f"{label_of(metric, *rows.values())} of samples is lower in {PARTS['two']} than in {PARTS['one']}"
        findings.append(better(statement, rows["two"], rows["one"], metric, beside=True))
    return findings


def _smaller(part: str, rows: dict[str, Entry | None]) -> Finding:
    """That the factorised model has fewer parameters: counted, and the same for every seed."""
    statement = f"{PARTS[part]} needs fewer parameters than {PARTS['one']}"
    one, own = (_parameters(rows["one"]), _parameters(rows[part]))
    if one is None or own is None:
        return Finding(statement, Verdict.missing, beside=True)
    verdict = Verdict.holds if own < one else Verdict.fails
    detail = f"{own:,} against {one:,}"
    return Finding(statement, verdict, one / own - 1, unit="(ratio - 1)", detail=detail, beside=True)


def position_bits(entry: Entry | None) -> dict[int, float]:
    """Bits a position of every seed: bits a code times the codes that a position is modelled as."""
    if entry is None:
        return {}
    codes = len(entry.first.model.get("vocabulary") or [0])
    return {seed: bits * codes for seed, bits in by_seed(entry, "nll_bits_per_code").items()}


def step_seconds(entry: Entry | None) -> dict[int, float]:
    """Seconds of a train step of every seed, over the whole run."""
    found = {}
    for record in entry.records if entry is not None else ():
        seconds, steps = record.training.get("seconds"), record.training.get("steps")
        if seconds and steps and record.seed is not None:
            found[record.seed] = seconds / steps
    return found


def draw(evidence: Evidence) -> Figure | None:
    """NLL, parameters and speed, a bar for each way to split the code."""
    from tokbench.results.figures.base import panels

    rows = {part: row for part in PARTS if (row := _row(evidence, part)) is not None}
    if not rows:
        return None
    figure, axes = panels(3, width=2.8)
    colour = style("lfq").colour
    shown = (
        ("NLL (bits a position)", {part: Spread.over(position_bits(row).values()) for part, row in rows.items()}),
        ("parameters (millions)", {p: Spread.over([(_parameters(row) or 0) / 1e6]) for p, row in rows.items()}),
        ("train step (s)", {part: Spread.over(step_seconds(row).values()) for part, row in rows.items()}),
    )
    for axis, (label, of) in zip(axes, shown, strict=True):
        there = {PARTS[part]: spread for part, spread in of.items() if spread is not None}
        bars = axis.bar(
            list(there), [s.mean for s in there.values()], yerr=[s.deviation or 0.0 for s in there.values()],
            width=0.6, color=colour, error_kw={"elinewidth": 0.8},
        )  # fmt: skip
        axis.bar_label(bars, [f"{s.mean:.3g}" for s in there.values()], padding=2, fontsize=7)
        axis.set_ylabel(label)
        axis.set_xlabel("sub-tokens of a code")
        axis.grid(axis="x", visible=False)
    axes[0].axhline(18, color="#444444", linewidth=0.8, linestyle="--", label="fixed length, 18 bits")
    axes[0].legend()
    for axis in axes[1:]:
        axis.set_yscale("log")
    return figure


def table(evidence: Evidence) -> str:
    """A row for each way to split the code."""
    header = ["sub-tokens", "NLL (bits a position)", "NLL (bits a sub-token)", "parameters", "train step (s)", "steps"]
    metrics = evidence.measured(*GENERATION)
    rows = []
    for part, name in PARTS.items():
        row = _row(evidence, part)
        if row is None:
            continue
        bits = (position_bits(row), by_seed(row, "nll_bits_per_code"))
        cells = [name, *(spread_text(of.values()) for of in bits), f"{_parameters(row):,}"]
        cells += [spread_text(step_seconds(row).values()), f"{row.first.training.get('steps', 0):,}"]
        cells += [spread_text(row.metric(metric)) for metric in metrics]
        rows.append([*cells, str(len(row.records))])
    labels = [heading(metric, *(_row(evidence, part) for part in PARTS)) for metric in metrics]
    return rows_text([*header, *labels, "seeds"], rows)


def _row(evidence: Evidence, part: str) -> Entry | None:
    return next(iter(evidence.rows(part, kind="generator")), None)


def _parameters(entry: Entry | None) -> int | None:
    return None if entry is None else entry.first.model.get("parameters")

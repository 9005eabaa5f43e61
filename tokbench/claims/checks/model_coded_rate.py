"""What the same codes cost at a fixed length, by their frequencies, and under an autoregressive model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from tokbench.claims.evidence import Evidence
from tokbench.claims.findings import Finding, by_seed, gains, judged, weakest
from tokbench.claims.wording import rows_text, spread_text
from tokbench.results.entries import Entry, Spread
from tokbench.results.styles import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIXED, ENTROPY, MODEL = "fixed_bpp", "entropy_bpp", "model_bpp"
LOOKUP, FREE = "vq", "lfq"
MARGIN = 0.01  # of the fixed-length bits: below it nothing worth the name is saved


def judge(evidence: Evidence) -> list[Finding]:
    """Every tokenizer: frequencies below fixed length, model below frequencies; then sizes and VQ against LFQ."""
    entries = _entries(evidence)
    order0 = [_saves(entry, FIXED, ENTROPY) for entry in entries]
    model = [_saves(entry, ENTROPY, MODEL) for entry in entries]
    findings = [
        replace(_all("the order-0 entropy is below the fixed length, for every tokenizer", order0), beside=True),
        _all("the AR model's code length is below the order-0 entropy, for every tokenizer", model),
        _all(
            "the AR model's code length is below the fixed length, for every tokenizer",
            [_saves(entry, FIXED, MODEL) for entry in entries],
        ),
    ]
    sizes = {name: [e for e in entries if _name(e) == name] for name in (LOOKUP, FREE)}
    for name, own in sizes.items():
        statement = f"the share wasted grows with the vocabulary of {name.upper()}"
        if len(own) > 1:
            statement += f", from 2^{_bits(own[0])} to 2^{_bits(own[-1])} codes"
        steps = gains(wasted(own[-1]), wasted(own[0])) if len(own) > 1 else []
        findings.append(judged(statement, [100 * s for s in steps], margin=100 * MARGIN, unit="% of the bits"))
    both = sorted({_bits(e) for e in sizes[LOOKUP]} & {_bits(e) for e in sizes[FREE]})
    statement = "VQ wastes more than LFQ" + (f" at 2^{both[-1]} codes" if both else "")
    pair = [next(e for e in sizes[name] if _bits(e) == both[-1]) for name in (LOOKUP, FREE)] if both else []
    steps = gains(wasted(pair[0]), wasted(pair[1])) if pair else []
    findings.append(judged(statement, [100 * s for s in steps], margin=100 * MARGIN, unit="% of the bits"))
    return findings


def wasted(entry: Entry, of: str = MODEL) -> dict[int, float]:
    """1 - coded / fixed of every seed: the share of the fixed-length bits that a coder would save."""
    coded, fixed = by_seed(entry, of), by_seed(entry, FIXED)
    return {seed: 1 - coded[seed] / fixed[seed] for seed in sorted(coded.keys() & fixed.keys())}


def _saves(entry: Entry, longer: str, shorter: str) -> Finding:
    """That a coder is shorter than another, in percent of the fixed length."""
    fixed = by_seed(entry, FIXED)
    long, short = by_seed(entry, longer), by_seed(entry, shorter)
    seeds = sorted(fixed.keys() & long.keys() & short.keys())
    saved = [100 * (long[seed] - short[seed]) / fixed[seed] for seed in seeds]
    return judged("", saved, margin=100 * MARGIN, unit="% of the bits", detail=f"least for {_label(entry)}")


def _all(statement: str, steps: Sequence[Finding]) -> Finding:
    return weakest(statement, steps) if steps else judged(statement, [])


def draw(evidence: Evidence) -> Figure | None:
    """For every tokenizer three bars: what is stored, what frequencies and what the model make of it."""
    from tokbench.results.figures.base import panels

    entries = [entry for entry in _entries(evidence) if entry.metric(MODEL) is not None]
    if not entries:
        return None
    figure, axes = panels(2, width=max(3.6, 0.5 * len(entries)))
    labels = [_label(entry) for entry in entries]
    shades = ((FIXED, "fixed length", 0.25), (ENTROPY, "order-0 entropy", 0.55), (MODEL, "AR code length", 1.0))
    for k, (metric, _, alpha) in enumerate(shades):
        for i, entry in enumerate(entries):
            spread = entry.metric(metric)
            if spread is not None:
                axes[0].bar(
                    i + (k - 1) * 0.27, spread.mean, 0.25, yerr=spread.deviation or 0.0,
                    color=style(_name(entry)).colour, alpha=alpha, error_kw={"elinewidth": 0.8},
                )  # fmt: skip
    for _, name, alpha in shades:
        axes[0].bar(0, 0, color="#444444", alpha=alpha, label=name)
    axes[0].legend()
    axes[0].set_ylabel("rate (bits per pixel)")
    for i, entry in enumerate(entries):
        spread = Spread.over(100 * share for share in wasted(entry).values())
        if spread is not None:
            colour = style(_name(entry)).colour
            axes[1].bar(i, spread.mean, 0.6, yerr=spread.deviation or 0.0, color=colour, error_kw={"elinewidth": 0.8})
    axes[1].set_ylabel("fixed-length bits wasted, at least (%)")
    for axis in axes:
        axis.set_xticks(range(len(entries)), labels, rotation=60, ha="right")
        axis.grid(axis="x", visible=False)
    return figure


def table(evidence: Evidence) -> str:
    """A row for each tokenizer."""
    header = ["tokenizer", "codes", "fixed (bpp)", "order-0 entropy (bpp)", "AR (bpp)", "saved by frequencies (%)"]
    header += ["saved by AR: wasted (%)", "seeds"]
    rows = []
    for entry in _entries(evidence):
        rate = entry.first.rate
        cells = [_label(entry), "x".join(map(str, rate.tokens)) if rate else "-"]
        cells += [spread_text(entry.metric(metric), ".4f") for metric in (FIXED, ENTROPY, MODEL)]
        cells += [spread_text([100 * v for v in wasted(entry, of).values()], ".1f") for of in (ENTROPY, MODEL)]
        rows.append([*cells, str(len(entry.records))])
    return rows_text(header, rows, words=2)


def _entries(evidence: Evidence) -> list[Entry]:
    """AR on every tokenizer: by quantizer, then by bits."""
    found = [entry for entry in evidence.rows(None, kind="generator") if entry.generator == "ar"]
    order = [LOOKUP, FREE]
    return sorted(found, key=lambda e: (order.index(_name(e)) if _name(e) in order else len(order), _name(e), _bits(e)))


def _name(entry: Entry) -> str:
    return str(entry.first.quantizer.get("name"))


def _bits(entry: Entry) -> int:
    rate = entry.first.rate
    return round(rate.bits_per_position) if rate is not None else 0


def _label(entry: Entry) -> str:
    depth = f", D = {entry.depth}" if entry.depth and entry.depth > 1 else ""
    sizes = entry.codebook_sizes() or [0]
    bits = sizes[0].bit_length() - 1
    return f"{_name(entry)} {f'2^{bits}' if sizes[0] == 1 << bits else f'{sizes[0]:,}'}{depth}"

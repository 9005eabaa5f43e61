"""What the same codes cost at a fixed length, by their frequencies, and under an autoregressive model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tokbench.claims.evidence import Evidence, stack, vocabulary, whole_bits
from tokbench.claims.findings import Finding, judged, weakest
from tokbench.claims.numbers import SeedValues, by_seed, spread_text, table_of
from tokbench.claims.panels import Panel, Series
from tokbench.results.entries import Entry

FIXED, ENTROPY, MODEL = "fixed_bpp", "entropy_bpp", "model_bpp"
LOOKUP, FREE = "vq", "lfq"
SHADES = ((FIXED, "fixed length", 0.25), (ENTROPY, "order-0 entropy", 0.55), (MODEL, "AR code length", 1.0))
MARGIN = 1.0  # percent of the fixed-length bits: below it nothing worth the name is saved


def judge(evidence: Evidence) -> list[Finding]:
    """Every tokenizer: frequencies below fixed length, model below frequencies; then sizes and VQ against LFQ."""
    entries = _entries(evidence)
    findings = [
        replace(_all("the order-0 entropy is below the fixed length", entries, FIXED, ENTROPY), informational=True),
        _all("the AR model's code length is below the order-0 entropy", entries, ENTROPY, MODEL),
        _all("the AR model's code length is below the fixed length", entries, FIXED, MODEL),
    ]
    sizes = {name: {whole_bits(e): e for e in entries if _name(e) == name} for name in (LOOKUP, FREE)}
    for name, own in sizes.items():
        statement = f"the share wasted grows with the vocabulary of {name.upper()}"
        if len(own) > 1:
            statement += f", from 2^{min(own)} to 2^{max(own)} codes"
        findings.append(_wastes_more(statement, own[max(own)] if own else None, own[min(own)] if own else None))
    both = max(sizes[LOOKUP].keys() & sizes[FREE].keys(), default=None)
    statement = "VQ wastes more than LFQ" + (f" at 2^{both} codes" if both else "")
    pair = [sizes[name].get(both or 0) for name in (LOOKUP, FREE)]
    return [*findings, _wastes_more(statement, *pair)]


def _wastes_more(statement: str, one: Entry | None, other: Entry | None) -> Finding:
    steps = None if one is None or other is None or one is other else wasted(one) - wasted(other)
    return judged(statement, steps, margin=MARGIN, unit="% of the bits")


def wasted(entry: Entry, of: str = MODEL) -> SeedValues:
    """1 - coded / fixed of every seed, in percent: the share of the fixed-length bits that a coder would save."""
    return _saved(entry, FIXED, of)


def _saved(entry: Entry, longer: str, shorter: str) -> SeedValues:
    """By how much a coder is shorter than another, in percent of the fixed length."""
    return (by_seed(entry, longer) - by_seed(entry, shorter)) * 100 / by_seed(entry, FIXED)


def _all(statement: str, entries: Sequence[Entry], longer: str, shorter: str) -> Finding:
    def saves(entry: Entry) -> Finding:
        saved = _saved(entry, longer, shorter)
        return judged("", saved, margin=MARGIN, unit="% of the bits", detail=f"least for {_label(entry)}")

    statement += ", for every tokenizer"
    return weakest(statement, [saves(entry) for entry in entries]) if entries else judged(statement)


def panels(evidence: Evidence) -> list[Panel]:
    """For every tokenizer three bars: what is stored, what frequencies and what the model make of it."""
    entries = [entry for entry in _entries(evidence) if entry.metric(MODEL) is not None]
    looks = [_name(entry) for entry in entries]
    stored = [
        Series([(_label(e), e.metric(metric)) for e in entries], looks, name, alpha=alpha)
        for metric, name, alpha in SHADES
    ]
    shares = [Series([(_label(entry), wasted(entry).spread) for entry in entries], looks)]
    width = max(3.6, 0.5 * len(entries))
    return [
        Panel("", "rate (bits per pixel)", stored, bars=True, width=width),
        Panel("", "fixed-length bits wasted, at least (%)", shares, bars=True, width=width),
    ]


def table(evidence: Evidence) -> str:
    """A row for each tokenizer."""
    columns = {
        "tokenizer": _label,
        "codes": stack,
        "fixed (bpp)": lambda e: spread_text(e.metric(FIXED), ".4f"),
        "order-0 entropy (bpp)": lambda e: spread_text(e.metric(ENTROPY), ".4f"),
        "AR (bpp)": lambda e: spread_text(e.metric(MODEL), ".4f"),
        "saved by frequencies (%)": lambda e: spread_text(wasted(e, ENTROPY).spread, ".1f"),
        "saved by AR: wasted (%)": lambda e: spread_text(wasted(e).spread, ".1f"),
        "seeds": lambda e: str(len(e.records)),
    }
    return table_of(_entries(evidence), columns, words=2)


def _entries(evidence: Evidence) -> list[Entry]:
    """AR on every tokenizer: by quantizer, then by bits."""
    found = [entry for entry in evidence.rows(None, kind="generator") if entry.generator == "ar"]
    order = {LOOKUP: 0, FREE: 1}
    return sorted(found, key=lambda e: (order.get(_name(e), 2), _name(e), whole_bits(e)))


def _name(entry: Entry) -> str:
    return str(entry.first.quantizer.get("name"))


def _label(entry: Entry) -> str:
    depth = f", D = {entry.depth}" if entry.depth and entry.depth > 1 else ""
    return f"{_name(entry)} {vocabulary(entry)}{depth}"

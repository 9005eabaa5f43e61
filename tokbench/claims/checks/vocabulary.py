"""Vocabulary size in reconstruction and in generation (MAGVIT-v2, arXiv:2310.05737, figure 1)."""

from __future__ import annotations

from tokbench.claims.evidence import Evidence, variant, whole_bits
from tokbench.claims.findings import Finding, best_of, better, improvement, judged, unit_of
from tokbench.claims.panels import Line, Panel, metric_panels
from tokbench.results.entries import Entry

RECONSTRUCTION = ("psnr", "rfid", "rfid_192")
GENERATION = ("gfid", "gfid_192")
GENERATORS = {"ar": "-", "mlm": "--"}
LOOKUP, FREE = "vq", "lfq"  # the two of the paper
ORDER = (LOOKUP, FREE, "rotation", "simvq", "ibq", "fsq", "bsq")

Sizes = dict[int, Entry]  # bits per position: entry


def judge(evidence: Evidence) -> list[Finding]:
    """Reconstruction of both; of each generator what a larger vocabulary does to it; usage for information."""
    tokenizers = lines(evidence, "tokenizer")
    looked_up, free = tokenizers.get(LOOKUP, {}), tokenizers.get(FREE, {})
    findings = []
    for metric in evidence.measured(*RECONSTRUCTION) or RECONSTRUCTION[:1]:
        for name, sizes in ((LOOKUP, looked_up), (FREE, free)):
            what = f"reconstruction of {name.upper()} ({evidence.label(metric)})"
            findings.append(_first_to_last(what, sizes, metric))
    for metric in evidence.measured(*GENERATION) or GENERATION[-1:]:
        for generator in GENERATORS:
            findings += _generation(evidence, generator, metric)
    both = max(looked_up.keys() & free.keys(), default=None)
    if both:
        statement = f"LFQ uses more of 2^{both} codes than VQ"
        findings.append(better(statement, free[both], looked_up[both], "usage", informational=True))
    return findings


def _generation(evidence: Evidence, generator: str, metric: str) -> list[Finding]:
    """Of one generator: worse on VQ with the largest vocabulary, better on LFQ; for information, which gains more."""
    own, name, label = lines(evidence, "generator", generator), generator.upper(), evidence.label(metric)
    looked_up, free = own.get(LOOKUP, {}), own.get(FREE, {})
    statement = f"{label} of {name}: a larger vocabulary gains more on LFQ than on VQ"
    both, more = sorted(free.keys() & looked_up.keys()), None
    if len(both) > 1:
        first, last = both[0], both[-1]
        statement += f" from 2^{first} to 2^{last} codes"
        more = improvement(free[first], free[last], metric) - improvement(looked_up[first], looked_up[last], metric)
    return [
        _degrades(f"generation by {name} on {LOOKUP.upper()} ({label})", looked_up, metric),
        _first_to_last(f"generation by {name} on {FREE.upper()} ({label})", free, metric),
        judged(statement, more, unit=unit_of(metric, *free.values()) if more is not None else "", informational=True),
    ]


def _first_to_last(what: str, sizes: Sizes, metric: str) -> Finding:
    """That the largest vocabulary is better than the smallest."""
    if len(sizes) < 2:
        return judged(f"{what} improves with the vocabulary")
    first, last = min(sizes), max(sizes)
    return better(f"{what} improves from 2^{first} to 2^{last} codes", sizes[last], sizes[first], metric)


def _degrades(what: str, sizes: Sizes, metric: str) -> Finding:
    """That the largest vocabulary is worse than the best of the smaller ones (by the mean over seeds)."""
    *smaller, last = sorted(bits for bits, entry in sizes.items() if entry.metric(metric) is not None) or [0]
    best = best_of([sizes[bits] for bits in smaller], metric)
    if best is None:
        return judged(f"{what} gets worse with the largest vocabulary")
    statement = f"{what} is worse with 2^{last} codes than with 2^{whole_bits(best)}, the best below"
    return better(statement, best, sizes[last], metric)


def panels(evidence: Evidence) -> list[Panel]:
    """Reconstruction of all quantizers, generation of those that have a generator, and usage, over the bits."""
    reconstruction = [Line(name, name, sorted(sizes.items())) for name, sizes in lines(evidence, "tokenizer").items()]
    generation = [
        Line(f"{generator.upper()} on {name}", name, sorted(sizes.items()), line)
        for generator, line in GENERATORS.items()
        for name, sizes in lines(evidence, "generator", generator).items()
    ]
    wanted = ((reconstruction, RECONSTRUCTION), (generation, GENERATION), (reconstruction, ("usage",)))
    x = "vocabulary (bits per position)"
    return [panel for of, metrics in wanted for panel in metric_panels(of, evidence.measured(*metrics), x)]


def table(evidence: Evidence) -> str:
    """Tokenizers, then generators."""
    columns = ["quantizer", "quantizer.rotation_trick", "K", "codes", "bits", "bpp"]
    blocks = []
    for kind, more in (
        ("tokenizer", ["psnr", "ssim", "lpips", "rfid", "rfid_192", "usage", "perplexity"]),
        ("generator", ["gfid", "gfid_192", "nll_bits_per_code", "nll_bound_bits_per_code", "params"]),
    ):
        records = [record for record in evidence.records if record.kind == kind]
        own = columns if kind == "tokenizer" else ["generator", *columns]
        if not any(record.quantizer.get("rotation_trick") for record in records):
            own = [column for column in own if column != "quantizer.rotation_trick"]
        blocks.append(evidence.table([*own, *more, "seeds"], records))
    return "\n".join(block for block in blocks if block)


def lines(evidence: Evidence, kind: str, generator: str | None = None) -> dict[str, Sizes]:
    """Entries by quantizer (``rotation``: VQ with the rotation trick) and whole bits per position."""
    found: dict[str, Sizes] = {}
    for entry in evidence.rows(None, kind=kind):
        if entry.first.rate is not None and entry.generator == generator:
            found.setdefault(variant(entry), {})[whole_bits(entry)] = entry
    return dict(sorted(found.items(), key=lambda item: ORDER.index(item[0]) if item[0] in ORDER else len(ORDER)))

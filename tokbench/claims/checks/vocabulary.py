"""Vocabulary size in reconstruction and in generation (MAGVIT-v2, arXiv:2310.05737, figure 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tokbench.claims.drawing import Series, draw_panel
from tokbench.claims.evidence import Evidence
from tokbench.claims.findings import Finding, better, by_seed, direction, gains, judged, label_of, unit_of
from tokbench.results.entries import Entry

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RECONSTRUCTION = ("psnr", "rfid", "rfid_192")
GENERATION = ("gfid", "gfid_192")
GENERATORS = {"ar": "-", "mlm": "--"}
LOOKUP, FREE = "vq", "lfq"  # the two of the paper

Sizes = dict[int, Entry]  # bits a position: entry


def judge(evidence: Evidence) -> list[Finding]:
    """Reconstruction of both; of each generator what a larger vocabulary does to it; usage beside."""
    tokenizers = lines(evidence, "tokenizer")
    findings = []
    for metric in evidence.measured(*RECONSTRUCTION) or RECONSTRUCTION[:1]:
        for name in (LOOKUP, FREE):
            findings.append(_first_to_last(f"reconstruction of {name.upper()}", tokenizers.get(name, {}), metric))
    for metric in evidence.measured(*GENERATION) or GENERATION[-1:]:
        for generator in GENERATORS:
            own = lines(evidence, "generator", generator)
            looked_up, free = own.get(LOOKUP, {}), own.get(FREE, {})
            findings.append(_degrades(f"{generator.upper()} on {LOOKUP.upper()}", looked_up, metric))
            findings.append(_first_to_last(f"generation by {generator.upper()} on {FREE.upper()}", free, metric))
            findings.append(_gains_more(generator, free, looked_up, metric))
    both = sorted(tokenizers.get(LOOKUP, {}).keys() & tokenizers.get(FREE, {}).keys())
    if both:
        statement = f"LFQ uses more of 2^{both[-1]} codes than VQ"
        findings.append(
            better(statement, tokenizers[FREE][both[-1]], tokenizers[LOOKUP][both[-1]], "usage", beside=True)
        )
    return findings


def _first_to_last(what: str, sizes: Sizes, metric: str) -> Finding:
    """That the largest vocabulary is better than the smallest."""
    label = label_of(metric, *sizes.values())
    if len(sizes) < 2:
        return judged(f"{what} ({label}) improves with the vocabulary", [])
    first, last = min(sizes), max(sizes)
    return better(f"{what} ({label}) improves from 2^{first} to 2^{last} codes", sizes[last], sizes[first], metric)


def _degrades(what: str, sizes: Sizes, metric: str) -> Finding:
    """That the largest vocabulary is worse than the best of the smaller ones (by the mean over seeds)."""
    label = label_of(metric, *sizes.values())
    measured = {bits: spread.mean for bits in sorted(sizes) if (spread := sizes[bits].metric(metric)) is not None}
    if len(measured) < 2:
        return judged(f"generation by {what} ({label}) gets worse with the largest vocabulary", [])
    last = max(measured)
    sign = direction(metric, *sizes.values())
    best = max((bits for bits in measured if bits != last), key=lambda bits: sign * measured[bits])
    statement = f"generation by {what} ({label}) is worse with 2^{last} codes than with 2^{best}, the best below"
    return better(statement, sizes[best], sizes[last], metric)


def _gains_more(generator: str, free: Sizes, looked_up: Sizes, metric: str) -> Finding:
    """That from the smallest to the largest size both have, generation on LFQ gains more than on VQ."""
    both = sorted(free.keys() & looked_up.keys())
    where = f" from 2^{both[0]} to 2^{both[-1]} codes" if len(both) > 1 else ""
    label = label_of(metric, *free.values())
    statement = f"{label} of {generator.upper()}: a larger vocabulary gains more on LFQ than on VQ{where}"
    if len(both) < 2:
        return judged(statement, [], beside=True)
    sign = direction(metric, *free.values())

    def gain(sizes: Sizes) -> dict[int, float]:
        small, large = by_seed(sizes[both[0]], metric), by_seed(sizes[both[-1]], metric)
        return {seed: sign * (large[seed] - small[seed]) for seed in small.keys() & large.keys()}

    return judged(statement, gains(gain(free), gain(looked_up)), unit=unit_of(metric, *free.values()), beside=True)


def draw(evidence: Evidence) -> Figure | None:
    """Reconstruction of all quantizers, generation of those that have a generator, and usage, over the bits."""
    from tokbench.results.figures.base import panels

    tokenizers = lines(evidence, "tokenizer")
    reconstruction = [_series(name, sizes, name) for name, sizes in tokenizers.items()]
    generation = [
        _series(f"{generator.upper()} on {name}", sizes, name, line)
        for generator, line in GENERATORS.items()
        for name, sizes in lines(evidence, "generator", generator).items()
    ]
    chosen = [(reconstruction, metric) for metric in evidence.measured(*RECONSTRUCTION)]
    chosen += [(generation, metric) for metric in evidence.measured(*GENERATION)]
    chosen += [(reconstruction, metric) for metric in evidence.measured("usage")]
    if not chosen:
        return None
    figure, axes = panels(len(chosen))
    for axis, (series, metric) in zip(axes, chosen, strict=True):
        draw_panel(axis, series, metric, "vocabulary (bits a position)", log2=False)
    for index, series in ((0, reconstruction), (len(evidence.measured(*RECONSTRUCTION)), generation)):
        if series and index < len(axes):
            axes[index].legend(fontsize=6)
    return figure


def _series(label: str, sizes: Sizes, quantizer: str, line: str = "-") -> Series:
    return Series(label, quantizer, [(float(bits), sizes[bits]) for bits in sorted(sizes)], line)


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
    """Entries by quantizer (``rotation``: VQ with the rotation trick) and whole bits a position."""
    found: dict[str, Sizes] = {}
    for entry in evidence.rows(None, kind=kind):
        rate = entry.first.rate
        if rate is None or entry.generator != generator:
            continue
        found.setdefault(variant(entry), {})[round(rate.bits_per_position)] = entry
    return dict(sorted(found.items(), key=lambda item: _ORDER.index(item[0]) if item[0] in _ORDER else len(_ORDER)))


_ORDER: Sequence[str] = (LOOKUP, FREE, "rotation", "simvq", "ibq", "fsq", "bsq")


def variant(entry: Entry) -> str:
    """The quantizer's name, or ``rotation``."""
    quantizer = entry.first.quantizer
    return "rotation" if quantizer.get("rotation_trick") else str(quantizer.get("name"))

"""Whole images against how much of an image a code stands for, the generator's input being fixed (VQ-GAN,
arXiv:2012.09841, section 4.3)."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from tokbench.claims.evidence import Evidence, Named
from tokbench.claims.findings import Finding, better, judged, rising, weakest
from tokbench.claims.numbers import SeedValues, against, drawing_seconds, named_table, of_metric, spread_text, usual
from tokbench.claims.panels import Line, Panel, Series, metric_panels
from tokbench.results.entries import Entry

FACTORS = (1, 2, 4, 8, 16)
DRAWN = ("gfid", "gfid_192")
RECONSTRUCTED = ("psnr", "ssim", "lpips", "rfid", "rfid_192")


def judge(evidence: Evidence) -> list[Finding]:
    """Better and faster with every factor; for information what the larger codes lose in reconstruction."""
    rows, whole = _generators(evidence), _tokenizers(evidence)
    entries = [row for _, row in rows]
    factors = ", ".join(name.removeprefix("f = ") for name, _ in rows)
    found = [
        rising(f"{evidence.label(metric)} of whole images improves with f = {factors}", entries, metric)
        for metric in evidence.measured(*DRAWN) or DRAWN[:1]
    ]
    faster = [_faster(one, other) for one, other in pairwise(rows)]
    found.append(weakest(f"an image is drawn in less time with f = {factors}", faster))
    if len(rows) > 1:
        found.append(_faster(rows[0], rows[-1], informational=True))
    if len(whole) > 1:
        (small, one), (large, other) = whole[0], whole[-1]
        found += [
            better(f"{evidence.label(metric)} of reconstructions is better at {small} than at {large}, the price",
                   one, other, metric, informational=True)
            for metric in evidence.measured(*RECONSTRUCTED)
        ]  # fmt: skip
    return found


def _faster(slow: Named, fast: Named, informational: bool = False) -> Finding:
    one, other = _seconds(slow[1]), _seconds(fast[1])
    return judged(
        f"an image is drawn in less time at {fast[0]} than at {slow[0]}",
        one / other - 1.0,
        unit="(ratio - 1)", detail=against(one, other, "s"), informational=informational,
    )  # fmt: skip


def _seconds(entry: Entry) -> SeedValues:
    """That an image took to draw, of every seed."""
    drawn = {
        record.seed: max((record.metrics[name].n for name in DRAWN if name in record.metrics), default=0)
        for record in entry.records
    }
    return drawing_seconds(entry) / SeedValues({seed: n for seed, n in drawn.items() if seed is not None and n})


def panels(evidence: Evidence) -> list[Panel]:
    """What is drawn, how long it takes, and the reconstructions, over f."""
    rows = _generators(evidence)
    line = Line("", "vq", [(_factor(name), row) for name, row in rows])
    whole = Line("", "vq", [(_factor(name), row) for name, row in _tokenizers(evidence)])
    drawn = metric_panels([line], evidence.measured(*DRAWN), "f", log2=True)
    seconds = Series([(_factor(name), _seconds(row).spread) for name, row in rows], "vq")
    time = Panel("f", "seconds an image drawn", [seconds], log2=True, log=10)
    return [*drawn, time, *metric_panels([whole], evidence.measured(*RECONSTRUCTED[1:]), "f", log2=True)]


def table(evidence: Evidence) -> str:
    """A row for each factor: the generator, then its tokenizer on whole images."""
    rows, tokenizers = _generators(evidence), dict(_tokenizers(evidence))
    whole = {row.first.cell: tokenizers.get(name) for name, row in rows}

    def of_whole(column: Callable[[Entry], str]) -> Callable[[Entry], str]:
        return lambda row: column(own) if (own := whole[row.first.cell]) is not None else "-"

    kept = evidence.by_metric(evidence.measured(*RECONSTRUCTED))
    columns = {
        **usual("parameters"),
        **evidence.by_metric(evidence.measured(*DRAWN)),
        "seconds an image": lambda row: spread_text(_seconds(row).spread, ".3g"),
        "NLL of a patch (bits/code)": of_metric("nll_bits_per_code", ".3f"),
        **{f"{head} of reconstructions": of_whole(column) for head, column in kept.items()},
    }
    return named_table("codes", rows, columns)


def _generators(evidence: Evidence) -> list[Named]:
    return _by_factor(evidence, "", "generator")


def _tokenizers(evidence: Evidence) -> list[Named]:
    """On whole images."""
    return _by_factor(evidence, "-whole", "tokenizer")


def _by_factor(evidence: Evidence, suffix: str, kind: str) -> list[Named]:
    parts = {f"f{factor}{suffix}": f"f = {factor}" for factor in FACTORS}
    return evidence.named({part: name for part, name in parts.items() if part in evidence.asked.parts}, kind)


def _factor(name: str) -> float:
    return float(name.removeprefix("f = "))

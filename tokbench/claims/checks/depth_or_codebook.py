"""Codes in depth against a larger codebook, on a latent map of one size (RQ-VAE, arXiv:2203.01941, table 4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokbench.claims.drawing import Series, draw_series
from tokbench.claims.evidence import Evidence
from tokbench.claims.findings import (
    MARGINS,
    Finding,
    better,
    by_seed,
    direction,
    gains,
    judged,
    label_of,
    rising,
    unit_of,
)
from tokbench.claims.pictures import Shown
from tokbench.results.entries import Entry

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRICS = ("psnr", "rfid", "rfid_192")  # of distances, the one whose weights were at hand
SHOWN = ("psnr", "ssim", "lpips", "rfid", "rfid_192")


def judge(evidence: Evidence) -> list[Finding]:
    """The depths of RQ, the sizes of VQ, and VQ with four times the positions."""
    depths = sorted(evidence.rows("depth"), key=lambda entry: entry.depth or 0)
    sizes = evidence.rows("codebook")
    positions = evidence.row("positions")
    same_bits = next((e for e in depths if positions is not None and e.bits() == positions.bits()), None)
    findings = []
    for metric in evidence.measured(*METRICS) or METRICS[:1]:
        label = label_of(metric, *depths)
        steps = ", ".join(str(entry.depth) for entry in depths)
        last, first = (depths[-1], depths[0]) if len(depths) > 1 else (None, None)
        deepest = f"D = {depths[0].depth} to D = {depths[-1].depth}" if len(depths) > 1 else "one depth to many"
        findings.append(better(f"{label} improves from {deepest}", last, first, metric))
        findings.append(rising(f"{label} improves with every step of the depth D = {steps}", depths, metric))
        findings.append(_more_than(label, depths[:2], [sizes[0], sizes[-1]] if sizes else [], metric))
        if sizes:
            statement = f"{label} of VQ improves from {_size(sizes[0])} to {_size(sizes[-1])}"
            findings.append(better(statement, sizes[-1], sizes[0], metric, beside=True))
        findings.append(
            better(
                f"{label} of RQ with D = {same_bits.depth if same_bits else 4} is no worse than that of VQ with four "
                "times the positions and equal bits",
                same_bits,
                positions,
                metric,
                equal_or_better=True,
            )  # fmt: skip
        )
    return findings


def _more_than(label: str, depths: list[Entry], sizes: list[Entry], metric: str) -> Finding:
    """That the first step in depth gains more than the whole range of codebooks."""
    statement = f"{label} gains more from a second code (D = 1 to 2) than from the largest codebook"
    if len(depths) < 2 or len(sizes) < 2:
        return judged(statement, [])
    statement += f" ({_size(sizes[0])} to {_size(sizes[1])})"
    sign = direction(metric, *depths)

    def gain(pair: list[Entry]) -> dict[int, float]:
        first, last = by_seed(pair[0], metric), by_seed(pair[1], metric)
        return {seed: sign * (last[seed] - first[seed]) for seed in first.keys() & last.keys()}

    deeper, larger = gain(depths), gain(sizes)
    shared = deeper.keys() & larger.keys()
    detail = ""
    if shared:
        means = [sum(of[seed] for seed in shared) / len(shared) for of in (deeper, larger)]
        detail = f"{means[0]:+.3g} against {means[1]:+.3g}"
    return judged(
        statement, gains(deeper, larger), margin=MARGINS.get(metric, 0.0), unit=unit_of(metric, *depths), detail=detail
    )


def shown(evidence: Evidence) -> list[Shown]:
    """The largest codebook beside the least and the most depth."""
    depths = sorted(evidence.rows("depth"), key=lambda entry: entry.depth or 0)
    sizes = evidence.rows("codebook")
    if not depths or not sizes:
        return []
    return [
        Shown(f"RQ, D = {depths[0].depth}", depths[0].first),
        Shown(f"VQ, {_size(sizes[-1])}", sizes[-1].first),
        Shown(f"RQ, D = {depths[-1].depth}", depths[-1].first),
    ]


def draw(evidence: Evidence) -> Figure | None:
    """Each metric over the bits of a picture."""

    def points(entries: list[Entry]) -> list[tuple[float, Entry]]:
        return [(entry.bits() or 0.0, entry) for entry in entries]

    lines = [Series("RQ, more depth", "rq", points(evidence.rows("depth")))]
    lines += [Series("VQ, larger codebook", "vq", points(evidence.rows("codebook")))]
    lines += [Series("VQ, 4x the positions", "vq", points(evidence.rows("positions")), "")]
    return draw_series(lines, evidence.measured(*SHOWN), "bits an image")


def table(evidence: Evidence) -> str:
    """As the ablation of the paper, with code use beside it."""
    return evidence.table(
        ["quantizer", "K", "D", "codes", "bits", *SHOWN, "usage", "perplexity", "entropy_bpp", "seeds"]
    )


def _size(entry: Entry) -> str:
    sizes = entry.codebook_sizes() or [0]
    bits = sizes[0].bit_length() - 1
    return f"K = 2^{bits}" if sizes[0] == 1 << bits else f"K = {sizes[0]:,}"

"""Codes in depth against a larger codebook, on a latent map of one size (RQ-VAE, arXiv:2203.01941, table 4); beside
them codes in scales (VAR, arXiv:2404.02905)."""

from __future__ import annotations

from tokbench.claims.evidence import Evidence, vocabulary
from tokbench.claims.findings import Finding, better, gains_more, judged, rising
from tokbench.claims.panels import Line, Panel, metric_panels
from tokbench.claims.pictures import Shown
from tokbench.results.entries import Entry

METRICS = ("psnr", "rfid", "rfid_192")  # of distances, the one whose weights were at hand
SHOWN = ("psnr", "ssim", "lpips", "rfid", "rfid_192")
LINES = {  # part: label, quantizer, line
    "depth": ("RQ, more depth", "rq", "-"),
    "codebook": ("VQ, larger codebook", "vq", "-"),
    "positions": ("VQ, 4x the positions", "vq", ""),
    "scales": ("MS-RQ, more codes a scale", "ms-rq", "--"),
}


def judge(evidence: Evidence) -> list[Finding]:
    """The depths of RQ, the sizes of VQ, and VQ with four times the positions."""
    depths, sizes, positions = _depths(evidence), evidence.rows("codebook"), evidence.row("positions")
    same_bits = next((e for e in depths if positions is not None and e.bits() == positions.bits()), None)
    steps = ", ".join(str(entry.depth) for entry in depths)
    last, first = (depths[-1], depths[0]) if len(depths) > 1 else (None, None)
    deepest = f"D = {depths[0].depth} to D = {depths[-1].depth}" if len(depths) > 1 else "one depth to many"
    same = f"RQ with D = {same_bits.depth if same_bits else 4}"
    findings = []
    for metric in evidence.measured(*METRICS) or METRICS[:1]:
        label = evidence.label(metric)
        findings.append(better(f"{label} improves from {deepest}", last, first, metric))
        findings.append(rising(f"{label} improves with every step of the depth D = {steps}", depths, metric))
        more = f"{label} gains more from a second code (D = 1 to 2) than from the largest codebook"
        if len(depths) > 1 and sizes:
            more += f" ({_size(sizes[0])} to {_size(sizes[-1])})"
            findings.append(gains_more(more, (depths[0], depths[1]), (sizes[0], sizes[-1]), metric))
        else:
            findings.append(judged(more))
        if sizes:
            statement = f"{label} of VQ improves from {_size(sizes[0])} to {_size(sizes[-1])}"
            findings.append(better(statement, sizes[-1], sizes[0], metric, informational=True))
        statement = f"{label} of {same} is no worse than that of VQ with four times the positions and equal bits"
        findings.append(better(statement, same_bits, positions, metric, equal_or_better=True))
        for scales in _rows(evidence, "scales"):
            if (beside := next((e for e in depths if _alike(e, scales)), None)) is not None:
                than = f"RQ with D = {beside.depth}, at equal bits"
                statement = f"{label} of a pyramid of scales is better than that of {than}"
                findings.append(better(statement, scales, beside, metric, informational=True))
    return findings


def _rows(evidence: Evidence, part: str) -> list[Entry]:
    """None of a part that was not asked for when the records were made."""
    return evidence.rows(part) if part in evidence.asked.parts else []


def _alike(one: Entry, other: Entry) -> bool:
    """Whether an image has the same bits in both, but for the rounding of a vocabulary."""
    return abs((one.bits() or 0.0) / (other.bits() or 1.0) - 1) < 0.02


def shown(evidence: Evidence) -> list[Shown]:
    """The largest codebook beside the least and the most depth."""
    depths, sizes = _depths(evidence), evidence.rows("codebook")
    if not depths or not sizes:
        return []
    least, most = (Shown(f"RQ, D = {entry.depth}", entry.first) for entry in (depths[0], depths[-1]))
    return [least, Shown(f"VQ, {_size(sizes[-1])}", sizes[-1].first), most]


def panels(evidence: Evidence) -> list[Panel]:
    """Each metric over the bits per image."""
    lines = [
        Line(label, look, [(entry.bits() or 0.0, entry) for entry in _rows(evidence, part)], line)
        for part, (label, look, line) in LINES.items()
    ]
    return metric_panels(lines, evidence.measured(*SHOWN), "bits per image", log2=True)


def table(evidence: Evidence) -> str:
    """As the ablation of the paper, with code use beside it."""
    columns = ["quantizer", "K", "D", "codes", "bits", *SHOWN]
    return evidence.table([*columns, "usage", "perplexity", "entropy_bpp", "seeds"])


def _depths(evidence: Evidence) -> list[Entry]:
    return sorted(evidence.rows("depth"), key=lambda entry: entry.depth or 0)


def _size(entry: Entry) -> str:
    return f"K = {vocabulary(entry)}"

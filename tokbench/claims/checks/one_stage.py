"""A row of tokens trained in one stage beside a map of patches (TiTok, arXiv:2406.07550; One-D-Piece, 2501.10064)."""

from __future__ import annotations

from tokbench.claims.evidence import Evidence, stages_of
from tokbench.claims.findings import Finding, better, rising
from tokbench.claims.panels import Line, Panel, metric_panels

METRICS = ("psnr", "rfid", "rfid_192")
SHOWN = ("psnr", "ssim", "lpips", "rfid", "rfid_192")
NAMES = {"patches": "patches (vit)", "tokens": "tokens (titok), tail dropped"}
WITHIN = 1.5  # dB: what counts as having learned beside patches


def judge(evidence: Evidence) -> list[Finding]:
    """The tokens against the patches, and each prefix against the one before."""
    patches, tokens = (evidence.row(part) for part in NAMES)
    findings = [
        better(f"PSNR of tokens is within {WITHIN} dB of that of patches", tokens, patches, "psnr",
               margin=WITHIN, equal_or_better=True),
    ]  # fmt: skip
    stages = stages_of(tokens)
    lengths = ", ".join(map(str, tokens.lengths)) if tokens is not None else "8, 16 ..."
    for metric in evidence.measured(*METRICS) or METRICS[:1]:
        if stages and stages[0].metric(metric) is None:
            continue  # measured of all tokens alone
        statement = f"{evidence.label(metric)} improves with every prefix, {lengths} tokens"
        findings.append(rising(statement, stages, metric))
    return findings


def panels(evidence: Evidence) -> list[Panel]:
    """Each metric over the bits an image: the prefixes a line, the patches a point."""
    lines = [
        Line(label, look, [(entry.bits() or 0.0, entry) for entry in stages_of(evidence.row(part))], line)
        for (part, label), look, line in zip(NAMES.items(), ("vq", "rq"), ("", "-"), strict=True)
    ]
    return metric_panels(lines, evidence.measured(*SHOWN), "bits per image", log2=True)


def table(evidence: Evidence) -> str:
    """Both, the prefixes of the second among them."""
    columns = ["architecture", "K", "codes", "bits", "params", *SHOWN, "usage", "perplexity", "seeds"]
    return evidence.table(columns, by_depth=True, parts=NAMES)

"""What claims about tokenizers of clips have in common. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tokbench.claims.evidence import Evidence
from tokbench.claims.findings import Finding, better, judged
from tokbench.claims.numbers import SeedValues, against
from tokbench.claims.panels import Line, Panel, Series, metric_panels
from tokbench.claims.pictures import Shown
from tokbench.results.attributes import attribute
from tokbench.results.entries import Entry, Spread

METRICS = ("psnr", "ssim", "lpips", "rfvd_tf1")
FLICKER = "flicker"


@dataclass(frozen=True)
class Clips:
    """What a claim about tokenizers of clips shows of them. ``names``: what the parts are called, by part."""

    names: Mapping[str, str]

    def shown(self, evidence: Evidence) -> list[Shown]:
        """Clips through each."""
        return [Shown(name, row.first) for name, row in evidence.named(self.names)]

    def panels(self, evidence: Evidence) -> list[Panel]:
        """A bar for each part in every metric, and in the PSNR of first frames."""
        rows = evidence.named(self.names)
        bars = metric_panels([Line("", "vq", rows)], evidence.measured(*METRICS, FLICKER), bars=True, width=2.6)
        first = Series([(name, first_frames(row).spread) for name, row in rows], "vq")
        return [*bars, Panel("", "PSNR of first frames (dB)", [first], bars=True, width=2.6)]

    def table(self, evidence: Evidence) -> str:
        """A row for each part."""
        columns = ["K", "codes", "bits", "bpp", "psnr", "psnr_first", "psnr_later", *METRICS[1:], FLICKER, "usage"]
        records = [record for part in self.names for record in evidence.of_part(part)]
        return evidence.table([*columns, "params", "train_time", "seeds"], records, parts=self.names)


@dataclass(frozen=True)
class Pair(Clips):
    """The whole check of a claim that one of two tokenizers of clips is better than the other.

    Args:
        best: the part that is said to be better.
        better: what is said of a metric, ``{metric}`` among the words.
        first: what is said of first frames.
    """

    best: str
    better: str
    first: str

    def judge(self, evidence: Evidence) -> list[Finding]:
        """Every metric of clips; for information flicker and the first frames."""
        (other,) = (evidence.row(part) for part in self.names if part != self.best)
        one = evidence.row(self.best)
        return [*of_clips(evidence, self.better, one, other), of_first_frames(self.first, one, other)]


def of_clips(evidence: Evidence, what: str, a: Entry | None, b: Entry | None) -> list[Finding]:
    """That ``a`` is better than ``b`` in each metric of clips; ``what`` says so of ``{metric}``."""
    findings = [
        better(what.format(metric=evidence.label(metric)), a, b, metric)
        for metric in evidence.measured(*METRICS) or METRICS[:1]
    ]
    flicker = what.format(metric=evidence.label(FLICKER))
    return [*findings, better(flicker, a, b, FLICKER, informational=True)]


def of_first_frames(statement: str, a: Entry | None, b: Entry | None) -> Finding:
    """That the first frames of ``a`` have a better PSNR than those of ``b``; for information."""
    one, other = first_frames(a), first_frames(b)
    return judged(statement, one - other, margin=0.1, unit="dB", detail=against(one, other), informational=True)


def first_frames(entry: Entry | None) -> SeedValues:
    """The PSNR of the first frames, of every seed. A causal tokenizer takes an image as it takes them."""
    own = attribute("psnr_first")
    found = {r.seed: own.value(Entry((r,))) for r in (entry.records if entry is not None else ())}
    return SeedValues({seed: x.mean for seed, x in found.items() if seed is not None and isinstance(x, Spread)})

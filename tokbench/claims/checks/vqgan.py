"""Perceptual and adversarial losses against squared error, and the reduction factor (VQ-GAN, arXiv:2012.09841)."""

from __future__ import annotations

from dataclasses import replace

from tokbench.claims.evidence import Evidence, stack
from tokbench.claims.findings import Finding, better, judged, rising, weakest
from tokbench.claims.numbers import HELD_OUT, drawing_seconds, mean_curve, named_table, spread_text
from tokbench.claims.panels import Line, Panel, Series, metric_panels
from tokbench.claims.pictures import Shown
from tokbench.results.entries import Entry, Spread

RECONSTRUCTION = ("rfid", "rfid_192")
GENERATION = ("gfid", "gfid_192")
LPIPS = {"alex": "lpips", "vgg": "lpips_vgg"}
LINES = ("-", "--", ":", "-.")


def judge(evidence: Evidence) -> list[Finding]:
    """The losses at equal bits, then the transformer over the reduction factor."""
    l2, gan = _losses(evidence)
    findings = []
    for metric in evidence.measured(*LPIPS.values(), *RECONSTRUCTION) or RECONSTRUCTION[-1:]:
        own = metric == _trained_on(gan)
        statement = f"{evidence.label(metric)} is better with a perceptual and an adversarial loss, at equal bits"
        statement += " (it is what was trained on)" if own else ""
        findings.append(better(statement, gan, l2, metric, informational=own))
    findings.append(
        better("PSNR, the price: it is better with squared error alone", l2, gan, "psnr", informational=True)
    )
    generators, tokenizers = _by_factor(evidence, "generator"), _by_factor(evidence, "tokenizer")
    factors = ", ".join(str(factor(entry)) for entry in generators)
    for metric in evidence.measured(*GENERATION) or GENERATION[-1:]:
        statement = f"samples ({evidence.label(metric)}) improve with every step of f = {factors}"
        findings.append(rising(statement, generators, metric))
    findings.append(_faster(generators, factors))
    for metric in evidence.measured(*RECONSTRUCTION):
        price = (
            f"reconstruction ({evidence.label(metric)}), the price: it is better with every step down in f = {factors}"
        )
        findings.append(replace(rising(price, tokenizers[::-1], metric), informational=True))
    return findings


def _faster(generators: list[Entry], factors: str) -> Finding:
    """That drawing as many samples takes less time at every step of f; the effect is the smallest of the ratios."""
    seconds = [drawing_seconds(entry) for entry in generators]
    pairs = zip(seconds, seconds[1:], strict=False)
    steps = [judged("", slow / fast - 1, unit="(ratio - 1)") for slow, fast in pairs]
    return weakest(f"samples come faster with every step of f = {factors}", steps)


def factor(entry: Entry) -> int:
    """f: pixels per side of what one code stands for."""
    return entry.downsampling if isinstance(entry.downsampling, int) else 0


def shown(evidence: Evidence) -> list[Shown]:
    """Squared error and VQ-GAN's losses at equal bits."""
    names = ("squared error", "perceptual and adversarial loss")
    pairs = zip(names, _losses(evidence), strict=True)
    return [Shown(name, entry.first if entry is not None else None) for name, entry in pairs]


def panels(evidence: Evidence) -> list[Panel]:
    """Both losses, the transformer's NLL over the steps, its samples over f, and what drawing them took."""
    l2, gan = _losses(evidence)
    judging = [metric for metric in LPIPS.values() if metric != _trained_on(gan)]
    losses = evidence.measured("psnr", *judging, *RECONSTRUCTION)
    pair = [("squared error", l2), ("VQ-GAN", gan)] if l2 is not None and gan is not None else []
    bars = [Line("", "vq", [(name, entry) for name, entry in pair if entry is not None])]
    generators = _by_factor(evidence, "generator")
    curves = [
        Series(_bits_per_pixel(entry), "vq", f"f = {factor(entry)}", line, marker=False)
        for line, entry in zip(LINES, generators, strict=False)
    ]
    samples = [Line("", "vq", [(factor(entry), entry) for entry in generators])]
    seconds = [Series([(factor(entry), drawing_seconds(entry).spread) for entry in generators], "vq")]
    x, options = "reduction factor f", {"log2": True, "width": 2.8}
    nll = "held-out NLL (bits per pixel)"
    return [
        *metric_panels(bars, losses, bars=True, width=2.8),
        Panel("optimizer steps of the transformer", nll, curves, log=2, width=2.8),
        *metric_panels(samples, evidence.measured(*GENERATION), x, **options),
        Panel(x, "drawing the samples (s)", seconds, zero=True, log2=True, width=2.8),
    ]


def table(evidence: Evidence) -> str:
    """The losses, then f: tokenizers and the transformers on them."""
    l2 = evidence.row("l2")
    tokenizers = [("squared error", l2)] if l2 is not None else []
    tokenizers += [("VQ-GAN's", entry) for entry in _by_factor(evidence, "tokenizer")]
    losses = {
        "codes": stack,
        "f": lambda row: str(factor(row)),
        "bpp": lambda row: f"{row.bits_per_pixel() or 0.0:.3f}",
        **evidence.by_metric(evidence.measured("psnr", *LPIPS.values(), *RECONSTRUCTION, "usage")),
    }
    generators = [(stack(entry), entry) for entry in _by_factor(evidence, "generator")]
    transformers = {
        "f": lambda row: str(factor(row)),
        **evidence.by_metric(evidence.measured("nll_bits_per_code", "model_bpp", *GENERATION)),
        "drawing the samples (s)": lambda row: spread_text(drawing_seconds(row).spread),
    }
    return (
        named_table("loss", tokenizers, losses, words=2)
        + "\n"
        + named_table("transformer on", generators, transformers)
    )


def _losses(evidence: Evidence) -> tuple[Entry | None, Entry | None]:
    """Squared error, and VQ-GAN's losses at the same f."""
    l2 = evidence.row("l2")
    gan = next((e for e in _by_factor(evidence, "tokenizer") if l2 is not None and factor(e) == factor(l2)), None)
    return l2, gan


def _by_factor(evidence: Evidence, kind: str) -> list[Entry]:
    return sorted(evidence.rows("gan", kind=kind), key=factor)


def _trained_on(entry: Entry | None) -> str:
    """The metric of the network of the perceptual loss that a tokenizer was trained with."""
    loss = entry.first.recipe.get("loss", {}) if entry is not None else {}
    return LPIPS.get(str(loss.get("perceptual", {}).get("net", "")), "")


def _bits_per_pixel(entry: Entry) -> list[tuple[int, Spread]]:
    codes = entry.first.rate.tokens[-1] / factor(entry) ** 2 if entry.first.rate is not None else 0.0
    return [(step, Spread(spread.mean * codes, None)) for step, spread in mean_curve(entry, HELD_OUT)]

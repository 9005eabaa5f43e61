"""Perceptual and adversarial losses against squared error, and the reduction factor (VQ-GAN, arXiv:2012.09841)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tokbench.claims.curves import HELD_OUT, mean_curve
from tokbench.claims.drawing import Series, draw_panel
from tokbench.claims.evidence import Evidence
from tokbench.claims.findings import Finding, better, judged, label_of, rising, weakest
from tokbench.claims.pictures import Shown
from tokbench.claims.wording import heading, rows_text, spread_text
from tokbench.results.entries import Entry, Spread
from tokbench.results.styles import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RECONSTRUCTION = ("rfid", "rfid_192")
GENERATION = ("gfid", "gfid_192")
LPIPS = {"alex": "lpips", "vgg": "lpips_vgg"}
LINES = ("-", "--", ":", "-.")


def judge(evidence: Evidence) -> list[Finding]:
    """The losses at equal bits, then the transformer over the reduction factor."""
    l2 = evidence.row("l2")
    gan = next((entry for entry in _by_factor(evidence, "tokenizer") if l2 and factor(entry) == factor(l2)), None)
    trained_on = LPIPS.get(_net(gan), "")
    findings = []
    for metric in evidence.measured(*LPIPS.values(), *RECONSTRUCTION) or RECONSTRUCTION[-1:]:
        own = metric == trained_on
        statement = f"{label_of(metric, l2, gan)} is better with a perceptual and an adversarial loss, at equal bits"
        statement += " (it is what was trained on)" if own else ""
        findings.append(better(statement, gan, l2, metric, beside=own))
    findings.append(better("PSNR, the price: it is better with squared error alone", l2, gan, "psnr", beside=True))
    generators = _by_factor(evidence, "generator")
    factors = ", ".join(str(factor(entry)) for entry in generators)
    for metric in evidence.measured(*GENERATION) or GENERATION[-1:]:
        label = label_of(metric, *generators)
        findings.append(rising(f"samples ({label}) improve with every step of f = {factors}", generators, metric))
    findings.append(_faster(generators, factors))
    tokenizers = _by_factor(evidence, "tokenizer")
    for metric in evidence.measured(*RECONSTRUCTION):
        label = label_of(metric, *tokenizers)
        statement = f"reconstruction ({label}), the price: it is better with every step down in f = {factors}"
        findings.append(replace(rising(statement, tokenizers[::-1], metric), beside=True))
    return findings


def _faster(generators: list[Entry], factors: str) -> Finding:
    """That drawing as many samples takes less time at every step of f; the effect is the smallest of the ratios."""
    statement = f"samples come faster with every step of f = {factors}"
    steps = []
    for slow, fast in zip(generators, generators[1:], strict=False):
        before, after = drawing_seconds(slow), drawing_seconds(fast)
        ratio = [before[seed] / after[seed] - 1 for seed in sorted(before.keys() & after.keys())]
        steps.append(judged("", ratio, unit="(ratio - 1)"))
    return weakest(statement, steps)


def drawing_seconds(entry: Entry) -> dict[int, float]:
    """Seconds that drawing the samples and decoding them took, of every seed."""
    found = {record.seed: record.timing.get("drawing") for record in entry.records}
    return {seed: float(value) for seed, value in found.items() if seed is not None and value}


def factor(entry: Entry) -> int:
    """f: pixels a side of what one code stands for."""
    return entry.downsampling if isinstance(entry.downsampling, int) else 0


def shown(evidence: Evidence) -> list[Shown]:
    """Squared error and VQ-GAN's losses at equal bits."""
    l2 = evidence.row("l2")
    gan = next((e for e in _by_factor(evidence, "tokenizer") if l2 and factor(e) == factor(l2)), None)
    pairs = [("squared error", l2), ("perceptual and adversarial loss", gan)]
    return [Shown(label, entry.first if entry is not None else None) for label, entry in pairs]


def draw(evidence: Evidence) -> Figure | None:
    """Both losses, the transformer's NLL over the steps, its samples over f, and what drawing them took."""
    from tokbench.results.figures.base import panels

    l2, generators = evidence.row("l2"), _by_factor(evidence, "generator")
    tokenizers = _by_factor(evidence, "tokenizer")
    gan = next((entry for entry in tokenizers if l2 and factor(entry) == factor(l2)), None)
    judging = [metric for metric in LPIPS.values() if metric != LPIPS.get(_net(gan))]
    losses = evidence.measured("psnr", *judging, *RECONSTRUCTION) if l2 and gan else []
    samples = [m for m in evidence.measured(*GENERATION) if generators]
    with_curves = any(mean_curve(entry, HELD_OUT) for entry in generators)
    count = len(losses) + with_curves + len(samples) + bool(generators)
    if not count:
        return None
    figure, axes = panels(count, width=2.8, height=2.5)
    rest = iter(axes)
    for metric in losses:
        _pair(next(rest), l2, gan, metric)
    if with_curves:
        axis = next(rest)
        for line, entry in zip(LINES, generators, strict=False):
            points = mean_curve(entry, HELD_OUT)
            per_pixel = _codes_per_pixel(entry)
            xs, ys = [step for step, _ in points], [spread.mean * per_pixel for _, spread in points]
            axis.plot(xs, ys, line, color=style("vq").colour, label=f"f = {factor(entry)}")
        axis.legend()
        axis.set_xlabel("optimizer steps of the transformer")
        axis.set_ylabel("held-out NLL (bits per pixel)")
        axis.set_yscale("log", base=2)
    for metric in samples:
        series = [Series("samples", "vq", [(float(factor(entry)), entry) for entry in generators])]
        axis = next(rest)
        draw_panel(axis, series, metric, "reduction factor f")
    if generators:
        axis = next(rest)
        spreads = [(factor(e), s) for e in generators if (s := Spread.over(drawing_seconds(e).values())) is not None]
        axis.errorbar(
            [f for f, _ in spreads], [s.mean for _, s in spreads], [s.deviation or 0.0 for _, s in spreads],
            fmt="o-", color=style("vq").colour, elinewidth=0.8,
        )  # fmt: skip
        axis.set_xscale("log", base=2)
        axis.set_xticks([f for f, _ in spreads], [str(f) for f, _ in spreads])
        axis.set_xticks([], minor=True)
        axis.set_ylim(bottom=0)
        axis.set_xlabel("reduction factor f")
        axis.set_ylabel("drawing the samples (s)")
    return figure


def _pair(axis: Axes, l2: Entry | None, gan: Entry | None, metric: str) -> None:
    """Squared error and VQ-GAN's losses side by side."""
    from tokbench.results.figures.base import metric_label

    pairs = [("squared error", l2, 0.45), ("VQ-GAN", gan, 1.0)]
    for name, entry, alpha in pairs:
        spread = entry.metric(metric) if entry is not None else None
        if spread is not None:
            axis.bar(
                name, spread.mean, 0.6, yerr=spread.deviation or 0.0, color=style("vq").colour, alpha=alpha,
                error_kw={"elinewidth": 0.8}, capsize=3,
            )  # fmt: skip
    axis.grid(axis="x", visible=False)
    axis.set_ylabel(metric_label([entry for _, entry, _ in pairs if entry is not None], metric))


def table(evidence: Evidence) -> str:
    """The losses, then f: tokenizers and the transformers on them."""
    tokenizers = [(name, e) for name, e in (("squared error", evidence.row("l2")),) if e is not None]
    tokenizers += [("VQ-GAN's", entry) for entry in _by_factor(evidence, "tokenizer")]
    own = evidence.measured("psnr", *LPIPS.values(), *RECONSTRUCTION, "usage")
    header = ["loss", "codes", "f", "bpp", *(heading(metric, *(e for _, e in tokenizers)) for metric in own), "seeds"]
    rows = [
        [name, _codes(entry), str(factor(entry)), f"{entry.bits_per_pixel() or 0.0:.3f}"]
        + [*(spread_text(entry.metric(metric)) for metric in own), str(len(entry.records))]
        for name, entry in tokenizers
    ]
    generators = _by_factor(evidence, "generator")
    more = evidence.measured("nll_bits_per_code", "model_bpp", *GENERATION)
    labels = [heading(metric, *generators) for metric in more]
    header_2 = ["transformer on", "f", *labels, "drawing the samples (s)", "seeds"]
    rows_2 = [
        [_codes(entry), str(factor(entry)), *(spread_text(entry.metric(metric)) for metric in more)]
        + [spread_text(drawing_seconds(entry).values()), str(len(entry.records))]
        for entry in generators
    ]
    return rows_text(header, rows, words=2) + "\n" + rows_text(header_2, rows_2)


def _by_factor(evidence: Evidence, kind: str) -> list[Entry]:
    return sorted(evidence.rows("gan", kind=kind), key=factor)


def _net(entry: Entry | None) -> str:
    """The network of the perceptual loss that a tokenizer was trained with."""
    return str(entry.first.recipe.get("loss", {}).get("perceptual", {}).get("net", "")) if entry is not None else ""


def _codes_per_pixel(entry: Entry) -> float:
    return entry.first.rate.tokens[-1] / factor(entry) ** 2 if entry.first.rate is not None else 0.0


def _codes(entry: Entry) -> str:
    return "x".join(map(str, entry.first.rate.tokens)) if entry.first.rate is not None else "-"

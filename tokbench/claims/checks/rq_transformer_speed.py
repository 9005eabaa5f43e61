"""Drawing 8x8x4 codes against 16x16x1 at equal parameters (Lee et al. 2022, arXiv:2203.01941, figure 4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tokbench.claims.evidence import Evidence
from tokbench.claims.findings import Finding, gains, judged
from tokbench.claims.wording import rows_text, spread_text
from tokbench.results.entries import Spread
from tokbench.results.styles import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The paper's ratios by batch size. Its third has a batch of 500 against VQ-GAN's largest, 200.
PAPER = {100: 4.1, 200: 5.6, 500: 7.3}
PAPER_BASELINE = {500: 200}
SECONDS, MEMORY = "seconds_per_image", "memory_mib"
CONTENDERS = {"vq": (16, 16, 1), "rq": (8, 8, 4)}

Found = dict[int, dict[int, float]]  # batch size: seed: value


def judge(evidence: Evidence) -> list[Finding]:
    """Faster at every batch, more so at larger ones, in less memory; beside, the paper's ratios where it has them."""
    speedups = ratios(found(evidence, "vq", SECONDS), found(evidence, "rq", SECONDS))
    findings = [
        judged(
            f"8x8x4 is drawn faster than 16x16x1 at batch {batch:,}",
            [ratio - 1 for ratio in of.values()],
            unit="(ratio - 1)",
            detail=f"{_mean(of):.2f}x",
        )
        for batch, of in speedups.items()
    ] or [judged("8x8x4 is drawn faster than 16x16x1", [])]
    first, last = (min(speedups), max(speedups)) if speedups else (0, 0)
    grows = "the speed-up grows with the batch" + (f", from {first:,} to {last:,}" if first < last else "")
    steps = gains(speedups[last], speedups[first]) if first < last else []
    findings.append(judged(grows, steps, unit="(ratio)", margin=0.1))
    memory = ratios(found(evidence, "vq", MEMORY), found(evidence, "rq", MEMORY))
    of = memory[last] if last in memory else {}
    findings.append(
        judged(
            f"8x8x4 needs less memory at batch {last:,}" if last else "8x8x4 needs less memory",
            [ratio - 1 for ratio in of.values()],
            unit="(ratio - 1)",
            detail=f"{_mean(of):.2f}x less" if of else "",
        )
    )
    return findings + _against_the_paper(evidence)


def _against_the_paper(evidence: Evidence) -> list[Finding]:
    """Only on a GPU and at its batch sizes; the last one against the same baseline as in the paper."""
    slow, fast = found(evidence, "vq", SECONDS), found(evidence, "rq", SECONDS)
    findings = []
    for batch, ratio in PAPER.items():
        baseline = PAPER_BASELINE.get(batch, batch)
        if batch not in fast or baseline not in slow or not _on_gpu(evidence):
            continue
        own = _ratio(slow[baseline], fast[batch])
        against = "" if baseline == batch else f" against 16x16x1 at {baseline}"
        findings.append(
            judged(
                f"the speed-up at batch {batch}{against} is no less than the paper's {ratio}",
                [value - ratio for value in own.values()],
                unit="(ratio)",
                detail=f"{_mean(own):.2f}x",
                equal_or_better=True,
                beside=True,
            )
        )
    return findings


def draw(evidence: Evidence) -> Figure | None:
    """Seconds an image, the ratio with the paper's beside it, and memory, over the batch."""
    from tokbench.results.figures.base import panels

    slow, fast = found(evidence, "vq", SECONDS), found(evidence, "rq", SECONDS)
    if not slow or not fast:
        return None
    figure, axes = panels(3, width=3.0)
    names = {"vq": "16x16x1", "rq": "8x8x4"}
    for quantizer, name in names.items():
        _line(axes[0], found(evidence, quantizer, SECONDS), quantizer, name)
        _line(axes[2], found(evidence, quantizer, MEMORY), quantizer, name)
    _line(axes[1], ratios(slow, fast), "rq", "here")
    if _on_gpu(evidence):
        axes[1].plot(list(PAPER), list(PAPER.values()), "kx", label="paper, 1.4B on an A100")
    axes[1].axhline(1.0, color="#888888", linewidth=0.8)
    labels = ("seconds an image", "speed-up (ratio of seconds an image)", "memory (MiB)")
    for axis, label in zip(axes, labels, strict=True):
        axis.set_xscale("log", base=2)
        ticks = sorted({*slow, *fast})
        axis.set_xticks(ticks, [f"{batch:,}" for batch in ticks])
        axis.set_xticks([], minor=True)
        axis.set_xlabel("batch (images)")
        axis.set_ylabel(label)
    for axis in axes if _on_gpu(evidence) else (axes[0], axes[2]):
        axis.legend()
    axes[0].set_yscale("log")
    axes[0].yaxis.set_major_formatter("{x:g}")
    axes[0].yaxis.set_minor_formatter("{x:g}")
    axes[1].set_ylim(bottom=0)
    axes[2].set_ylim(bottom=0)
    return figure


def table(evidence: Evidence) -> str:
    """A row for each batch size and contender."""
    header = ["codes", "parameters", "batch (images)", "s/image", "images/s", "speed-up", "paper", "memory (MiB)"]
    rows = []
    seconds = {quantizer: found(evidence, quantizer, SECONDS) for quantizer in CONTENDERS}
    speedups = ratios(seconds["vq"], seconds["rq"])
    for batch in sorted({batch for of in seconds.values() for batch in of}):
        for quantizer, shape in CONTENDERS.items():
            of = seconds[quantizer].get(batch)
            if of is None:
                continue
            memory = found(evidence, quantizer, MEMORY).get(batch)
            paired = quantizer == "rq" and batch in speedups
            cells = [
                "x".join(map(str, shape)),
                f"{_parameters(evidence, shape) / 1e6:,.1f}M",
                f"{batch:,}",
                spread_text(of.values()),
                f"{1 / _mean(of):.4g}",
                spread_text(speedups[batch].values(), ".2f") if paired else "",
                f"{PAPER[batch]}" if paired and batch in PAPER and batch not in PAPER_BASELINE else "",
                f"{_mean(memory):,.0f}" if memory else "-",
                str(len(of)),
            ]
            rows.append(cells)
    return rows_text([*header, "seeds"], rows)


def _parameters(evidence: Evidence, shape: tuple[int, ...]) -> int:
    own = (r for r in evidence.of_part("sampling") if r.rate is not None and tuple(r.rate.tokens) == shape)
    return next((int(record.model["parameters"]) for record in own), 0)


def found(evidence: Evidence, quantizer: str, metric: str) -> Found:
    """The metric of a contender by batch size and repetition, in the order of the batch sizes."""
    values: Found = {}
    for record in evidence.of_part("sampling"):
        value = record.metrics.get(metric)
        shape = tuple(record.rate.tokens) if record.rate is not None else ()
        if value is not None and value.value is not None and record.seed is not None and shape == CONTENDERS[quantizer]:
            values.setdefault(int(record.timing["batch_size"]), {})[record.seed] = value.value
    return dict(sorted(values.items()))


def ratios(slow: Found, fast: Found) -> Found:
    """slow / fast at every batch size that both have, by repetition."""
    return {batch: of for batch in slow if batch in fast and (of := _ratio(slow[batch], fast[batch]))}


def _ratio(slow: Mapping[int, float], fast: Mapping[int, float]) -> dict[int, float]:
    return {seed: slow[seed] / fast[seed] for seed in sorted(slow.keys() & fast.keys())}


def _on_gpu(evidence: Evidence) -> bool:
    return any(record.timing.get("device") == "cuda" for record in evidence.of_part("sampling"))


def _mean(values: Mapping[int, float]) -> float:
    return sum(values.values()) / len(values)


def _line(axis: Axes, values: Found, quantizer: str, label: str) -> None:
    look = style(quantizer)
    spreads = [(batch, spread) for batch, of in values.items() if (spread := Spread.over(of.values())) is not None]
    axis.errorbar(
        [batch for batch, _ in spreads], [s.mean for _, s in spreads], [s.deviation or 0.0 for _, s in spreads],
        fmt=f"{look.marker}-", color=look.colour, elinewidth=0.8, label=label,
    )  # fmt: skip

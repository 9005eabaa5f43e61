"""Drawing 8x8x4 codes against 16x16x1 at equal parameters (Lee et al. 2022, arXiv:2203.01941, figure 4)."""

from __future__ import annotations

from tokbench.claims.evidence import Evidence
from tokbench.claims.findings import Finding, judged
from tokbench.claims.numbers import SeedValues, spread_text, table_of
from tokbench.claims.panels import Panel, Series
from tokbench.results.entries import Spread

# The paper's ratios by batch size. Its third has a batch of 500 against VQ-GAN's largest, 200.
PAPER = {100: 4.1, 200: 5.6, 500: 7.3}
PAPER_BASELINE = {500: 200}
SECONDS, MEMORY = "seconds_per_image", "memory_mib"
CONTENDERS = {"vq": (16, 16, 1), "rq": (8, 8, 4)}
NAMES = {name: "x".join(map(str, shape)) for name, shape in CONTENDERS.items()}

Found = dict[int, SeedValues]  # batch size: a number of every repetition


def judge(evidence: Evidence) -> list[Finding]:
    """Faster at every batch, more so at larger ones, in less memory; then the paper's own ratios."""
    speedups, memory = ratios(evidence, SECONDS), ratios(evidence, MEMORY)
    faster = "8x8x4 is drawn faster than 16x16x1"
    findings = [
        judged(f"{faster} at batch {batch:,}", ratio - 1, unit="(ratio - 1)", detail=_times(ratio))
        for batch, ratio in speedups.items()
    ] or [judged(faster)]
    first, last = (min(speedups), max(speedups)) if speedups else (0, 0)
    grows = "the speed-up grows with the batch" + (f", from {first:,} to {last:,}" if first < last else "")
    steps = speedups[last] - speedups[first] if first < last else None
    findings.append(judged(grows, steps, unit="(ratio)", margin=0.1))
    less = "8x8x4 needs less memory" + (f" at batch {last:,}" if last else "")
    of = memory.get(last)
    detail = f"{_times(of)} less" if of else ""
    findings.append(judged(less, of - 1 if of else None, unit="(ratio - 1)", detail=detail))
    return findings + _against_the_paper(evidence)


def _against_the_paper(evidence: Evidence) -> list[Finding]:
    """Only on a GPU and at its batch sizes; the last one against the same baseline as in the paper."""
    slow, fast = found(evidence, "vq", SECONDS), found(evidence, "rq", SECONDS)
    findings = []
    for batch, paper in PAPER.items() if _on_gpu(evidence) else ():
        baseline = PAPER_BASELINE.get(batch, batch)
        if batch in fast and baseline in slow:
            own = slow[baseline] / fast[batch]
            against = "" if baseline == batch else f" against 16x16x1 at {baseline}"
            statement = f"the speed-up at batch {batch}{against} is no less than the paper's {paper}"
            findings.append(
                judged(
                    statement, own - paper, unit="(ratio)", detail=_times(own), equal_or_better=True, informational=True
                )
            )  # fmt: skip
    return findings


def panels(evidence: Evidence) -> list[Panel]:
    """Seconds per image, the ratio with the paper's beside it, and memory, over the batch."""
    speedups, gpu = ratios(evidence, SECONDS), _on_gpu(evidence)
    if not speedups:
        return []

    def both(metric: str) -> list[Series]:
        return [_series(found(evidence, name, metric), name, label) for name, label in NAMES.items()]

    ratio = [_series(speedups, "rq", "here" if gpu else "")]
    if gpu:
        points = [(batch, Spread(paper, None)) for batch, paper in PAPER.items()]
        ratio.append(Series(points, "none", "paper, 1.4B on an A100", line=""))
    batch = "batch (images)"
    speed_up = "speed-up (ratio of seconds per image)"
    return [
        Panel(batch, "seconds per image", both(SECONDS), log2=True, log=10, width=3.0),
        Panel(batch, speed_up, ratio, log2=True, zero=True, rule=(1.0, ""), width=3.0),
        Panel(batch, "memory (MiB)", both(MEMORY), log2=True, zero=True, width=3.0),
    ]


def table(evidence: Evidence) -> str:
    """A row for each batch size and contender."""
    seconds = {name: found(evidence, name, SECONDS) for name in CONTENDERS}
    memory = {name: found(evidence, name, MEMORY) for name in CONTENDERS}
    speedups = ratios(evidence, SECONDS)
    papers = {batch: ratio for batch, ratio in PAPER.items() if batch not in PAPER_BASELINE}
    batches = sorted({batch for of in seconds.values() for batch in of})
    rows = [(name, batch) for batch in batches for name in CONTENDERS if batch in seconds[name]]
    columns = {
        "codes": lambda row: NAMES[row[0]],
        "parameters": lambda row: f"{_parameters(evidence, row[0]) / 1e6:,.1f}M",
        "batch (images)": lambda row: f"{row[1]:,}",
        "s/image": lambda row: spread_text(seconds[row[0]][row[1]].spread),
        "images/s": lambda row: f"{1 / seconds[row[0]][row[1]].mean:.4g}",
        "speed-up": lambda row: spread_text(speedups[row[1]].spread, ".2f") if _paired(row, speedups) else "",
        "paper": lambda row: str(papers.get(row[1], "")) if _paired(row, speedups) else "",
        "memory (MiB)": lambda row: f"{memory[row[0]][row[1]].mean:,.0f}" if row[1] in memory[row[0]] else "-",
        "seeds": lambda row: str(len(seconds[row[0]][row[1]])),
    }
    return table_of(rows, columns)


def _paired(row: tuple[str, int], speedups: Found) -> bool:
    return row[0] == "rq" and row[1] in speedups


def _parameters(evidence: Evidence, name: str) -> int:
    own = (r for r in evidence.of_part("sampling") if r.rate is not None and tuple(r.rate.tokens) == CONTENDERS[name])
    return next((int(record.model["parameters"]) for record in own), 0)


def found(evidence: Evidence, name: str, metric: str) -> Found:
    """The metric of a contender by batch size and repetition, in the order of the batch sizes."""
    values: Found = {}
    for record in evidence.of_part("sampling"):
        value = record.metrics.get(metric)
        shape = tuple(record.rate.tokens) if record.rate is not None else ()
        if value is not None and value.value is not None and record.seed is not None and shape == CONTENDERS[name]:
            values.setdefault(int(record.timing["batch_size"]), SeedValues())[record.seed] = value.value
    return dict(sorted(values.items()))


def ratios(evidence: Evidence, metric: str) -> Found:
    """16x16x1 / 8x8x4 at every batch size that both have, by repetition."""
    slow, fast = found(evidence, "vq", metric), found(evidence, "rq", metric)
    return {batch: ratio for batch in slow if batch in fast and (ratio := slow[batch] / fast[batch])}


def _on_gpu(evidence: Evidence) -> bool:
    return any(record.timing.get("device") == "cuda" for record in evidence.of_part("sampling"))


def _times(ratio: SeedValues) -> str:
    return f"{ratio.mean:.2f}x"


def _series(values: Found, look: str, label: str) -> Series:
    return Series([(batch, of.spread) for batch, of in values.items()], look, label)

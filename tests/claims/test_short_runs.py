"""The claim of LFQ at short runs: its check on made-up records, and the cells it asks for."""

from __future__ import annotations

from pathlib import Path

from claims_tiny import evidence, row

from tokbench.claims.definition import load_claim
from tokbench.claims.findings import Verdict
from tokbench.claims.plan import plan_claim
from tokbench.claims.results import judge
from tokbench.results.record import Record

SEEDS = (0, 1, 2)


def runs(soft: float, used: float) -> dict[str, list[Record]]:
    """LFQ with a smooth penalty at so many dB and of such a usage, beside VQ at 22 dB; more levels, more dB."""
    lfq = {"none": (20.0, 0.6, 0.0), "usual": (19.0, 1.0, 0.1), "soft": (soft, used, 0.05)}
    found = {"vq": [row("vq", 256, 1, s, psnr=22 + s / 50, usage=0.98) for s in SEEDS]}
    for part, (psnr, usage, weight) in lfq.items():
        options = {"entropy_weight": weight}
        found[part] = [row("lfq", 256, 1, s, psnr=psnr + s / 50, usage=usage, options=options) for s in SEEDS]
    found["bsq"] = [row("bsq", 256, 1, s, psnr=19.5 + s / 50, usage=0.9) for s in SEEDS]
    for number, part in enumerate(("three", "four", "six", "sixteen")):
        psnr, options = 20.5 + number / 2, {"levels": number}
        found[part] = [row("fsq", 256, 1, s, psnr=psnr + s / 50, usage=0.8, options=options) for s in SEEDS]
    return found


def test_what_closes_the_gap_and_what_explains_the_rest() -> None:
    closed = judge(evidence("lfq-short-runs", runs(21.5, 0.95)))
    assert closed.verdict == "holds" and "FSQ, 4 levels" in closed.table
    left = judge(evidence("lfq-short-runs", runs(20.5, 0.85)))
    assert [f.verdict for f in left.findings[:2]] == [Verdict.fails, Verdict.fails]
    assert left.findings[5].verdict is Verdict.holds and left.findings[5].effect == 0.5
    alone = evidence("lfq-short-runs", runs(21.5, 0.95), without=lambda record: record.quantizer.name != "vq")
    assert judge(alone).verdict == "not measured"


def test_the_cells_are_of_one_protocol_and_256_codes_or_nearly(tmp_path: Path) -> None:
    for scale in ("cpu", "gpu"):
        found = plan_claim(load_claim("lfq-short-runs"), scale, tmp_path)  # type: ignore[arg-type]
        assert not found.asked.impossible and {len(cells) for cells in found.asked.parts.values()} == {3}
        assert len({cell.recipe.model_dump_json() for cell in found.plan.tokenizers}) == 27
        assert len({cell.recipe.training.model_dump_json() for cell in found.plan.tokenizers}) == 1

"""Each check finds what was put into made-up records, and says what is missing."""

from __future__ import annotations

import pytest
from claims_tiny import evidence, row

from tokbench.claims.conditions import PART
from tokbench.claims.definition import claims, load_claim
from tokbench.claims.evidence import Evidence, Request, RequestedCell
from tokbench.claims.findings import Finding, Verdict, overall
from tokbench.claims.panels import draw
from tokbench.claims.results import check_of, judge
from tokbench.results.figures.base import figure_settings
from tokbench.results.record import Record

SEEDS = (0, 1, 2)


def verdicts(found: list[Finding], *words: str) -> list[Verdict]:
    return [f.verdict for f in found if all(word in f.statement for word in words)]


def depth_or_codebook(deep: float = 3.0, large: float = 0.2) -> dict[str, list[Record]]:
    """RQ that gains ``deep`` dB a doubling, VQ that gains ``large`` dB in all, VQ with four times the positions."""
    return {
        "depth": [row("rq", 256, d, s, psnr=18 + deep * i + s / 50) for i, d in enumerate((1, 2, 4)) for s in SEEDS],
        "codebook": [
            row("vq", k, 1, s, psnr=18 + large * i + s / 50) for i, k in enumerate((256, 4096)) for s in SEEDS
        ],
        "positions": [row("vq", 256, 1, s, side=8, psnr=22 + s / 50) for s in SEEDS],
    }


def test_depth_or_codebook() -> None:
    result = judge(evidence("depth-or-codebook", depth_or_codebook()))
    assert result.verdict == "holds" and [f.seeds for f in result.findings] == [3] * 5
    whole, step, more, beside, bits = result.findings
    assert whole.effect == pytest.approx(6.0) and "D = 1 to D = 4" in whole.statement
    assert step.effect == pytest.approx(3.0) and more.effect == pytest.approx(2.8) and bits.effect == pytest.approx(2.0)
    assert beside.informational and "K = 2^8 to K = 2^12" in beside.statement and "D = 4" in bits.statement
    other = judge(evidence("depth-or-codebook", depth_or_codebook(deep=0.5, large=4.0)))
    assert other.verdict == "holds in part"
    assert verdicts(other.findings, "more from a second code") == [Verdict.fails]
    assert verdicts(other.findings, "four times the positions") == [Verdict.fails]
    assert "| rq " in result.table and "| vq " in result.table


def test_depth_or_codebook_has_scales_beside_it_at_equal_bits() -> None:
    """Of 30 codes of 19 about the bits of 16 of 256: above D = 1, and for information."""
    parts = depth_or_codebook()
    parts["scales"] = [row("ms-rq", 19, 1, s, psnr=20 + s / 50, prefixes=[1, 14, 30]) for s in SEEDS]
    result = judge(evidence("depth-or-codebook", parts))
    (found,) = [f for f in result.findings if "pyramid" in f.statement]
    assert found.informational and "D = 1" in found.statement and found.effect == pytest.approx(2.0)


def test_coarse_scales() -> None:
    """One model whose 1x1 scale has four codes in use of 16 and the other's one."""
    shape = {"psnr": [15.0, 18.0, 20.0, 21.0], "prefixes": [1, 5, 14, 30]}
    ours = [row("ms-rq", 16, 1, s, usage=[0.25, 1, 1, 1], perplexity=[3 + s, 9, 12, 14], **shape) for s in SEEDS]
    theirs = [
        row("ms-rq", 16, 1, s, usage=[1 / 16, 1, 1, 1], perplexity=[1, 9 + s, 9, 9], options={"decay": 0.5}, **shape)
        for s in SEEDS
    ]
    result = judge(evidence("coarse-scales", {"restarts": ours, "gradient": theirs}))
    assert verdicts(result.findings, "scale 1 ", "are used") == [Verdict.holds]
    assert verdicts(result.findings, "perplexity") == [Verdict.holds, Verdict.undecided, Verdict.holds]
    (first, *_) = result.findings
    assert first.effect == pytest.approx(0.25 / (1 - (15 / 16) ** 96) - 0.1), "96 draws show nearly all of 16"
    assert "ms-rq, first 1 of 30 codes" in result.table


def test_one_stage() -> None:
    tokens = [
        row("vq", 1024, 1, s, psnr=[14 + s, 16 + s, 17.5 + s / 10], prefixes=[8, 16, 32], options={"beta": 1})
        for s in SEEDS
    ]
    parts = {"patches": [row("vq", 1024, 1, s, psnr=18.5 + s / 10) for s in SEEDS], "tokens": tokens}
    result = judge(evidence("one-stage", parts))
    assert verdicts(result.findings, "within 1.5 dB") == [Verdict.holds]
    assert verdicts(result.findings, "every prefix, 8, 16, 32 tokens") == [Verdict.undecided]  # not so with seed 2
    worse = [row("vq", 1024, 1, s, psnr=20 + s / 10) for s in SEEDS]
    far = judge(evidence("one-stage", {"patches": worse, "tokens": tokens}))
    assert verdicts(far.findings, "within 1.5 dB") == [Verdict.fails]


def test_coarse_to_fine() -> None:
    # The whole stack is no better with one codebook each, and the first steps gain most.
    shared = [row("rq", 16, 4, s, psnr=[10 + s, 14 + s, 15 + s, 15.5 + s], usage=0.9) for s in SEEDS]
    separate = [
        row("rq", 16, 4, s, psnr=[9.0, 12.0, 14.0, 15.4 + s], usage=0.5, options={"shared_codebook": False})
        for s in SEEDS
    ]
    result = judge(evidence("coarse-to-fine", {"shared": shared, "separate": separate}))
    # Of equal differences in every seed the spread is zero.
    assert verdicts(result.findings, "every depth") == [Verdict.holds]
    assert verdicts(result.findings, "from depth 1 to 2 than from 2 to 4") == [Verdict.holds]
    assert verdicts(result.findings, "no worse than one each") == [Verdict.holds]
    assert result.verdict == "holds" and "one codebook each" in result.table and "first 2 of 4" in result.table
    worse = [row("rq", 16, 4, s, psnr=[10, 14, 13.0 - s / 10, 15.5], usage=0.9) for s in SEEDS]
    result = judge(evidence("coarse-to-fine", {"shared": worse, "separate": separate}))
    assert verdicts(result.findings, "every depth") == [Verdict.fails]


def test_entropy_penalty() -> None:
    def rows(steps: int, usage: float, psnr: float) -> list[Record]:
        options = {"entropy_anneal_steps": steps}
        return [
            row("lfq", 1024, 1, s, usage=usage, perplexity=1000 * usage, psnr=psnr + s / 50, options=options)
            for s in SEEDS
        ]

    parts = {
        "without": rows(0, 0.2, 20.0), "exact": rows(1, 0.8, 19.0), "groups": rows(2, 0.79, 18.5),
        "annealed": rows(3, 0.81, 19.0),
    }  # fmt: skip
    result = judge(evidence("entropy-penalty", parts))
    assert verdicts(result.findings, "usage is higher") == verdicts(result.findings, "perplexity") == [Verdict.holds]
    assert verdicts(result.findings, "usage with groups") == [Verdict.holds]  # within the margin
    assert verdicts(result.findings, "PSNR with groups") == [Verdict.fails]
    assert verdicts(result.findings, "PSNR is better with annealing") == [Verdict.fails]  # no difference
    assert result.verdict == "holds in part" and "LFQ, penalty none" in result.table


def test_iso_rate() -> None:
    def rows(name: str, base: float, **options: object) -> list[Record]:
        found = []
        for i, size in enumerate((1024, 4096, 65536)):
            found += [row(name, size, 1, s, psnr=base + i + s / 50, options=options) for s in SEEDS]
        return found

    rq = [row("rq", k, d, s, psnr=19.0 + d / 4) for k, d in ((32, 2), (64, 2), (256, 2), (16, 4)) for s in SEEDS]
    fsq = [row("fsq", k, 1, s, psnr=18 + i) for i, k in enumerate((1000, 4375, 64000)) for s in SEEDS]
    parts = {
        "quantizers": [*rows("vq", 18), *rq, *fsq],
        "rotation": rows("vq", 18.5, rotation_trick=True),
        "grouped": rows("grouped", 17, quantizer="vq"),
    }
    # A pyramid of 30 codes of 101: at 200 bits an image it stands with 2^12 at each of 16 positions.
    parts["quantizers"] += [row("ms-rq", 101, 1, s, psnr=19.6 + s / 50, prefixes=[1, 14, 30]) for s in SEEDS]
    result = judge(evidence("iso-rate", parts))
    said = {finding.statement.partition(":")[0]: finding for finding in result.findings}
    assert set(said) == {"rq", "fsq", "rotation", "grouped", "ms-rq"}, "each against plain VQ"
    assert "at 12 bits per position" in said["ms-rq"].statement and said["ms-rq"].effect == pytest.approx(0.6)
    assert said["rotation"].verdict is Verdict.holds and said["rotation"].effect == pytest.approx(0.5)
    assert said["grouped"].verdict is Verdict.fails and said["fsq"].verdict is Verdict.fails
    # Of the two ways to spend 16 bits RQ's better one stands: D = 4.
    assert said["rq"].verdict is Verdict.fails and said["rq"].effect == pytest.approx(19 + 4 / 4 - 20, abs=0.05)


@pytest.mark.parametrize("name", sorted(claims()))
def test_nothing_measured_is_no_verdict(name: str) -> None:
    claim = load_claim(name)
    settings = claim.at("cpu")
    names = (*settings.sweeps, *settings.bench, *settings.elsewhere, *settings.probes)
    names += () if settings.condition is None else (PART,)
    parts = {part: [RequestedCell(cell=part, label=part, seed=0)] for part in names}
    asked = Request(claim=name, scale="cpu", seeds=[0], parts=parts)
    empty = Evidence.of(claim, asked, [])
    result = judge(empty)
    assert result.verdict == "not measured" and overall(result.findings) == "not measured"
    assert result.findings and all(f.verdict is Verdict.missing for f in result.findings)
    with figure_settings():
        assert draw(check_of(name).panels(empty)) is None
    assert empty.missing == [f"{part} seed=0" for part in parts]


def test_incomplete_is_said_and_failed_cells_are_named() -> None:
    parts = depth_or_codebook()
    failed = row("vq", 2**17, 1, 0, error="MemoryError: too large")
    parts["codebook"].append(failed)
    found = evidence("depth-or-codebook", parts, without=lambda r: r.rate is not None and r.rate.tokens[0] == 8)
    result = judge(found)
    assert result.verdict == "holds in part (incomplete)"
    assert found.failed == {"codebook: vq seed=0": "MemoryError: too large"}
    assert found.missing == [f"positions: vq seed={seed}" for seed in SEEDS]
    assert verdicts(result.findings, "four times the positions") == [Verdict.missing]


def test_of_two_records_of_a_cell_the_later_counts_and_a_success_outweighs_a_failure() -> None:
    first, failed = row("vq", 256, psnr=18.0), row("vq", 256, error="killed")
    second = row("vq", 256, psnr=19.0)
    asked = Request(
        claim="iso-rate",
        scale="cpu",
        seeds=[0],
        parts={"quantizers": [RequestedCell(cell=first.cell, label="vq", seed=0)]},
    )
    found = Evidence.of(load_claim("iso-rate"), asked, [first, second, failed])
    assert [r.metrics["psnr"].value for r in found.records] == [19.0] and not found.failed and found.complete

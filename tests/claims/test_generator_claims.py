"""Claims that are about generation: each check finds what was put into made-up records."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from claims_generators import SEEDS, curve, generator, made
from claims_tiny import drawn, evidence, found, row

from tokbench.claims.checks import model_coded_rate, vqgan
from tokbench.claims.findings import Verdict
from tokbench.claims.numbers import HELD_OUT, TRAIN, curves, gap, mean_curve
from tokbench.claims.results import judge
from tokbench.results.entries import Entry
from tokbench.results.record import Record

# --- rq-transformer-speed ---------------------------------------------------------------------------------------------


def timed(shape: tuple[int, int, int], batch: int, seed: int, seconds: float, memory: float, device: str) -> Record:
    base = row("none", 2048, shape[2], seed, shape[0])
    assert base.rate is not None
    rate = base.plain()["rate"] | {"tokens": list(shape)}
    return made(
        base, {"seconds_per_image": seconds, "memory_mib": memory}, kind="benchmark", rate=rate,
        model={"architecture": "ar", "parameters": 20_000_000}, timing={"device": device, "batch_size": batch},
        recipe={"batch_size": batch, "shape": list(shape), "seed": seed},
    )  # fmt: skip


def speed(ratios: Mapping[int, float], device: str = "cpu", memory: float = 2.0) -> dict[str, list[Record]]:
    """16x16x1 at one second an image, 8x8x4 so many times as fast, with noise of a percent."""
    records = []
    for seed in SEEDS:
        for batch, ratio in ratios.items():
            records.append(timed((16, 16, 1), batch, seed, 1.0, 100.0 * memory, device))
            records.append(timed((8, 8, 4), batch, seed, 1.0 / ratio * (1 + seed / 100), 100.0, device))
    return {"sampling": records}


def test_speed_is_a_ratio_at_every_batch_and_grows() -> None:
    result = judge(evidence("rq-transformer-speed", speed({4: 2.0, 16: 3.0, 64: 4.0})))
    assert result.verdict == "holds"
    assert found(result.findings, "batch 16").effect == pytest.approx(2.0, abs=0.05)
    assert found(result.findings, "grows", "from 4 to 64").effect == pytest.approx(2.0, abs=0.05)
    assert found(result.findings, "less memory at batch 64").effect == pytest.approx(1.0)
    assert not [f for f in result.findings if "paper" in f.statement], "a CPU is not set against an A100"
    assert "| 16x16x1 | 20.0M | 4 |" in result.table and "2.97 ±" in result.table
    assert len(drawn("rq-transformer-speed", speed({4: 2.0, 16: 3.0}))) == 3


def test_speed_that_is_none_does_not_hold() -> None:
    slower = judge(evidence("rq-transformer-speed", speed({4: 0.8, 64: 0.4}, memory=0.5)))
    assert slower.verdict == "does not hold"
    assert found(slower.findings, "grows").verdict is Verdict.fails


def test_the_papers_ratios_are_asked_of_a_gpu_against_its_own_baseline() -> None:
    found_there = judge(evidence("rq-transformer-speed", speed({100: 5.0, 200: 5.0, 500: 9.0}, device="cuda"))).findings
    assert found(found_there, "paper's 4.1").verdict is Verdict.holds
    assert found(found_there, "paper's 5.6").verdict is Verdict.fails
    last = found(found_there, "paper's 7.3", "against 16x16x1 at 200")
    assert last.verdict is Verdict.holds and last.informational


# --- soft-targets -----------------------------------------------------------------------------------------------------


def soft(both: tuple[float, float], curves_too: bool = True) -> dict[str, list[Record]]:
    """Four ways to train; ``both`` has this gap and gFID, the nearest codes a gap of 1 and a gFID of 50."""

    def own(mark: str, gap: float, gfid: float, nll: float) -> list[Record]:
        return [
            generator(
                "rq", 256, seed, 4, mark=mark, nll_bits_per_code=nll + seed / 9, gfid_192=gfid + seed / 9,
                curve=curve(nll - gap + seed / 50, nll) if curves_too else None,
            )
            for seed in SEEDS
        ]  # fmt: skip

    return {
        "hard": own("hard", 1.0, 50.0, 6.0), "soft": own("soft", 0.8, 51.0, 5.9),
        "stochastic": own("stochastic", 0.7, 49.0, 6.1), "both": own("both", *both, 5.8),
    }  # fmt: skip


def test_soft_targets_are_judged_by_the_pair() -> None:
    result = judge(evidence("soft-targets", soft((0.4, 45.0))))
    assert result.verdict == "holds"
    assert found(result.findings, "both: the gap").effect == pytest.approx(0.6)
    assert found(result.findings, "both: GFID").effect == pytest.approx(5.0)
    assert found(result.findings, "soft targets: GFID").verdict is Verdict.fails
    assert found(result.findings, "drawn codes: held-out NLL").verdict is Verdict.fails
    assert all(f.informational != f.statement.startswith("both") for f in result.findings)
    assert "| nearest codes | 6.111 ± 0.11 | 5.020 ± 0.02 | 0.980 ± 0.02 | 50.11" in result.table
    worse = judge(evidence("soft-targets", soft((1.5, 60.0))))
    assert worse.verdict == "holds in part" and found(worse.findings, "both: the gap").verdict is Verdict.fails
    assert len(drawn("soft-targets", soft((0.4, 45.0)))) == 3


def test_without_curves_there_is_no_gap() -> None:
    result = judge(evidence("soft-targets", soft((0.4, 45.0), curves_too=False)))
    assert found(result.findings, "both: the gap").verdict is Verdict.missing
    assert found(result.findings, "both: GFID").verdict is Verdict.holds
    assert len(drawn("soft-targets", soft((0.4, 45.0), curves_too=False))) == 2


def test_curves_are_of_every_seed_and_means_of_the_steps_all_have() -> None:
    records = [generator("vq", 256, seed, curve=curve(4.0 + seed, 6.0)) for seed in SEEDS]
    records[2].training["curve"] = {"step": [200], TRAIN: [7.0], HELD_OUT: [6.0]}
    entry = Entry(tuple(records))
    assert curves(entry, TRAIN)[1] == {100: 6.0, 200: 5.0}
    assert gap(entry) == {0: 2.0, 1: 1.0, 2: -1.0}
    ((step, spread),) = mean_curve(entry, TRAIN)
    assert step == 200 and spread.mean == pytest.approx(16 / 3)
    assert curves(None, TRAIN) == {} and mean_curve(Entry((row("vq", 16),)), HELD_OUT) == []


# --- vocabulary -------------------------------------------------------------------------------------------------------


def vocabulary(vq: list[float], lfq: list[float]) -> dict[str, list[Record]]:
    """gFID of both generators at 6, 10 and 12 bits; reconstruction that improves by 1 dB a size."""
    parts: dict[str, list[Record]] = {"large": [], "others": [], "rotation": []}
    for name, gfid in (("vq", vq), ("lfq", lfq)):
        parts[name] = []
        for i, bits in enumerate((6, 10, 12)):
            for seed in SEEDS:
                base = row(name, 2**bits, 1, seed)
                parts[name].append(made(base, {"psnr": 20.0 + i + seed / 50, "usage": 0.9 if name == "lfq" else 0.5}))
                for kind in ("ar", "mlm"):
                    parts[name].append(generator(name, 2**bits, seed, kind=kind, gfid_192=gfid[i] + seed / 50))
    parts["rotation"] = [
        made(row("vq", 1024, 1, seed, options={"rotation_trick": True}), {"psnr": 21.5}) for seed in SEEDS
    ]
    return parts


def test_vocabulary_as_in_the_paper() -> None:
    parts = vocabulary([50.0, 45.0, 48.0], [60.0, 50.0, 40.0])
    result = judge(evidence("vocabulary", parts))
    assert result.verdict == "holds"
    for kind in ("AR", "MLM"):
        degraded = found(result.findings, f"generation by {kind} on VQ", "worse with 2^12 codes than with 2^10")
        assert degraded.verdict is Verdict.holds and degraded.effect == pytest.approx(3.0)
        assert found(result.findings, f"by {kind} on LFQ", "from 2^6 to 2^12").effect == pytest.approx(20.0)
        more = found(result.findings, f"of {kind}: a larger vocabulary gains more")
        assert more.effect == pytest.approx(18.0) and more.informational
    assert found(result.findings, "LFQ uses more of 2^12").effect == pytest.approx(0.4)
    assert "mlm" in result.table and "rotation_trick" in result.table
    axes = drawn("vocabulary", parts)
    assert len(axes) == 3 and {"vq", "lfq", "rotation"} == {t.get_text() for t in axes[0].get_legend().get_texts()}
    assert "MLM on lfq" in {text.get_text() for text in axes[1].get_legend().get_texts()}


def test_vocabulary_that_keeps_helping_vq_and_hurts_lfq() -> None:
    result = judge(evidence("vocabulary", vocabulary([60.0, 50.0, 40.0], [40.0, 45.0, 60.0])))
    assert found(result.findings, "generation by AR on VQ").verdict is Verdict.fails
    assert found(result.findings, "generation by AR on LFQ").verdict is Verdict.fails
    assert found(result.findings, "reconstruction of VQ").verdict is Verdict.holds and result.verdict == "holds in part"


# --- vqgan ------------------------------------------------------------------------------------------------------------


def gan(lpips_vgg: float, gfid: Mapping[int, float], seconds: Mapping[int, float]) -> dict[str, list[Record]]:
    """Squared error at f = 8 with an LPIPS of 0.3, VQ-GAN's losses at every f, and a transformer on each."""

    def tokenizer(side: int, seed: int, net: str, lpips: float, psnr: float) -> Record:
        base = row("vq", 256, 1, seed, side)
        loss = {"loss": {"perceptual": {"net": net}}}
        metrics = {"psnr": psnr, "lpips": lpips, "lpips_vgg": lpips + seed / 500, "rfid_192": 100 * lpips, "usage": 0.9}
        return made(base, metrics, recipe={**base.recipe, **loss})

    own = [tokenizer(32 // f, s, "alex", lpips_vgg + 0.01 * (f - 8), 20.0) for f in gfid for s in SEEDS]
    own += [
        generator(
            "vq", 256, s, side=32 // f, gfid_192=gfid[f] + s / 50, nll_bits_per_code=5.0, drawing=seconds[f] + s / 50,
            curve=curve(4.0, 5.0),
        )
        for f in gfid
        for s in SEEDS
    ]  # fmt: skip
    return {"l2": [tokenizer(4, s, "none", 0.3, 22.0 + s / 50) for s in SEEDS], "gan": own}


def test_vqgan_is_set_against_squared_error_at_the_same_f() -> None:
    parts = gan(0.2, {4: 60.0, 8: 50.0, 16: 40.0}, {4: 16.0, 8: 4.0, 16: 1.0})
    result = judge(evidence("vqgan", parts))
    assert result.verdict == "holds"
    assert found(result.findings, "LPIPS_VGG").effect == pytest.approx(0.1)
    assert found(result.findings, "LPIPS is better", "trained on").informational
    assert found(result.findings, "PSNR, the price").effect == pytest.approx(2.02)
    assert found(result.findings, "samples (GFID_192) improve", "f = 4, 8, 16").effect == pytest.approx(10.0)
    faster = found(result.findings, "samples come faster")
    assert faster.verdict is Verdict.holds and faster.effect == pytest.approx(3.0, abs=0.1)
    assert found(result.findings, "step down in f").informational
    assert vqgan.factor(Entry((parts["l2"][0],))) == 8
    assert "| squared error | 4x4x1 | 8 |" in result.table and "| 2x2x1 | 16 | 5 ±" in result.table
    labels = [axis.get_ylabel() for axis in drawn("vqgan", parts)]
    assert "held-out NLL (bits per pixel)" in labels and "drawing the samples (s)" in labels


def test_vqgan_that_buys_nothing_and_samples_that_get_worse() -> None:
    result = judge(evidence("vqgan", gan(0.35, {4: 40.0, 8: 50.0}, {4: 1.0, 8: 4.0})))
    assert found(result.findings, "LPIPS_VGG").verdict is Verdict.fails
    assert found(result.findings, "samples (").verdict is Verdict.fails
    assert found(result.findings, "samples come faster").verdict is Verdict.fails
    assert result.verdict == "does not hold"


# --- model-coded-rate -------------------------------------------------------------------------------------------------


def rates(shares: Mapping[tuple[str, int, int], tuple[float, float]]) -> dict[str, list[Record]]:
    """(quantizer, K, D): the order-0 and the model's share of the fixed length."""
    records = []
    for (name, size, depth), (entropy, model) in shares.items():
        for seed in SEEDS:
            fixed = row(name, size, depth, seed).rate.bits_per_pixel  # type: ignore[union-attr]
            records.append(
                generator(
                    name, size, seed, depth, fixed_bpp=fixed, entropy_bpp=entropy * fixed,
                    model_bpp=(model + seed / 1000) * fixed,
                )
            )  # fmt: skip
    return {"sizes": records, "large": [], "depth": []}


def test_the_share_that_is_wasted() -> None:
    shares = {
        ("vq", 64, 1): (0.95, 0.9), ("vq", 4096, 1): (0.8, 0.5), ("lfq", 64, 1): (0.97, 0.9),
        ("lfq", 4096, 1): (0.95, 0.8), ("rq", 256, 4): (0.9, 0.7),
    }  # fmt: skip
    result = judge(evidence("model-coded-rate", rates(shares)))
    assert result.verdict == "holds"
    assert found(result.findings, "below the order-0 entropy").effect == pytest.approx(4.9)  # LFQ 2^6, on average
    assert found(result.findings, "VQ, from 2^6 to 2^12").effect == pytest.approx(40.0)
    assert found(result.findings, "VQ wastes more than LFQ at 2^12").effect == pytest.approx(30.0)
    first = model_coded_rate.wasted(Entry((rates(shares)["sizes"][0],)))
    assert first == {0: pytest.approx(10.0)}
    assert "| rq 2^8, D = 4 | 4x4x4 | 0.5000 ± 0 | 0.4500 ± 0 |" in result.table
    assert len(drawn("model-coded-rate", rates(shares))) == 2


def test_a_model_worse_than_frequencies_is_said() -> None:
    shares = {("vq", 64, 1): (0.9, 0.95), ("lfq", 64, 1): (0.97, 0.8)}
    result = judge(evidence("model-coded-rate", rates(shares)))
    assert found(result.findings, "below the order-0 entropy").verdict is Verdict.fails
    assert found(result.findings, "code length is below the fixed length").verdict is Verdict.holds
    assert found(result.findings, "grows with the vocabulary of VQ").verdict is Verdict.missing

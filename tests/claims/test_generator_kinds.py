"""Claims that set one generator against another on the same codes: its head, its order, what it is built of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

import pytest
from claims_generators import SEEDS, curve, generator
from claims_tiny import drawn, evidence, found, row

from tokbench.claims.definition import load_claim
from tokbench.claims.findings import Verdict
from tokbench.claims.results import judge
from tokbench.config.generator_model import Order
from tokbench.results.record import Record

# --- token-factorisation ----------------------------------------------------------------------------------------------


def factorised(nll: Mapping[str, float], seconds: Mapping[str, float]) -> dict[str, list[Record]]:
    """Bits per sub-token and seconds of twelve steps of each way to split."""
    vocabularies = {"one": [2**18], "two": [512] * 2, "three": [64] * 3}
    parts = {}
    for part, vocabulary in vocabularies.items():
        model = {"vocabulary": vocabulary, "parameters": sum(vocabulary) * 64}
        parts[part] = [
            generator("lfq", 2**18, s, mark=part, model=model, nll_bits_per_code=nll[part] + s / 50) for s in SEEDS
        ]
        for record in parts[part]:
            record.training["seconds"] = seconds[part] * (1 + (record.seed or 0) / 50)
    return parts


def test_factorisation_counts_bits_a_position() -> None:
    # A sub-token of three costs fewer bits than one of two, and a position more.
    parts = factorised({"one": 19.0, "two": 8.0, "three": 5.5}, {"one": 12.0, "two": 1.2, "three": 0.6})
    result = judge(evidence("token-factorisation", parts))
    assert result.verdict == "holds"
    assert found(result.findings, "NLL", "lower in 2 x 2^9").effect == pytest.approx(3.0, abs=0.05)
    assert found(result.findings, "NLL", "lower in 3 x 2^6").effect == pytest.approx(2.5, abs=0.05)
    assert found(result.findings, "train step is faster in 2 x 2^9").effect == pytest.approx(9.0)
    assert found(result.findings, "3 x 2^6 needs fewer").effect == pytest.approx(2**18 / 192 - 1)
    assert found(result.findings, "no higher in 3 x 2^6 than in 2 x 2^9").verdict is Verdict.fails
    assert "| 2 x 2^9 | 16.04 ±" in result.table and "65,536" in result.table
    assert len(drawn("token-factorisation", parts)) == 3
    better = factorised({"one": 15.0, "two": 8.0, "three": 5.5}, {"one": 12.0, "two": 24.0, "three": 24.0})
    assert judge(evidence("token-factorisation", better)).verdict == "does not hold"


# --- bit-head ---------------------------------------------------------------------------------------------------------


def test_a_head_of_bits_is_judged_against_the_classifier() -> None:
    def parts(nll: Mapping[str, float]) -> dict[str, list[Record]]:
        made = {}
        for part, bits in nll.items():
            vocabulary = [256] * 2 if part == "factorised" else [2**16]
            model = {"vocabulary": vocabulary, "parameters": 99 if part == "bits" else 1000}
            made[part] = [
                generator("lfq", 2**16, s, mark=part, model=model, nll_bits_per_code=bits + s / 50) for s in SEEDS
            ]
            for record in made[part]:
                record.training["seconds"] = 12.0 if part == "softmax" else 1.2
        return made

    result = judge(evidence("bit-head", parts({"softmax": 15.0, "factorised": 7.0, "bits": 13.0, "masked": 14.0})))
    assert result.verdict == "holds"
    assert found(result.findings, "NLL", "bits in order than by a softmax").effect == pytest.approx(2.0)
    assert found(result.findings, "NLL", "bits in order than by two").effect == pytest.approx(1.0, abs=0.05)
    assert found(result.findings, "NLL", "masked bits than by bits").verdict is Verdict.fails
    assert found(result.findings, "bits in order: fewer parameters").effect == pytest.approx(1000 / 99 - 1)
    assert "| two sub-tokens | 14.04 ±" in result.table
    worse = parts({"softmax": 13.0, "factorised": 7.0, "bits": 14.0, "masked": 14.0})
    assert judge(evidence("bit-head", worse)).verdict == "holds in part"
    assert len(drawn("bit-head", worse)) == 3


# --- order ------------------------------------------------------------------------------------------------------------


def orders(**nll: float) -> dict[str, list[Record]]:
    """What each order costs, in bits per code."""
    names = {name.replace("_", "-"): value for name, value in nll.items()}
    return {
        name: [generator("vq", 256, seed, mark=name, nll_bits_per_code=value + seed / 90) for seed in SEEDS]
        for name, value in names.items()
    }


def test_raster_order_is_held_against_every_other() -> None:
    parts = orders(raster=5.0, alternate=5.1, spiral_in=5.2, spiral_out=4.8, z_curve=5.1, subsample=5.6, random=6.0)
    result = judge(evidence("order", parts))
    assert result.verdict == "holds in part" and len(result.findings) == 6
    assert found(result.findings, "subsample").effect == pytest.approx(0.6)
    assert found(result.findings, "spiral-out").verdict is Verdict.fails
    assert [f.statement.split()[-2] for f in result.findings if f.informational] == ["random"]
    assert "| raster | 5.011 ± 0.01" in result.table.replace("  ", " ") and len(drawn("order", parts)) == 1


def test_the_claim_of_orders_asks_for_every_order() -> None:
    for scale in load_claim("order").scales.values():
        assert set(scale.sweeps) == set(get_args(Order))
        for name, (sweep,) in scale.sweeps.items():
            assert f'generator.order="{name}"' in sweep.set_generator


# --- pixelsnail -------------------------------------------------------------------------------------------------------


def beside_pixelsnail(time: float, steps: float, seconds: float) -> dict[str, list[Record]]:
    """A transformer at 5 bits a code in 12 seconds, PixelSNAIL at these after equal time and steps."""

    def own(part: str, nll: float, took: float) -> list[Record]:
        found = [
            generator("vq", 256, s, mark=part, nll_bits_per_code=nll + s / 90, curve=curve(nll, nll)) for s in SEEDS
        ]
        for record in found:
            record.training["seconds"] = took
        return found

    return {"transformer": own("ar", 5.0, 12.0), "time": own("time", time, 12.0), "steps": own("steps", steps, seconds)}


def test_a_transformer_is_held_against_pixelsnail_twice() -> None:
    parts = beside_pixelsnail(time=5.1, steps=5.3, seconds=6.0)
    result = judge(evidence("pixelsnail", parts))
    assert result.verdict == "holds"
    assert found(result.findings, "equal steps", "PixelSNAIL of").effect == pytest.approx(0.3)
    assert found(result.findings, "after equal time", "PixelSNAIL of").effect == pytest.approx(0.1)
    more = found(result.findings, "by more after equal steps")
    assert more.effect == pytest.approx(0.2) and more.informational
    assert found(result.findings, "train step of PixelSNAIL").effect == pytest.approx(1.0)
    assert "| PixelSNAIL, equal steps | 1,000 | 12 | 0.5 ± 0 | 5.311" in result.table
    assert len(drawn("pixelsnail", parts)) == 2
    worse = judge(evidence("pixelsnail", beside_pixelsnail(time=4.9, steps=5.3, seconds=24.0)))
    assert worse.verdict == "holds in part" and found(worse.findings, "train step").effect == pytest.approx(-0.5)


# --- context-rich -----------------------------------------------------------------------------------------------------


def contexts(**distances: float) -> dict[str, list[Record]]:
    """A part for each f: this distance of what is drawn, 8 / f seconds an image; its tokenizer on whole images."""
    made = {}
    for part, distance in distances.items():
        factor = int(part[1:])
        made[part] = [
            generator("vq", 256, s, mark=part, drawing=96 * 8 / factor, gfid_192=distance + s / 90) for s in SEEDS
        ]
        made[f"{part}-whole"] = [row("vq", 256, 1, s, options={"f": factor}, psnr=30 - factor + s / 90) for s in SEEDS]
    return made


def test_larger_codes_are_better_and_faster_at_a_price() -> None:
    parts = contexts(f1=9.0, f2=7.0, f4=5.0, f8=4.0)
    result = judge(evidence("context-rich", parts))
    assert result.verdict == "holds"
    assert found(result.findings, "GFID_192 of whole images", "1, 2, 4, 8").effect == pytest.approx(1.0)
    assert found(result.findings, "less time with f").effect == pytest.approx(1.0)
    ends = found(result.findings, "less time at f = 8 than at f = 1")
    assert ends.informational and ends.effect == pytest.approx(7.0) and "8 against 1 s" in ends.detail
    price = found(result.findings, "PSNR of reconstructions is better at f = 1")
    assert price.informational and price.effect == pytest.approx(7.0)
    assert "| f = 4 | 1,000 | 5.011 ± 0.01" in result.table and len(drawn("context-rich", parts)) == 2
    worse = judge(evidence("context-rich", contexts(f1=9.0, f2=7.0, f4=8.0)))
    assert worse.verdict == "holds in part" and found(worse.findings, "of whole").verdict is Verdict.fails

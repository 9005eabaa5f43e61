"""Which measure predicts gFID: rank correlations over tokenizers, the claim's cells, and probes of what it trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from claims_generators import generator
from claims_tiny import evidence, found, row, tiny
from PIL import Image
from recipes_tiny import TINY
from scipy.stats import spearmanr
from typer.testing import CliRunner

from tokbench.claims.definition import load_claim
from tokbench.claims.findings import Verdict
from tokbench.claims.page import claim_page
from tokbench.claims.panels import draw
from tokbench.claims.plan import plan_claim
from tokbench.claims.ranks import correlation, difference
from tokbench.claims.results import check_of, judge
from tokbench.cli.app import app
from tokbench.errors import TokbenchError
from tokbench.results.figures.base import figure_settings
from tokbench.results.record import Record
from tokbench.results.store import Store

SIZES = [2**k for k in range(2, 14)]


def test_the_correlation_is_spearmans_with_ties_and_its_interval_knows_the_number_of_models() -> None:
    rng = np.random.default_rng(3)
    for n in (8, 60):
        x, y = rng.integers(0, 6, n).tolist(), rng.normal(size=n).tolist()
        own = correlation(x, y)
        assert own is not None and own.rho == pytest.approx(float(spearmanr(x, y).statistic)) and own.n == n
        assert own.low < own.rho < own.high
    noisy = [value + 6 * rng.normal() for value in range(40)]
    few, many = correlation(noisy[:8], range(8)), correlation(noisy, range(40))
    assert few is not None and many is not None and many.low > 0.5 and many.deviation < few.deviation
    assert correlation([1, 2, 3, 4], [1, 2, 3, 4]) is None and correlation([1.0] * 9, range(9)) is None
    same = difference(noisy, noisy, range(40))
    assert same is not None and same.rho == same.low == same.high == 0


def runs(**of: Any) -> dict[str, list[Record]]:
    """Twelve tokenizers and their generators: gFID falls with the vocabulary; each measure of ``of`` is a function of
    its place."""
    tokenizers, generators = [], []
    for place, size in enumerate(SIZES):
        sha = f"{place:064d}"
        own = {name: measure(place) for name, measure in of.items()}
        plain = row("vq", size, **own).plain()
        tokenizers.append(Record.of(**{**plain, "weights": {"which": "ema", "sha256": sha}}))
        made = generator("vq", size, 0, gfid_192=40.0 - place, model_bpp=0.1, fixed_bpp=0.2 + place / 100)
        generators.append(made.replace(weights={"which": "ema", "sha256": "g" + sha[1:], "tokenizer_sha256": sha}))
    return {"vq": tokenizers, "rq": generators}


def test_a_measure_that_orders_as_gfid_does_holds_and_one_that_does_not_fails() -> None:
    zigzag = {"rfid_192": lambda k: float(k * 7 % 12), "psnr": lambda k: 20.0 + k}
    parts = runs(pfid_192=lambda k: 50.0 - k, ifid_192=lambda k: 50.0 + k, **zigzag)
    for records in parts["vq"]:
        assert records.metrics["pfid_192"].direction == "higher"  # made up so; the sign follows the record
    lower = {name: {"direction": "lower"} for name in ("pfid_192", "ifid_192")}
    parts["vq"] = [
        record.replace(metrics={k: {**v, **lower.get(k, {})} for k, v in record.plain()["metrics"].items()})
        for record in parts["vq"]
    ]
    seen = evidence("predicts-gfid", parts)
    result = judge(seen)
    pfid, better = result.findings[:2]
    assert pfid.verdict is Verdict.holds and pfid.effect == 1 and "over 12 tokenizers" in pfid.detail
    assert better.verdict is Verdict.holds and better.statement == "PFID_192 orders them better than RFID_192"
    assert found(result.findings, "IFID_192 orders tokenizers").verdict is Verdict.fails
    psnr = found(result.findings, "PSNR orders")
    assert psnr.verdict is Verdict.holds and psnr.informational and psnr.effect == 1
    assert found(result.findings, "share that the AR needs").effect == 1  # 0.1 bpp of ever more
    assert found(result.findings, "bits of an image").verdict is Verdict.fails
    assert result.verdict == "holds in part"
    assert result.table.splitlines()[2].startswith("| PFID_192 | 1.00 |")
    first = result.table.rpartition("| --: |\n")[2].splitlines()[0]
    assert first.startswith("| vq K=8,192 |") and "29" in first  # the best first
    page = claim_page(load_claim("predicts-gfid"), [result], Path("nowhere"))
    assert "Tokenizers are the sample" in page and "paired by seed" not in page
    with figure_settings():
        figure = draw(check_of("predicts-gfid").panels(seen))
    assert figure is not None and len([axis for axis in figure.axes if axis.get_visible()]) == 5


def test_the_cells_are_one_generator_on_many_tokenizers(tmp_path: Path) -> None:
    for scale in ("cpu", "gpu"):
        found = plan_claim(load_claim("predicts-gfid"), scale, tmp_path, seeds=[0], costing=True)  # type: ignore[arg-type]
        assert not found.asked.impossible and len(found.plan.tokenizers) >= 20 and found.asked.cells
        assert len(found.plan.generators) == len(found.plan.tokenizers)
        assert len({cell.recipe.generator.model_dump_json() for cell in found.plan.generators}) == 1
        assert len({cell.recipe.training.model_dump_json() for cell in found.plan.tokenizers}) == 1
        assert len(found.asked.parts["linear"]) == len(found.asked.parts["ar"]) == len(found.plan.tokenizers)


def test_what_a_claim_trains_is_probed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 4)):
        for name in ("one", "two"):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for k in range(count):
                pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / "images" / split / name / f"{k}.png")
    small = [
        *(f"generator.{key}" for key in ("width=16", "heads=2", "layers=2", "depth_layers=0")),
        *(f"training.{key}" for key in ("steps=2", "warmup_steps=1", "batch_size=8")),
        *("evaluation.metrics=[chd]", "evaluation.samples=4"),
    ]
    sweep = {
        "recipe": "demo", "quantizer": "vq", "codebook_size": 16, "set": [*TINY, "data.source=folder:images"],
        "generator": "ar", "set_generator": small,
    }  # fmt: skip
    asked = {"steps": 3, "batch_size": 8}
    scale = {"sweeps": {"vq": sweep}, "probes": {"linear": asked, "ar": {**asked, "reads": "ar"}}}
    file = str(tiny(tmp_path, "predicts-gfid", {}, scales={"cpu": scale}))
    words = ["claims", file, "--seed", "0", "--out", "out", "--work", "work", "--cpu"]
    result = CliRunner().invoke(app, words, env={"COLUMNS": "200"}, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    tokenizer, made, *probes = Store(Path("work/runs.jsonl")).read()
    ar, linear = sorted(probes, key=lambda record: next(iter(record.metrics)))
    assert linear.weights.sha256 == ar.weights.sha256 == tokenizer.weights.sha256 == made.weights.tokenizer_sha256
    assert list(linear.metrics) == ["linear_top1"] and list(ar.metrics) == ["ar_top1"] and ar.recipe["block"] == 1
    assert made.plain()["metrics"]["entropy_cliff"]["images"] == 24 and made.metrics["chd"].value is not None
    page = Path("out/predicts-gfid/README.md").read_text()
    assert "4 of 4 cells measured" in page and "top-1 of a linear probe of the AR (%)" in page
    before = Path("work/runs.jsonl").read_bytes()
    assert CliRunner().invoke(app, words, env={"COLUMNS": "200"}).exit_code == 0
    assert Path("work/runs.jsonl").read_bytes() == before
    scale["probes"] = {"linear": {"of": ["nobody"]}}
    with pytest.raises(TokbenchError, match="linear: nobody is not a part with sweeps"):
        plan_claim(load_claim(str(tiny(tmp_path, "other", {}, scales={"cpu": scale}))), "cpu", tmp_path)

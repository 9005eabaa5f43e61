"""A claim of generators that are given masks: their tokenizer is trained first, once, and is part of the claim."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from claims_tiny import TEXT
from PIL import Image
from recipes_tiny import TINY
from typer.testing import CliRunner

from tokbench.claims.definition import load_claim
from tokbench.claims.plan import plan_claim
from tokbench.cli.app import app
from tokbench.errors import TokbenchError
from tokbench.results.record import Record
from tokbench.results.store import Store

SHORT = ["training.steps=3", "training.picture_every=0", "training.checkpoint_every=0", "data.eval_limit=2"]
GENERATORS = [*SHORT[:3], "training.warmup_steps=1", "training.batch_size=4"]
SMALL = {"ar": ["width=16", "heads=2", "layers=1", "depth_layers=0"], "pixelsnail": ["hidden=8", "blocks=1"]}


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    """Images and their masks of three labels."""
    for k in range(24):
        split = "val" if k % 3 == 0 else "train"
        for kind, image in (
            ("images", Image.new("RGB", (16, 16), (10 * k, 0, 90))),
            ("masks", Image.new("L", (16, 16), k % 3)),
        ):
            (tmp_path / kind / split).mkdir(parents=True, exist_ok=True)
            image.save(tmp_path / kind / split / f"{k}.png")
    return f"folder:{tmp_path / 'images'},masks={tmp_path / 'masks'}"


@pytest.fixture
def claim(tmp_path: Path) -> str:
    """The file of one whose cells train for three steps."""
    labels = {"recipe": "demo-labels", "set": [*TINY, *SHORT, "data.channels=3", "evaluation.metrics=[pixel_accuracy]"]}
    sweep: dict[str, Any] = {
        "quantizer": "vq",
        "codebook_size": 16,
        "set": [*TINY, *SHORT, "evaluation.metrics=[psnr]"],
    }
    settings = [*GENERATORS, *(f"{of}:generator.{text}" for of, own in SMALL.items() for text in own)]
    sweep["set_generator"] = [*settings, "evaluation.metrics=[]"]
    sweeps = {
        "transformer": {**sweep, "generator": "ar"},
        "steps": {**sweep, "generator": "pixelsnail"},
        "time": {**sweep, "generator": "pixelsnail", "set_generator": [*sweep["set_generator"], "training.steps=4"]},
    }
    path = tmp_path / "pixelsnail-masks.yaml"
    path.write_text(json.dumps({**TEXT, "scales": {"cpu": {"condition": labels, "sweeps": sweeps}}}))
    return str(path)


def run(claim: str, pairs: str, folder: Path, seeds: str = "0") -> list[Record]:
    """The records of the claim's work folder, once it has run."""
    words = [
        "claims",
        claim,
        "--data",
        pairs,
        "--seed",
        seeds,
        "--out",
        str(folder / "out"),
        "--work",
        str(folder / "work"),
    ]
    result = CliRunner().invoke(app, [*words, "--cpu"], env={"COLUMNS": "200"}, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return Store(folder / "work" / "runs.jsonl").read()


@pytest.mark.parametrize("seeds", [[0], pytest.param([0, 1], marks=pytest.mark.slow)])
def test_the_tokenizer_of_masks_comes_first_and_stands_before_every_generator(
    claim: str, pairs: str, seeds: list[int], tmp_path: Path
) -> None:
    asked = ",".join(map(str, seeds))
    before = plan_claim(load_claim(claim), "cpu", tmp_path / "work", data=pairs, seeds=seeds)
    assert {why for _, why in before.asked.impossible} == {"the tokenizer of its condition is not trained yet"}
    first, *others = run(claim, pairs, tmp_path, asked)
    assert first.metrics["pixel_accuracy"].value is not None and first.data.spec == f"folder:{tmp_path / 'masks'}"  # type: ignore[union-attr]
    generators = [record for record in others if record.kind == "generator"]
    assert (
        len(others) == 4 * len(seeds)
        and len(generators) == 3 * len(seeds)
        and not any(record.error for record in others)
    )
    for record in generators:
        assert record.recipe["condition"]["tokenizer"].endswith(first.artifacts["tokenizer"])
    page = (tmp_path / "out" / "pixelsnail-masks" / "README.md").read_text()
    assert (
        f"{(cells := 1 + len(others))} of {cells} cells measured" in page
        and "| what both are given | codes | pixel accuracy" in page
    )

    if len(seeds) == 1:
        return
    assert run(claim, pairs, tmp_path, asked) == [first, *others]  # nothing is trained again
    shutil.rmtree(tmp_path / "work" / first.artifacts["tokenizer"])
    again = run(claim, pairs, tmp_path, asked)[
        9:
    ]  # the weights are what the generators' addresses say: it is made once more
    assert [record.cell for record in again if record.kind == "tokenizer"] == [first.cell]


def test_what_is_no_condition_is_one_line(claim: str, pairs: str, tmp_path: Path) -> None:
    loaded, work = load_claim(claim), tmp_path / "work"
    for data in ("photos", pairs.replace("folder:", "parquet:", 1), pairs.split(",", maxsplit=1)[0]):
        with pytest.raises(TokbenchError, match="the claim needs pairs in folders: folder:IMAGES,masks=MAPS"):
            plan_claim(loaded, "cpu", work, data=data)
    text = Path(claim).read_text()
    several = '"recipe": "demo-labels", "quantizer": "vq", "codebook_size": [16, 32]'
    Path(claim).write_text(text.replace('"recipe": "demo-labels"', several))
    with pytest.raises(TokbenchError, match="condition: is one tokenizer, and these are 2"):
        plan_claim(load_claim(claim), "cpu", work, data=pairs)
    Path(claim).write_text(text.replace('"recipe": "demo-labels"', '"recipe": "demo-labels", "jobs": 2'))
    with pytest.raises(TokbenchError, match="condition: jobs is the command's to say"):
        load_claim(claim)


def test_a_claim_that_cannot_be_planned_keeps_no_other_from_it(claim: str, tmp_path: Path) -> None:
    words = ["claims", claim, "order", "--data", "photos", "--seed", "0", "--dry-run", "--work", str(tmp_path / "work")]
    result = CliRunner().invoke(app, [*words, "--cpu"], env={"COLUMNS": "200"}, catch_exceptions=False)
    assert result.exit_code == 0 and "pixelsnail-masks: --data photos: the claim needs pairs" in result.output
    assert "order: " in result.output and "together: " in result.output

"""Claims about tokenizers of clips, and tokenizers measured on other images than their recipes'."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from claims_tiny import evidence, found, row, tiny
from recipes_tiny import TINY
from tiny_clips import make_clip_tokenizer
from typer.testing import CliRunner

from tokbench.claims.definition import Elsewhere, load_claim
from tokbench.claims.findings import Verdict
from tokbench.claims.follow_ups import ElsewhereCell
from tokbench.claims.panels import draw
from tokbench.claims.plan import plan_claim
from tokbench.claims.results import check_of, judge
from tokbench.cli.app import app
from tokbench.config.loading import load_recipe
from tokbench.errors import TokbenchError
from tokbench.results.figures.base import figure_settings
from tokbench.results.record import Record
from tokbench.results.store import Store

SEEDS = (0, 1, 2)


def of_clips(size: int, psnr: float, first: float | None, **more: Any) -> list[Record]:
    """Records of clips; of single images where there is no PSNR of first frames."""
    found = []
    for seed in SEEDS:
        plain = row("vq", size, seed=seed, psnr=psnr + seed / 100, flicker=0.05, **more).plain()
        if first is not None:
            plain["metrics"]["psnr"] |= {"first_frame": first + seed / 100, "later_frames": psnr}
            plain["data"] |= {"spec": "clips", "size": [9, 32, 32]}
        plain["metrics"]["flicker"]["direction"] = "lower"
        found.append(Record.of(**plain))
    return found


@pytest.mark.parametrize(
    ("name", "better", "worse"), [("video-or-frames", "video", "frames"), ("late-downsampling", "late", "early")]
)
def test_clips_are_judged_by_every_metric_and_first_frames_for_information(name: str, better: str, worse: str) -> None:
    parts = {better: of_clips(512, 22.0, 23.0, ssim=0.8), worse: of_clips(32, 21.0, 23.5, ssim=0.7)}
    result = judge(evidence(name, parts))
    assert result.verdict == "holds"
    assert found(result.findings, "PSNR of clips").effect == pytest.approx(1.0)
    first = found(result.findings, "first frames")
    assert first.effect == pytest.approx(-0.5) and first.verdict is Verdict.fails and first.informational
    assert found(result.findings, "FLICKER").informational and "23.01" in result.table and "9×32×32" in result.table
    with figure_settings():
        figure = draw(check_of(name).panels(evidence(name, parts)))
    assert figure is not None and len([axis for axis in figure.axes if axis.get_visible()]) == 4
    other = judge(evidence(name, {better: parts[better][:1], worse: of_clips(32, 23.0, 23.5)[:1]}))
    assert other.verdict == "undecided", "of one seed"


def test_joint_training_is_judged_on_single_images() -> None:
    parts = {
        "video": of_clips(512, 22.0, 23.0), "joint": of_clips(256, 21.0, 23.5),
        "video-on-images": of_clips(512, 20.0, None, side=8), "joint-on-images": of_clips(256, 24.0, None, side=8),
    }  # fmt: skip
    result = judge(evidence("joint-training", parts))
    assert result.verdict == "holds" and found(result.findings, "single images").effect == pytest.approx(4.0)
    price = found(result.findings, "PSNR of clips, the price")
    assert price.effect == pytest.approx(1.0) and price.informational
    assert "| videos and images | 24.01 ± 0.01 | 96 | 3 |" in result.table


def test_tokenizers_are_measured_elsewhere_when_they_are_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = {"quantizer": "vq", "codebook_size": 16}
    other = {"data": "photos", "image_size": 48, "limit": 3}
    scale = {
        "sweeps": {
            "video": {"recipe": "demo", **sweep, "set": list(TINY)},
            "joint": {"recipe": "demo", **sweep, "set": list(TINY)},
        },
        "elsewhere": {f"{part}-on-images": {"of": part, "metrics": ["psnr"], **other} for part in ("video", "joint")},
    }
    file = str(tiny(tmp_path, "joint-training", {}, scales={"cpu": scale}))
    words = ["claims", file, "--seed", "3", "--out", "out", "--work", "work", "--cpu"]
    result = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    own, there = Store(Path("work/runs.jsonl")).read()
    assert there.seed == own.seed == 3 and there.weights == own.weights and there.cell != own.cell
    assert there.data is not None and (there.data.size, there.data.n) == (48, 3)
    page = Path("out/joint-training/README.md").read_text()
    assert "3 images of photos (eval) at 48 pixels" in page and "2 of 2 cells measured" in page
    before = Path("work/runs.jsonl").read_bytes()
    assert CliRunner().invoke(app, words, env={"COLUMNS": "200"}).exit_code == 0
    assert Path("work/runs.jsonl").read_bytes() == before, "what was measured is not measured again"
    scale["elsewhere"]["joint-on-images"] |= {"data": "folder:gone"}
    tiny(tmp_path, "joint-training", {}, scales={"cpu": scale})
    result = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert result.exit_code == 1 and "missing: joint-on-images" in result.output


def test_elsewhere_needs_a_part_with_tokenizers(tmp_path: Path) -> None:
    other = {"of": "nobody", "data": "photos", "image_size": 32, "metrics": ["psnr"]}
    scale = {"sweeps": {"one": {"recipe": "demo", "quantizer": "vq", "set": list(TINY)}}, "elsewhere": {"two": other}}
    claim = load_claim(str(tiny(tmp_path, "mine", {}, scales={"cpu": scale})))
    with pytest.raises(TokbenchError, match="two: nobody is not a part with sweeps"):
        plan_claim(claim, "cpu", tmp_path)
    scale["elsewhere"] = {"two": {**other, "of": "one", "metrics": ["psnrr"]}}
    claim = load_claim(str(tiny(tmp_path, "mine", {}, scales={"cpu": scale})))
    with pytest.raises(TokbenchError, match="psnrr"):
        plan_claim(claim, "cpu", tmp_path)
    scale["elsewhere"] = {"one": {**other, "of": "one"}}
    with pytest.raises(TokbenchError, match="one: two parts have this name"):
        load_claim(str(tiny(tmp_path, "mine", {}, scales={"cpu": scale})))


def test_clips_elsewhere_take_the_frames_that_the_recipes_clips_take(tmp_path: Path) -> None:
    make_clip_tokenizer().save_pretrained(tmp_path / "tokenizer")
    recipe = load_recipe("demo-video", ["data.stride=2"])
    model: Any = SimpleNamespace(recipe=recipe, key="one")
    asked = Elsewhere.model_validate({"of": "video", "metrics": ["psnr"], "image_size": [9, 16, 16], "limit": 2})
    record = ElsewhereCell(model, asked).measure(tmp_path / "tokenizer", tmp_path, cpu=True)
    assert record.data is not None and record.data.protocol == "tokbench-v1-all-stride2"

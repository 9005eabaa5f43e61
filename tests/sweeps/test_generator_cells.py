"""Stage 2 of a sweep: which cells, in which order, nothing twice, what is said of the impossible."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sweeps_tiny import comparable, grid

from tokbench.errors import TokbenchError
from tokbench.generators import Generator
from tokbench.results.store import Store
from tokbench.sweeps import stages
from tokbench.sweeps.cell import read_job_spec, write_job_spec
from tokbench.sweeps.generating import generator_cells
from tokbench.sweeps.grid import tokenizer_cells
from tokbench.sweeps.run import run_sweep


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kinds of what is trained and encoded from now on."""
    seen: list[str] = []
    train, write_codes = stages.train, stages.write_codes

    def counting_train(recipe: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(recipe.generator.name if recipe.kind == "generator" else recipe.kind)
        return train(recipe, *args, **kwargs)

    def counting_codes(*args: Any, **kwargs: Any) -> Any:
        seen.append("codes")
        return write_codes(*args, **kwargs)

    monkeypatch.setattr(stages, "train", counting_train)
    monkeypatch.setattr(stages, "write_codes", counting_codes)
    return seen


def test_codes_of_images_that_have_changed_are_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for k in range(24):
        place = tmp_path / "images" / ("val" if k % 3 == 0 else "train") / f"{k}.bmp"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (10 * k, 0, 0)).save(place)
    data = [f"data.source=folder:{tmp_path / 'images'}"]
    seen = counted(monkeypatch)
    for kind in ("ar", "mlm"):
        assert run_sweep(grid("rq", generator=[kind], set=data, out=tmp_path / "out")) == 0
        Image.new("RGB", (16, 16), (0, 255, 0)).save(tmp_path / "images" / "train" / "1.bmp")  # of the same size
    assert seen == ["tokenizer", "codes", "codes", "ar", "codes", "mlm"]  # the other split's are as they were


def test_generators_share_one_tokenizer_and_one_code_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = counted(monkeypatch)
    assert run_sweep(grid("rq", out=tmp_path)) == 0
    assert run_sweep(grid("rq", generator=["ar", "mlm"], out=tmp_path)) == 0
    assert seen == ["tokenizer", "codes", "codes", "ar", "mlm"]  # the cache has two splits
    tokenizer, ar, mlm = Store(tmp_path / "runs.jsonl").read()
    assert [r.kind for r in (tokenizer, ar, mlm)] == ["tokenizer", "generator", "generator"]
    assert ar.weights["tokenizer_sha256"] == tokenizer.weights["sha256"]
    assert ar.metrics["nll_bits_per_code"].value is not None and ar.metrics["nll_bits_per_code"].n == 8
    assert mlm.metrics["model_bound_bpp"].value is not None and "model_bpp" not in mlm.metrics
    assert ar.metrics["model_bpp"].value == pytest.approx(ar.metrics["nll_bits_per_code"].value * 8 * 8 * 2 / 16**2)
    assert "gfid" in ar.metrics
    assert ar.training["curve"]["step"] == [12] and ar.timing["drawing"] <= ar.timing["images"]
    log = [json.loads(line) for line in (tmp_path / ar.artifacts["log"]).read_text().splitlines()]
    held_out = pytest.approx(log[-1]["held_out_bits_per_code"], abs=1e-5)
    assert ar.training["curve"]["held_out_bits_per_code"] == [held_out]
    assert "held_out_bound_bits_per_code" in mlm.training["curve"]
    assert str(tmp_path) not in json.dumps(ar.recipe) and ar.recipe["tokenizer"]["quantizer"]["name"] == "rq"
    assert (tmp_path / ar.artifacts["samples"]).exists()
    assert Generator.from_pretrained(tmp_path / ar.artifacts["generator"]).config.generator.name == "ar"
    table = (tmp_path / "table.md").read_text()
    assert f"{ar.metrics['nll_bits_per_code'].value:.4g}" in table and "gFID" in table and "model-coded rate" in table

    capsys.readouterr()
    assert run_sweep(grid("rq", generator=["ar", "mlm"], out=tmp_path)) == 0
    assert len(seen) == 5 and len(Store(tmp_path / "runs.jsonl").read()) == 3
    assert capsys.readouterr().err.count("already in") == 3


def test_an_interrupted_generator_continues_to_the_same_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = stages.train

    def interrupted(recipe: Any, *args: Any, **kwargs: Any) -> Any:
        return train(recipe, *args, **kwargs, stop_at=7 if recipe.kind == "generator" else None)

    with monkeypatch.context() as patch:
        patch.setattr(stages, "train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_sweep(grid("lfq", generator=["ar"], out=tmp_path / "a"))
    assert [r.kind for r in Store(tmp_path / "a" / "runs.jsonl").read()] == ["tokenizer"]
    seen = counted(monkeypatch)
    run_sweep(grid("lfq", generator=["ar"], out=tmp_path / "a"))
    assert seen == ["ar"]
    run_sweep(grid("lfq", generator=["ar"], out=tmp_path / "b"))
    assert comparable(tmp_path / "a") == comparable(tmp_path / "b")


def test_generators_of_a_failed_tokenizer_are_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(stages, "train", fails)
    assert run_sweep(grid("lfq", generator=["ar", "mlm"], out=tmp_path)) == 3
    (record,) = Store(tmp_path / "runs.jsonl").read()
    assert record.kind == "tokenizer" and record.error == "RuntimeError: out of luck"
    assert capsys.readouterr().err.count("not run: its tokenizer failed") == 2


def test_addresses_are_of_what_matters() -> None:
    tokenizers, _ = tokenizer_cells(grid("rq", "lfq"))

    def keys(**settings: Any) -> list[str]:
        return [cell.key for cell in generator_cells(grid(generator=["ar"], **settings), tokenizers)[0]]

    same = keys(set_generator=["training.log_every=3", "name=other"])
    assert keys() == same and len(set(keys())) == 2
    longer = keys(set_generator=["training.steps=13"])
    assert not set(keys()) & set(keys(encode_passes=2)) and not set(keys()) & set(longer)
    other, _ = tokenizer_cells(grid("rq", seed=[1]))
    assert generator_cells(grid(generator=["ar"]), other)[0][0].recipe.seed == 1


def test_soft_targets_on_drawn_codes_are_planned_without_weights() -> None:
    both = ["generator.soft_targets=0.1", "generator.stochastic_codes=0.1"]
    tokenizers, _ = tokenizer_cells(grid("rq"))
    (cell,), impossible = generator_cells(grid(generator=["ar"], set_generator=both), tokenizers)
    assert cell.latents and cell.parameters and not impossible


def test_settings_of_one_kind() -> None:
    settings = grid("rq", generator=["ar", "mlm"], set_generator=["ar:generator.depth_layers=2"])
    cells, _ = generator_cells(settings, tokenizer_cells(settings)[0])
    assert cells[0].recipe.generator.model_dump()["depth_layers"] == 2
    assert [cell.label for cell in cells] == ["ar on rq K=16 D=2", "mlm on rq K=16 D=2"]


def test_impossible_generators_are_named_and_skipped() -> None:
    tokenizers, _ = tokenizer_cells(grid("rq", "lfq"))
    soft = grid(generator=["ar"], set_generator=["generator.soft_targets=0.5"])
    cells, impossible = generator_cells(soft, tokenizers)
    assert [cell.tokenizer.recipe.quantizer.name for cell in cells] == ["rq"]
    ((label, why),) = impossible
    assert label.startswith("ar on lfq") and "no code vectors" in why


@pytest.mark.parametrize(
    ("kinds", "settings", "said"),
    [
        (["arr"], {}, "did you mean 'ar'"),
        ([], {"set_generator": ["training.steps=3"]}, "need --generator"),
        (["ar"], {"set_generator": ["generator.widht=3"]}, "did you mean 'width'"),
        (["ar"], {"set_generator": ["seed=3"]}, "use --seed"),
        (["ar"], {"set_generator": ["data.limit=3"]}, "use --set data"),
        (["ar"], {"set_generator": ["rq:generator.width=3"]}, "expected KEY=VALUE"),
        (["mlm"], {"generator_recipe": ["generators/demo-ar"]}, "recipe generators/demo-ar is of ar"),
        (["ar"], {"generator_recipe": ["demo"]}, "is no generator's"),
        (["ar"], {"set_generator": ["generator.class_conditional=true"]}, "has no class labels"),
    ],
)
def test_refuses_before_any_training(kinds: list[str], settings: dict[str, Any], said: str) -> None:
    with pytest.raises(TokbenchError) as error:
        generator_cells(grid(generator=kinds, **settings), tokenizer_cells(grid("rq"))[0])
    assert said in str(error.value)


def test_a_cell_written_down_is_read_back(tmp_path: Path) -> None:
    (cell,), _ = generator_cells(grid(generator=["ar"]), tokenizer_cells(grid("rq"))[0])
    write_job_spec(cell, tmp_path)
    assert read_job_spec(cell.key, tmp_path) == cell
    with pytest.raises(TokbenchError, match="no cell is written down"):
        read_job_spec("0123", tmp_path)

"""Stage 2 of a sweep: which cells, in which order, nothing twice, what is said of the impossible."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from sweeps_tiny import comparable, grid
from tiny_tokenizer import MODEL

from tokbench.config.condition import CodesConfig
from tokbench.config.loading import load_recipe
from tokbench.config.model import TokenizerConfig
from tokbench.errors import TokbenchError
from tokbench.generators import Generator
from tokbench.models import Tokenizer
from tokbench.results.store import Store
from tokbench.sweeps import stages
from tokbench.sweeps.cell import read_job_spec, write_job_spec
from tokbench.sweeps.generating import generator_cells
from tokbench.sweeps.grid import tokenizer_cells
from tokbench.sweeps.run import run_sweep

VQ = {"name": "vq", "codebook_size": 16}


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


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[str, dict[int, Path]]:
    """A source of images with masks of three labels, and two tokenizers of such masks by their seeds."""
    for k in range(24):
        split = "val" if k % 3 == 0 else "train"
        for kind in ("images", "masks"):
            (tmp_path / kind / split).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (10 * k, 0, 90)).save(tmp_path / "images" / split / f"{k}.png")
        Image.new("L", (16, 16), k % 3).save(tmp_path / "masks" / split / f"{k}.png")
    config = {"image_size": 16, "channels": 3, "kind": "labels", "model": MODEL, "quantizer": VQ}
    folders = {}
    for seed in (0, 1):
        torch.manual_seed(seed)
        folders[seed] = tmp_path / f"labels-{seed}"
        Tokenizer(TokenizerConfig.model_validate(config)).save_pretrained(folders[seed])
    return f"folder:{tmp_path / 'images'},masks={tmp_path / 'masks'}", folders


@pytest.mark.slow  # of what cells are conditioned on, captions are in the default run
def test_a_sweep_over_pairs_trains_every_generator_on_their_masks(
    pairs: tuple[str, dict[int, Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, folders = pairs

    def asked(seed: int, **more: Any) -> Any:
        of = [f"condition.tokenizer={folders[seed]}", "evaluation.metrics=[]", "mlm:evaluation.steps=2"]
        of += ["pixelsnail:generator.hidden=16", "pixelsnail:generator.blocks=1"]
        return grid("vq", "lfq", set=[f"data.source={source}"], set_generator=of, out=tmp_path / "out", **more)

    cells, impossible = generator_cells(asked(0, generator=["ar", "mlm", "pixelsnail"]), tokenizer_cells(asked(0))[0])
    assert len(cells) == 6 and not impossible and len({cell.key for cell in cells}) == 6
    other, _ = generator_cells(asked(1, generator=["ar"]), tokenizer_cells(asked(1))[0])
    assert other[0].key != cells[0].key and other[0].codes_key != cells[0].codes_key
    shutil.copytree(folders[0], tmp_path / "elsewhere")
    folders[2] = tmp_path / "elsewhere"
    moved, _ = generator_cells(asked(2, generator=["ar"]), tokenizer_cells(asked(2))[0])
    assert moved[0].key == cells[0].key and moved[0].experiment == cells[0].experiment
    write_job_spec(cells[0], tmp_path / "spec")
    assert read_job_spec(cells[0].key, tmp_path / "spec") == cells[0]

    assert run_sweep(asked(0, generator=["ar", "pixelsnail"])) == 0
    found = [record for record in Store(tmp_path / "out" / "runs.jsonl").read() if record.kind == "generator"]
    assert [record.model["architecture"] for record in found] == ["ar", "pixelsnail"] * 2
    assert all(record.error is None and record.metrics["nll_bits_per_code"].value for record in found)
    made = Generator.from_pretrained(tmp_path / "out" / found[0].artifacts["generator"]).config.conditioned_on
    assert isinstance(made, CodesConfig) and made.partner == "masks"

    shutil.rmtree(folders[0])
    shutil.copytree(folders[1], folders[0])  # trained anew since the plan
    with pytest.raises(TokbenchError, match="has other weights .* than when the sweep was planned"):
        stages.encoded(cells[1], tmp_path / "none" / "tokenizer", stages.RunContext(tmp_path / "out", ""))
    with pytest.raises(TokbenchError, match="nothing reads them: set condition.tokenizer"):
        generator_cells(grid("vq", set=[f"data.source={source}"], generator=["ar"]), tokenizer_cells(asked(1))[0])


def test_a_sweep_over_captions_keeps_them_with_the_codes(tmp_path: Path) -> None:
    library = pytest.importorskip("tokenizers")
    for k in range(24):
        folder = tmp_path / "images" / ("val" if k % 3 == 0 else "train")
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (10 * k, 0, 90)).save(folder / f"{k}.png")
        (folder / f"{k}.txt").write_text("dark" if k < 12 else "light")
    for name, words in (("words", ["[UNK]", "dark", "light"]), ("others", ["[UNK]", "light", "dark"])):
        made = library.Tokenizer(library.models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
        made.pre_tokenizer = library.pre_tokenizers.Whitespace()
        made.save(str(tmp_path / f"{name}.json"))
    shutil.copy(tmp_path / "words.json", tmp_path / "moved.json")

    def asked(words: str) -> Any:
        text = [f"generator.text={{tokenizer: {tmp_path / words}.json, length: 2, loss_weight: 0.0}}"]
        data = [f"data.source=folder:{tmp_path / 'images'}"]
        of = [*text, "evaluation.metrics=[]", "mlm:evaluation.steps=2"]
        return grid("vq", set=data, set_generator=of, generator=["ar", "mlm"], out=tmp_path / "out")

    tokenizers, _ = tokenizer_cells(asked("words"))
    cells = {words: generator_cells(asked(words), tokenizers)[0][0] for words in ("words", "moved", "others")}
    keys = {words: cell.key for words, cell in cells.items()}
    assert keys["words"] == keys["moved"] != keys["others"]  # by what the text's tokenizer is, wherever it lies
    write_job_spec(cells["words"], tmp_path / "spec")
    assert read_job_spec(keys["words"], tmp_path / "spec") == cells["words"]
    assert run_sweep(asked("words")) == 0
    records = Store(tmp_path / "out" / "runs.jsonl").read()
    assert [record.model["architecture"] for record in records[1:]] == ["ar", "mlm"]
    assert not any(record.error for record in records)
    (cache,) = (tmp_path / "out" / "cells" / tokenizers[0].key).glob("codes-*")  # both generators have the same codes
    assert sorted(set((cache / "train" / "captions.jsonl").read_text().splitlines())) == ['"dark"', '"light"']


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


def test_beside_a_tokenizer_of_clips_and_images_a_generator_is_of_the_clips() -> None:
    pytest.importorskip("av")
    model = "model={architecture: magvit2-video, channels: 8, multipliers: [1, 2], blocks: 1, halve_frames: [true]}"
    clips = ["data.source=clips", "data.image_size=[5,16,16]", "data.images=photos", "data.fps=8", model]
    asked = grid("vq", set=clips, generator=["mlm"])
    (cell,), _ = generator_cells(asked, tokenizer_cells(asked)[0])
    assert cell.tokenizer.recipe.data.images == "photos" and cell.recipe.data.images is None
    assert cell.recipe.data.fps == 8
    with pytest.raises(TokbenchError, match=r"data.images is of tokenizers"):
        load_recipe("generators/demo-ar", ["data.image_size=[5,16,16]", "data.source=clips", "data.images=photos"])


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

"""What ``import tokbench`` offers: which names, what loading them costs, what they return and how they refuse."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from recipes_tiny import TINY

import tokbench
from tokbench import TokbenchError, Tokenizer
from tokbench.config.recipe import TokenizerRecipe
from tokbench.errors import TokbenchWarning
from tokbench.results.store import Store

TINY_SET = {key: yaml.safe_load(value) for key, value in (setting.split("=") for setting in TINY)}
TINY_SET["evaluation.metrics"] = ["psnr", "usage"]
ROOT = Path(__file__).parents[2]


def made_from(*settings: str) -> Tokenizer:
    recipe = tokbench.load_recipe("demo", [*TINY, *settings])
    assert isinstance(recipe, TokenizerRecipe)
    torch.manual_seed(0)
    return Tokenizer(recipe.tokenizer).eval()


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return made_from()


def test_the_public_names() -> None:
    assert tokbench.__all__ == [
        "Generator", "TokbenchError", "Tokenizer", "evaluate", "load_recipe", "open_images", "read_records",
        "reconstruct", "sweep",
    ]  # fmt: skip
    for name in tokbench.__all__:
        assert getattr(tokbench, name).__doc__ and name in dir(tokbench)
    with pytest.raises(AttributeError, match="no attribute 'evaluator'"):
        _ = tokbench.evaluator
    for package in ("tokbench", "quantizers"):
        assert (resources.files(package) / "py.typed").is_file()


def test_importing_loads_nothing_heavy_and_records_and_recipes_no_torch() -> None:
    script = (
        "import sys, tokbench\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'yaml', 'rich', 'typer'} & set(sys.modules); assert not heavy, heavy\n"
        "tokbench.load_recipe('demo'); tokbench.read_records(sys.argv[1]); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, str(ROOT / "results")], check=True)


def test_the_readme_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    section = (ROOT / "README.md").read_text().partition("## Use it as a library")[2]
    code = re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0]
    small = code.replace('{"training.steps": 200}', "TINY").replace("image_size=64", "image_size=16")
    found: dict[str, Any] = {"TINY": TINY_SET}
    exec(small, found)
    vq, rq = found["records"]
    assert (vq.quantizer["name"], rq.quantizer["name"]) == ("vq", "rq")
    assert [record.id for record in tokbench.read_records("runs/mine")] == [vq.id, rq.id]
    assert "psnr" in found["record"].metrics and found["made"].image.shape == (3, 16, 16)
    assert found["made"].codes.shape == (8, 8, len(found["made"].stages))
    capsys.readouterr()
    same = {"codebook_size": 256, "set": TINY_SET, "out": Path("runs/mine")}
    again = tokbench.sweep(quantizer=("vq", "rq"), seed=range(1), **same)
    assert [record.id for record in again] == [vq.id, rq.id]  # finished cells do not run again


def test_the_recipe_example_says_what_it_gives() -> None:
    for test in doctest.DocTestFinder().find(tokbench.load_recipe, "load_recipe", globs={"tokbench": tokbench}):
        assert doctest.DocTestRunner().run(test).failed == 0 and test.examples


def test_a_failed_cell_is_a_record_that_says_why(tmp_path: Path) -> None:
    (record,) = tokbench.sweep(
        quantizer="vq", set={**TINY_SET, "data.source": f"folder:{tmp_path / 'none'}"}, out=tmp_path / "out"
    )
    assert record.error is not None and "none" in record.error


def test_evaluate_by_folder_is_what_the_command_records(tokenizer: Tokenizer, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from tokbench.cli.app import app

    tokenizer.save_pretrained(tmp_path / "mine")
    record = tokbench.evaluate(tmp_path / "mine", limit=8, metrics="psnr, usage", results=tmp_path, device="cpu")
    command = ["evaluate", str(tmp_path / "mine"), "--data", "photos", "--limit", "8", "--metrics", "psnr,usage"]
    CliRunner().invoke(app, [*command, "--out", str(tmp_path), "--cpu"], catch_exceptions=False)
    ours, commands = tokbench.read_records(tmp_path / "runs.jsonl")
    assert ours == record
    same = ("cell", "name", "weights", "metrics", "rate", "data", "recipe")
    assert [getattr(ours, key) for key in same] == [getattr(commands, key) for key in same]


def test_evaluate_takes_open_images_and_leaves_the_model_as_it_was(tokenizer: Tokenizer) -> None:
    images = tokbench.open_images("photos", "eval", image_size=16, limit=6)
    tokenizer.train()
    record = tokbench.evaluate(tokenizer, images, metrics=["psnr"])
    made = tokbench.reconstruct(tokenizer, images[0]["image"])
    assert tokenizer.training
    tokenizer.eval()
    assert record.data is not None and record.data.n == 6 and record.weights["which"] == "saved"
    assert torch.equal(made.image, tokbench.reconstruct(tokenizer, images[0]["image"]).image)


def test_a_record_that_cannot_be_appended_is_returned(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Store, record: object) -> None:
        raise TokbenchError("the disk is full")

    monkeypatch.setattr(Store, "append", full)
    with pytest.warns(TokbenchWarning, match="full; the record is returned"):
        record = tokbench.evaluate(tokenizer, limit=4, metrics=["psnr"], results=tmp_path)
    assert record.metrics["psnr"].value is not None


def test_reconstruct_any_size_from_a_file(tokenizer: Tokenizer, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (13, 9), (200, 30, 30)).save(tmp_path / "own.png")
    made = tokbench.reconstruct(tokenizer, tmp_path / "own.png")
    assert made.original[:, 0, 0].tolist() == [200, 30, 30]
    assert made.image.shape == (3, 9, 13) and made.image.dtype == torch.uint8 and made.image is made.stages[-1]
    assert made.codes.shape == (5, 7, len(made.stages))
    assert made.bits_per_pixel == pytest.approx(5 * 7 * tokenizer.quantizer.bits_per_vector / (9 * 13))


def test_one_channel_tokenizers_read_colours_as_grey(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (16, 16), (200, 30, 30)).save(tmp_path / "own.png")
    grey = made_from("data.channels=1")
    assert tokbench.reconstruct(grey, tmp_path / "own.png").image.shape == (1, 16, 16)
    record = tokbench.evaluate(grey, limit=4, metrics=["psnr"])
    assert record.data is not None and record.data.protocol == "tokbench-v1-grey"
    with pytest.raises(TokbenchError, match=r"uint8 \(1, H, W\), got torch.uint8 \(3, 16, 16\)"):
        tokbench.reconstruct(grey, torch.zeros(3, 16, 16, dtype=torch.uint8))
    with pytest.raises(TokbenchError, match="channel"):
        tokbench.evaluate(grey, tokbench.open_images("photos", "eval", image_size=16, limit=4))


def test_records_that_are_damaged_are_counted_and_kept_by_number(tmp_path: Path) -> None:
    lines = (ROOT / "results" / "runs.jsonl").read_text().splitlines()[:2]
    (tmp_path / "runs.jsonl").write_text("\n".join([lines[0], "{", lines[1]]) + "\n")
    with pytest.warns(TokbenchWarning, match="1 line not used; line 2"):
        records = tokbench.read_records(tmp_path)
    assert len(records) == 2 and records.damaged[0][0] == 2


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda t: tokbench.evaluate(5),
            "tokenizer must be a Tokenizer, a folder, a published model's name or a hub repository, got 5",
        ),
        (lambda t: tokbench.evaluate(t, None), "data must be a spec such as 'photos'"),
        (lambda t: tokbench.evaluate(t, "photo"), "did you mean 'photos'"),
        (lambda t: tokbench.evaluate(t, size=15), "size 15 is not a multiple"),
        (lambda t: tokbench.evaluate(t, metrics=["psn"]), "did you mean 'psnr'"),
        (lambda t: tokbench.evaluate(t, protocol="x"), "unknown protocol 'x'"),
        (lambda t: tokbench.evaluate(t, device="cudaa"), "device cudaa"),
        (
            lambda t: tokbench.evaluate(t, tokbench.open_images("photos", "eval", image_size=15, limit=2)),
            "image_size 15 is not a multiple",
        ),
        (
            lambda t: tokbench.evaluate(t, tokbench.open_images("photos", "eval", image_size=16), limit=2),
            "belong to open_images",
        ),
        (lambda t: tokbench.open_images(Path("mine"), "eval", image_size=16), "a spec such as 'folder:PATH', got "),
        (lambda t: tokbench.open_images("photos", "eval", image_size=(16,)), "image_size is (16,)"),
        (lambda t: tokbench.open_images("photos", "test", image_size=16), "train or eval"),
        (lambda t: tokbench.reconstruct(t, "missing.jpg"), "missing.jpg"),
        (lambda t: tokbench.reconstruct(t, torch.zeros(1, 3, 8, 8)), "image must be uint8 (3, H, W)"),
        (lambda t: tokbench.reconstruct(t, 5), "image must be a file or a uint8 tensor"),
        (lambda t: tokbench.sweep(quantiser="vq"), "sweep: quantiser: unknown key (did you mean 'quantizer'?)"),
        (lambda t: tokbench.sweep("none-such"), "no such sweep file"),
        (lambda t: tokbench.read_records("nowhere"), "nowhere: no records there"),
        (lambda t: tokbench.load_recipe(Path("dem")), "did you mean 'demo'"),
        (lambda t: tokbench.load_recipe("demo", "training.step=3"), "did you mean 'steps'"),
    ],
)
def test_a_mistake_is_one_line(call: Callable[[Tokenizer], object], said: str, tokenizer: Tokenizer) -> None:
    with pytest.raises(TokbenchError) as error:
        call(tokenizer)
    assert said in str(error.value) and "\n" not in str(error.value)

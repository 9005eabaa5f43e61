"""The command line as a stranger uses it: one clear line for a mistake, no traceback, the promised files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from recipes_tiny import TINY
from typer.testing import CliRunner

from tokbench.cli.app import app
from tokbench.errors import TokbenchError, did_you_mean
from tokbench.results.store import Store

run = CliRunner()
SETS = [part for setting in TINY for part in ("--set", setting)]


def tokbench(*arguments: str) -> str:
    result = run.invoke(app, list(arguments), catch_exceptions=False, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from tokbench.cli.app import app; from typer.testing import CliRunner; "
        "r = CliRunner().invoke(app, ['--help']); assert r.exit_code == 0 and 'sweep' in r.output; "
        "heavy = {'torch', 'numpy', 'pydantic', 'matplotlib', 'datasets'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


def test_a_mistake_is_one_line_and_exit_code_2_before_torch_is_imported() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "tokbench", "train", "demo", "--set", "training.step=3"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 2 and done.stdout == ""
    imported = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    assert imported and "torch" not in {line.rpartition("|")[2].strip() for line in imported}
    (line,) = (line for line in done.stderr.splitlines() if line not in imported)
    assert line.startswith("tokbench: --set training.step=3: training.step: unknown key") and "'steps'" in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "nowhere"], "no such recipe"),
        (["train", "demo", "--set", "quantizer.name=lfq", "--set", "quantizer.codebook_size=1000"], "power of two"),
        (["train", "demo", "--set", "quantizer.depht=3"], "depth"),
        (["train", "demo", "--set", "data.source=folder:/not/there"], "/not/there"),
        (["train", "generators/demo-ar", "--from", "some"], "use --set tokenizer=FOLDER"),
        (["sweep", "--quantizer", "rqq"], "did you mean 'rq'"),
        (["sweep", "--codebook-size", "many"], "--codebook-size: 'many' is not a whole number"),
        (["reconstruct", "/not/there", "x.png"], "/not/there"),
        (["evaluate", "/not/there", "--data", "photos"], "/not/there"),
        (["list", "quantisers"], "did you mean 'quantizers'"),
    ],
)
def test_mistakes_name_what_was_given(arguments: list[str], said: str, tmp_path: Path) -> None:
    extra = ["--out", str(tmp_path / "o")] if arguments[0] == "train" else []
    with pytest.raises(TokbenchError) as error:
        run.invoke(app, [*arguments, *extra], catch_exceptions=False)
    assert said in str(error.value)
    assert not (tmp_path / "o" / "tokenizer").exists()


def test_train_evaluate_reconstruct_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tokbench("train", "demo", *SETS, "--out", "run")
    assert Path("run/tokenizer/config.json").exists()
    tokbench("evaluate", "run/tokenizer", "--data", "photos", "--metrics", "psnr,usage", "--results", "results")
    (record,) = Store(tmp_path / "results" / "runs.jsonl").read()
    assert record.metrics["psnr"].value is not None and record.rate is not None
    assert f"{record.metrics['psnr'].value:.2f}" in tokbench("table", "results", "--format", "markdown")

    rng = np.random.default_rng(0)
    for name, size in {"tall": (37, 61), "one": (1, 1), "wide": (90, 16)}.items():
        Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)).save(f"{name}.png")
    Path("broken.png").write_bytes(b"\x89PNG not really")
    output = tokbench(
        "reconstruct", "run/tokenizer", "tall.png", "one.png", "wide.png", "broken.png", "--out", "o", "--depths"
    )
    assert "skipped broken.png" in output
    for name, size in {"tall": (37, 61), "one": (1, 1), "wide": (90, 16)}.items():
        assert Image.open(f"o/{name}.png").size == size
        assert Path(f"o/side-by-side/{name}.png").exists()
    assert Image.open("o/depths/tall.png").width > 2 * 4 * 37  # the original and four depths, large enough to read
    assert Image.open("o/side-by-side/tall.png").width >= 2 * 2 * 37


def test_sweep_exactly_as_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    output = tokbench("sweep", "--quantizer", "rq", "--depth", "4", *SETS)
    (record,) = Store(tmp_path / "results" / "runs.jsonl").read()
    assert record.quantizer["name"] == "rq" and record.quantizer["depth"] == 4
    assert "PSNR" in output and "first 1 of 4" in output


def test_dry_run_trains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    output = tokbench("sweep", "-q", "vq,rq,lfq", "--bits", "8", "--dry-run")
    assert "to run" in output and "2,048" in output
    assert "training:" in tokbench("train", "demo", "--dry-run")
    assert list(tmp_path.iterdir()) == []


def test_list_and_doctor_show_what_is_there() -> None:
    listed = tokbench("list")
    for name in ("rq", "lfq", "vqgan", "demo", "psnr", "photos"):
        assert name in listed
    assert "functools" not in listed  # each says what it is, not what it is made of
    assert torch.__version__.split("+")[0] in tokbench("doctor")


def test_names_are_listed_whole_on_a_narrow_terminal() -> None:
    from tokbench.config.loading import recipe_names

    result = run.invoke(app, ["list", "recipes"], catch_exceptions=False, env={"COLUMNS": "80"})
    listed = {line.split("│")[1].strip() for line in result.output.splitlines() if line.startswith("│")}
    assert set(recipe_names()) <= listed and "…" not in result.output


def test_what_the_machine_refuses_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import tokbench.cli.app
    from tokbench.cli import main

    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(tokbench.cli.app, "app", lambda: (tmp_path / "file" / "inside").mkdir())
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines() == [f"tokbench: {tmp_path / 'file' / 'inside'}: Not a directory"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_stopped_training_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int) -> None:
    """A scheduler that preempts a run has a success, a person who stops it has none; neither has a tokenizer."""
    from tokbench.training.loop import _Run

    step = _Run._train_step

    def sent(self: _Run, batches: list[Any]) -> Any:
        if self.step == 2:
            os.kill(os.getpid(), number)
        return step(self, batches)

    monkeypatch.setattr(_Run, "_train_step", sent)
    arguments = ["train", "demo", *SETS, "--out", str(tmp_path / "run"), "--cpu"]
    result = run.invoke(app, arguments, catch_exceptions=False, env={"COLUMNS": "200"})
    assert result.exit_code == code
    name = signal.Signals(number).name
    assert f"stopped by {name} at step 3 of 12; checkpoint saved, continue with --resume" in result.output
    assert "next: tokbench" not in result.output
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["step-00000003"]
    assert not (tmp_path / "run" / "tokenizer").exists() and not (tmp_path / "run" / "training.json").exists()


def test_pictures_that_cannot_be_read_are_named_once(tmp_path: Path) -> None:
    from tokbench.config.loading import load_recipe
    from tokbench.config.model import TokenizerConfig
    from tokbench.config.recipe import TokenizerRecipe
    from tokbench.models import Tokenizer
    from tokbench.reconstruction import reconstruct_files

    (tmp_path / "empty.png").touch()
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    recipe = load_recipe("demo", TINY)
    assert isinstance(recipe, TokenizerRecipe)
    config = TokenizerConfig(image_size=recipe.data.image_size, model=recipe.model, quantizer=recipe.quantizer)
    tokenizer = Tokenizer(config).eval()
    rows, skipped = reconstruct_files(tokenizer, [tmp_path], tmp_path / "out")
    assert [row.name for row in rows] == ["dot.png"]
    assert [reason.count("empty.png") for _, reason in skipped] == [1]
    with pytest.raises(TokbenchError) as error:
        reconstruct_files(tokenizer, [tmp_path / "empty.png"], tmp_path / "out")
    assert str(error.value).count("empty.png") == 1


def test_a_size_that_makes_no_whole_codes_is_refused() -> None:
    from tokbench.config.loading import load_recipe
    from tokbench.config.recipe import TokenizerRecipe
    from tokbench.models.tokenizer import Tokenizer, chosen_size

    recipe = load_recipe("demo", TINY)
    assert isinstance(recipe, TokenizerRecipe)
    tokenizer = Tokenizer(recipe.tokenizer)  # of 16 pixels, f2
    assert chosen_size(tokenizer, None, "--size") == 16 and chosen_size(tokenizer, (24, 20), "--size") == (24, 20)
    for size, said in ((15, "15"), (0, "0"), ((16, 15), "16x15"), ((4, 16, 16), "4x16x16")):
        with pytest.raises(TokbenchError, match=f"^--size {said} is "):
            chosen_size(tokenizer, size, "--size")


@pytest.mark.parametrize("command", [["reconstruct", "tokenizer", "clip.mp4"], ["generate", "generator"]])
def test_a_file_name_as_the_folder_of_images_is_refused(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run.invoke(app, [*command, "--out", "made.mp4"], env={"COLUMNS": "200"})
    assert result.exit_code == 2 and not list(tmp_path.iterdir())
    (line,) = result.output.splitlines()
    assert "--out" in line and "made.mp4 would be a folder of that name" in line and "such as made" in line


def test_a_name_cut_short_and_a_choice_that_is_none_are_one_plain_line() -> None:
    result = run.invoke(app, ["plot", "runs"], env={"COLUMNS": "400"})
    (line,) = result.output.splitlines()
    assert result.exit_code == 2 and "'runs' is not one of 'rate-distortion'" in line and "Value error" not in line
    assert did_you_mean("rfvd_tf1", ["psnr", "rfvd_tf1_biased"]) == " (did you mean 'rfvd_tf1_biased'?)"
    assert did_you_mean("rfvd", ["rfid", "rfvd_b", "rfvd_a"]) == " (did you mean 'rfvd_a' or 'rfvd_b'?)"
    assert did_you_mean("rfdi", ["rfid", "rfvd_a"]) == " (did you mean 'rfid'?)"
    assert did_you_mean("rmse", ["psnr", "depth_rmse"]) == " (did you mean 'depth_rmse'?)"

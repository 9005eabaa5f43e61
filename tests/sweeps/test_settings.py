"""Sweep files: the options as YAML, checked; what is given beside them wins."""

from __future__ import annotations

from pathlib import Path

import pytest
from recipes_tiny import TINY
from typer.testing import CliRunner

from tokbench.cli.app import app
from tokbench.errors import TokbenchError
from tokbench.sweeps.grid import tokenizer_cells
from tokbench.sweeps.plan import Plan
from tokbench.sweeps.settings import SweepSettings, load_sweep


def written(folder: Path, text: str) -> str:
    (folder / "sweep.yaml").write_text(text)
    return str(folder / "sweep.yaml")


def test_a_file_says_what_the_options_say(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        """
quantizer: [rq, lfq]
codebook_size: [16, 2^6]
depth: 2
seed: 0
set: {training.steps: 12, training.warmup_steps: 2, model: {channels: 8}}
vary: {training.learning_rate: [1e-4, 1.0e-3]}
generator: ar
set_generator: {ar:generator.depth_layers: 2}
jobs: 3
""",
    )
    found = load_sweep(file, {})
    typed = SweepSettings(
        quantizer=["rq", "lfq"], codebook_size=[16, 64], depth=[2], seed=[0],
        set=["training.steps=12", "training.warmup_steps=2", 'model={"channels": 8}'],
        vary=["training.learning_rate=0.0001,0.001"],
        generator=["ar"], set_generator=["ar:generator.depth_layers=2"], jobs=3,
    )  # fmt: skip
    assert found == typed
    plan = Plan.make(found)
    assert len(plan.tokenizers) == 2 * 2 * 2 == len(plan.generators)
    assert {cell.recipe.training.steps for cell in plan.tokenizers} == {12}
    assert {cell.recipe.training.learning_rate for cell in plan.tokenizers} == {1e-4, 1e-3}
    # Each tokenizer comes before its own generators.
    order = [cell.key for cell in plan.cells]
    assert all(order.index(cell.tokenizer.key) < order.index(cell.key) for cell in plan.generators)


def test_every_key_of_a_file_is_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[SweepSettings] = []
    monkeypatch.setattr(Plan, "make", lambda settings, again, cpu: given.append(settings))
    monkeypatch.setattr("tokbench.sweeps.plan.print_plan", lambda plan, out: None)
    values = {
        "quantizer": "rq,vq", "codebook_size": "2^4", "encode_passes": "2", "set": "seed=1", "cluster": "local",
        "time": "1:30:00", "out": str(tmp_path),
    }  # fmt: skip
    words = [word for name, value in values.items() for word in (f"--{name.replace('_', '-')}", value)]
    run = CliRunner()
    result = run.invoke(app, ["sweep", written(tmp_path, "jobs: 3"), *words, "-d", "2", "-d", "4,8", "--dry-run"])
    assert result.exit_code == 0, result.output
    (settings,) = given
    assert settings == SweepSettings.model_validate(
        {**values, "set": ["seed=1"], "depth": [2, 4, 8], "jobs": 3, "codebook_size": [16]}
    )
    page = run.invoke(app, ["sweep", "--help"], env={"COLUMNS": "200"}).output
    assert all(f"--{name.replace('_', '-')} " in page for name in SweepSettings.model_fields)
    refused = run.invoke(app, ["sweep", "--jobs", "0"])
    assert str(refused.exception).startswith("--jobs: input should be greater than 0")


def test_the_command_line_wins(tmp_path: Path) -> None:
    file = written(tmp_path, "quantizer: [rq]\njobs: 3\n")
    found = load_sweep(file, {"quantizer": ["vq"]})
    assert found.quantizer == ["vq"] and found.jobs == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("quantizr: vq", "quantizr: unknown key (did you mean 'quantizer'?)"),
        ("codebook_size: [many]", "codebook_size: 'many' is not a whole number such as 1024 or 2^10"),
        ("depth: -2", "depth: -2 cannot be negative"),
        ("depth: 2.5", "2.5 is not a whole number"),
        ("image_size: 0", ": image_size: input should be greater than or equal to 1, got 0"),
        ("jobs: 0", "jobs: input should be greater than 0, got 0"),
        ("cluster: slrm", "cluster: input should be 'slurm' or 'local', got 'slrm'"),
        ("- vq", "expected keys and values"),
        ("depth: 1\ndepth: 2", "'depth' is given twice"),
    ],
)
def test_mistakes_name_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(TokbenchError) as error:
        load_sweep(file, {})
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"{file}: ") and said in line


def test_the_example_is_a_sweep_that_can_run(tmp_path: Path) -> None:
    settings = load_sweep("demo-generation", {})
    plan = Plan.make(settings)
    assert not plan.impossible and len(plan.generators) == 2 * len(plan.tokenizers) == 16
    with pytest.raises(TokbenchError, match="did you mean 'demo-generation'"):
        load_sweep("demo-generations", {})


def test_encoders_keep_what_they_share() -> None:
    settings = SweepSettings(quantizer=["vq"], encoder=["vqgan", "magvit2", "vit"], set=TINY)
    models = [cell.recipe.model for cell in tokenizer_cells(settings)[0]]
    assert [model.architecture for model in models] == ["vqgan", "magvit2", "vit"]
    assert {model.downsampling for model in models} == {2}
    assert models[1].model_dump()["channels"] == 8
    with pytest.raises(TokbenchError, match="did you mean 'vqgan'"):
        tokenizer_cells(SweepSettings(encoder=["vqgam"]))
    with pytest.raises(TokbenchError, match="model.widht: no setting of vit .did you mean 'width'"):
        tokenizer_cells(SweepSettings(encoder=["vit"], set=["model.widht=3"]))
    # The demo's initialization is one of levels: of the same name, and not the same setting.
    [cell] = tokenizer_cells(SweepSettings(encoder=["titok"], downsampling=[8]))[0]
    assert (cell.recipe.model.patch_size, cell.recipe.model.initialization) == (8, "local")
    [cell] = tokenizer_cells(SweepSettings(recipe="vit-vqgan", encoder=["titok"]))[0]
    assert cell.recipe.model.factors == (8, 8) and cell.recipe.model.grid(256) == (32,)

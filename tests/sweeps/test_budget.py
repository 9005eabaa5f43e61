"""--budget: the steps that the same images, FLOPs or seconds pay for, and what is said where they pay for no run."""

from __future__ import annotations

from pathlib import Path

import pytest
from sweeps_tiny import grid

from tokbench.config.recipe import TokenizerRecipe
from tokbench.errors import TokbenchError
from tokbench.results.store import Store
from tokbench.sweeps import budget as budgets
from tokbench.sweeps.grid import tokenizer_cells
from tokbench.sweeps.plan import Plan
from tokbench.sweeps.run import run_sweep
from tokbench.sweeps.settings import load_sweep
from tokbench.training import loop
from tokbench.training.flops import train_step_flops


def test_equal_flops_are_equal_flops_of_the_records(tmp_path: Path) -> None:
    (narrow,), _ = tokenizer_cells(grid("vq"))
    amount = 12 * narrow.recipe.training.batch_size * train_step_flops(narrow.recipe)
    wanted = grid("vq", out=tmp_path, vary=["model.channels=8,16"], budget=f"flops={amount:.6g}", set=["loss.l2=2"])
    cells, _ = tokenizer_cells(wanted)
    assert cells[0].recipe.training.steps == 12 and 3 <= cells[1].recipe.training.steps < 6
    assert run_sweep(wanted) == 0
    spent = [record.training.flops for record in Store(tmp_path / "runs.jsonl").read()]
    assert (
        None not in spent and spent[0] == pytest.approx(amount, rel=0.1) and spent[1] == pytest.approx(amount, rel=0.2)
    )
    table = (tmp_path / "table.md").read_text()
    for heading in (
        "train (TFLOP)",
        "train (s)",
        "training memory (MiB)",
        "encode (ms/image)",
        "decode (ms/image)",
    ):
        assert heading in table


def test_images_and_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = grid("vq", vary=["training.batch_size=8,16"], budget="images=160")
    assert [cell.recipe.training.steps for cell in tokenizer_cells(batches)[0]] == [20, 10]
    monkeypatch.setattr(budgets, "timed", lambda recipe, cpu: 0.5)
    timed = grid("vq", out=tmp_path, seed=[0, 1], budget="seconds=10")
    cells, _ = tokenizer_cells(timed)
    assert {cell.recipe.training.steps for cell in cells} == {20}
    monkeypatch.setattr(budgets, "timed", None)  # kept: the same command means the same cells
    assert [cell.key for cell in tokenizer_cells(timed)[0]] == [cell.key for cell in cells]


def test_seconds_are_of_the_device_that_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = budgets.describe()
    monkeypatch.setattr(budgets, "describe", lambda: {**here, "gpus": ["a GPU"]})
    monkeypatch.setattr(budgets, "timed", lambda recipe, cpu: 0.5 if cpu else 0.25)
    settings = grid("vq", out=tmp_path, budget="seconds=10")
    for cpu, steps in [(False, 40), (True, 20), (False, 40)]:
        assert [cell.recipe.training.steps for cell in Plan.make(settings, cpu=cpu).tokenizers] == [steps]


def test_timing_stays_on_the_cpu_where_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    class Made(Exception):
        """Before anything trains."""

    def made(recipe: TokenizerRecipe, cpu: bool = False) -> None:
        raise Made(cpu)

    monkeypatch.setattr(loop, "make_accelerator", made)
    (cell,), _ = tokenizer_cells(grid("vq"))
    for cpu in (True, False):
        with pytest.raises(Made, match=str(cpu)):
            budgets.timed(cell.recipe, cpu)


def test_a_moment_of_training_is_timed() -> None:
    assert 0 < budgets.timed(tokenizer_cells(grid("vq"))[0][0].recipe) < 60


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("image=3", "expected images=N, flops=N or seconds=N (did you mean 'images'?)"),
        ("flops=much", "'much' is not a number above 0, such as flops=1e6"),
        ("flops=-1", "'-1' is not a number above 0"),
        ("seconds=inf", "'inf' is not a number above 0"),
        ("images=3", "--budget images=3 pays for 0 steps of 8 images"),
        ("images=16", "--budget images=16 pays for 2 steps of 8 images: warmup_steps 2 leave nothing of steps 2"),
    ],
)
def test_mistakes_are_one_line(given: str, said: str) -> None:
    with pytest.raises(TokbenchError) as error:
        tokenizer_cells(grid("vq", budget=given))
    assert said in str(error.value) and "\n" not in str(error.value)


def test_seconds_are_of_one_machine() -> None:
    with pytest.raises(TokbenchError, match="seconds are of one cell at a time on this machine"):
        load_sweep(None, {"budget": "seconds=60", "jobs": 2})

"""--tune: the same number of trials for every tokenizer, on images of their own, then the best with other seeds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sweeps_tiny import comparable, grid

from tokbench.errors import TokbenchError
from tokbench.results.store import Store
from tokbench.sweeps import stages
from tokbench.sweeps.grid import tokenizer_cells
from tokbench.sweeps.pruning import Pruned, TrialRef, open_study
from tokbench.sweeps.run import run_sweep
from tokbench.sweeps.settings import SweepSettings
from tokbench.sweeps.study import Study
from tokbench.sweeps.tune import FOLDER, _spaces, tuned_plan

TRIALS, QUANTIZERS = 3, ("simvq", "vqp:VectorQuantize")


def tuning(out: Path, *quantizers: str, **options: Any) -> SweepSettings:
    """Trials of a second, the second of which is given up."""
    more = ["training.steps=8", "evaluation.metrics=[psnr,usage]", *options.pop("set", ())]
    return grid(*quantizers, out=out, **{"tune": TRIALS, "validation": "0.2", "set": more, **options})


def trials(out: Path) -> list[dict[str, Any]]:
    return comparable(out / FOLDER)


@pytest.fixture(scope="module", autouse=True)
def the_second_is_given_up() -> Iterator[None]:
    optuna = pytest.importorskip("optuna")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optuna.trial.Trial, "should_prune", lambda trial: trial.number == 1)
        yield


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed one, of a quantizer with open settings and one without."""
    out = tmp_path_factory.mktemp("tuned")
    assert run_sweep(tuning(out, *QUANTIZERS)) == 0
    return out


def test_trials_are_of_other_images_and_the_best_of_fresh_seeds(tuned: Path) -> None:
    found, records = trials(tuned), Store(tuned / "runs.jsonl").read()
    done = [r for r in found if r["error"] is None]
    assert [(r["data"]["split"], r["seed"]) for r in done] == [("validation", 1000)] * 2
    (given_up,) = (r["error"] for r in found if r["error"] is not None)
    assert given_up.startswith("pruned at step 2 of 8: psnr ")
    (final,) = (r for r in records if r.training.get("tuning", {}).get("trials"))
    (default,) = (r for r in records if r.quantizer.name == "simvq" and "tuning" not in r.training)
    assert final.seed == 0 and final.data is not None and final.data.split == "eval"
    told = final.training["tuning"]
    assert told["validation_value"] == max(r["metrics"]["psnr"]["value"] for r in done)
    assert (told["trials"], told["pruned"], told["failed"], told["settings"]) == (TRIALS, 1, 0, 3)
    assert told["default"] == default.metrics["psnr"].value
    assert {name: final.quantizer[name] for name in told["chosen"]} == told["chosen"]
    table = (tuned / "table.md").read_text()
    for heading in ("tuning trials", "chosen settings", "gain over the default"):
        assert heading in table
    assert "Unequal tuning: 0 trials for vqp:VectorQuantize K=16; 3 trials for simvq K=16." in table
    assert [cell.key for cell in tuned_plan(tuning(tuned, *QUANTIZERS)).cells if "simvq" in cell.label] == [final.cell]


def test_again_trains_nothing(tuned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, first = comparable(tuned), trials(tuned)
    monkeypatch.setattr(stages, "train", None)
    assert run_sweep(tuning(tuned, *QUANTIZERS)) == 0
    assert comparable(tuned) == before and trials(tuned) == first


def test_killed_in_a_trial_it_goes_on_to_the_same(tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, calls = stages.train, iter(range(100))

    def interrupted(recipe: Any, *arguments: Any, **named: Any) -> Any:
        if next(calls) == 2:  # the last trial half-way, its study's trial still open
            original(recipe, *arguments, **named, stop_at=5)
            raise KeyboardInterrupt
        return original(recipe, *arguments, **named)

    monkeypatch.setattr(stages, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(tuning(tmp_path, *QUANTIZERS))
    with (tmp_path / FOLDER / "studies.journal").open("ab") as journal:
        journal.write(b'{"op_code": 4, "half a li')
    assert run_sweep(tuning(tmp_path, *QUANTIZERS)) == 0
    assert trials(tmp_path) == trials(tuned) and comparable(tmp_path) == comparable(tuned)


def test_studies_in_one_folder_do_not_meet_and_a_larger_budget_is_the_same_study(tmp_path: Path) -> None:
    def study(settings: SweepSettings) -> Study:
        (cell,), _ = tokenizer_cells(settings)
        search, spaces = _spaces([cell], settings)
        return Study(cell, spaces[cell.experiment], search, tmp_path / "journal")

    one, more = study(tuning(tmp_path, "simvq")), study(tuning(tmp_path, "simvq", tune=9))
    other = study(tuning(tmp_path, "simvq", set=["training.steps=7"]))
    first = [each.ask(0) for each in (one, more, other)]
    assert None not in first and len({cell.key for cell in first if cell}) == 2
    assert one.name == more.name != other.name
    second = one.ask(1)
    assert second is not None and second.key == study(tuning(tmp_path, "simvq")).ask(1).key  # type: ignore[union-attr]
    one.tell(0, None)
    assert more.ask(0) is None and other.ask(0) is not None


def test_what_is_set_of_one_quantizer_is_not_open_of_it(tmp_path: Path) -> None:
    def open_of(*given: str) -> list[set[str]]:
        settings = tuning(tmp_path, "vq", "simvq", tune=9, set=given)
        return [
            {s.name for s in space.settings} for space in _spaces(tokenizer_cells(settings)[0], settings)[1].values()
        ]

    vq, simvq = open_of()
    assert "commitment_weight" in vq & simvq
    assert open_of("vq:quantizer.commitment_weight=0.5") == [vq - {"commitment_weight"}, simvq]
    assert open_of("quantizer.commitment_weight=0.5") == [vq - {"commitment_weight"}, simvq - {"commitment_weight"}]


@pytest.mark.parametrize(
    ("quantizers", "options", "said"),
    [
        (["lfq"], {"tune": 3}, r"--tune 3 is fewer trials than settings: lfq K=16 has 5 open settings"),
        (["vqp:VectorQuantize"], {}, r"nothing is open of vqp:VectorQuantize"),
        (["fsq"], {"set": ["quantizer.bound=tanh"]}, r"nothing is open of fsq"),
        (["fsq"], {"set": ["data.validation=0.1"]}, r"leave data.validation out"),
        (["fsq"], {"validation": "folder:/not/there"}, r"/not/there"),
        (["fsq"], {"validation": "0.95"}, r"data.validation 0.95: photos: .* none would be left"),
        (["fsq"], {"tune_metric": "psnrr"}, r"did you mean 'psnr'"),
        (["fsq"], {"tune_metric": "gfid"}, r"--tune-metric gfid: "),
        (["fsq"], {"tune_metric": "ms_ssim"}, r"--tune-metric ms_ssim: it would have no value: .*16"),
    ],
)
def test_what_cannot_be_tuned_is_one_line(
    tmp_path: Path, quantizers: list[str], options: dict[str, Any], said: str
) -> None:
    settings = tuning(tmp_path, *quantizers, **options)
    with pytest.raises(TokbenchError, match=said) as error:
        run_sweep(settings)
    assert "\n" not in str(error.value) and not (tmp_path / "runs.jsonl").exists()


def test_a_trial_without_a_value_is_given_up_where_less_is_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not taken for one that reached 0."""
    study = open_study(tmp_path / "journal", "one", False, "median")
    nothing: Any = SimpleNamespace(metrics={"x": SimpleNamespace(value=None)}, result=lambda: None)
    monkeypatch.setattr("tokbench.data.open_split", lambda *_: None)
    monkeypatch.setattr("tokbench.metrics.evaluate_tokenizer", lambda *_, **__: nothing)
    recipe = tokenizer_cells(tuning(tmp_path, "vq"))[0][0].recipe
    look = TrialRef(str(tmp_path / "journal"), "one", study.ask().number, "x", False, "median").look(recipe)
    for _ in range(2):  # and the same where it was interrupted
        with pytest.raises(Pruned, match="pruned at step 2 of 8: x nan"):
            look(2, nothing)

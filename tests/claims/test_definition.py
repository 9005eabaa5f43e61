"""Recipe sets of claims: what ships can be planned, and a mistake names file and key."""

from __future__ import annotations

from pathlib import Path

import pytest
from claims_tiny import TEXT, tiny

from tokbench.claims.definition import SCALES, claims, load_claim, load_claims
from tokbench.claims.evidence import RequestedCell
from tokbench.claims.plan import plan_claim
from tokbench.claims.results import check_of
from tokbench.config.loading import recipe_names
from tokbench.errors import TokbenchError
from tokbench.sweeps import budget as budgets

CHECKS = Path(__file__).resolve().parents[2] / "tokbench" / "claims" / "checks"


def test_every_claim_has_a_check_and_every_check_a_claim() -> None:
    files = {path.stem.replace("_", "-") for path in CHECKS.glob("*.py") if path.stem != "__init__"}
    assert files == set(claims())
    for name in claims():
        check = check_of(name)
        assert all(callable(getattr(check, what)) for what in ("judge", "panels", "table"))
    orders = [claim.order for claim in load_claims()]
    assert orders == sorted(set(orders)), "each has a place of its own"


def test_claims_are_no_recipes_but_their_bases_are() -> None:
    names = recipe_names()
    assert "claims/base/cpu" in names and not {f"claims/{name}" for name in claims()} & names.keys()


# The plan of predicts-gfid, the longest of them, is looked at in test_predicts_gfid.
@pytest.mark.parametrize("name", sorted({*claims()} - {"predicts-gfid"}))
def test_what_ships_can_run_at_cpu_and_gpu_scale(name: str, tmp_path: Path) -> None:
    claim = load_claim(name)
    assert set(claim.scales) == set(SCALES)
    for scale in ("cpu", "gpu"):
        # Classes are asked of pictures that may not be at hand here; everything else is checked.
        found = plan_claim(claim, scale, tmp_path, seeds=[0], costing=True)  # type: ignore[arg-type]
        assert not found.asked.impossible and found.asked.cells


def test_claims_share_their_cells(tmp_path: Path) -> None:
    cells = {
        name: set(plan_claim(load_claim(name), "cpu", tmp_path, seeds=[0]).asked.cells)
        for name in ("depth-or-codebook", "iso-rate")
    }
    assert len(cells["depth-or-codebook"] & cells["iso-rate"]) >= 3  # VQ at 10, 12 and 16 bits


def test_data_and_seeds_are_the_commands(tmp_path: Path) -> None:
    claim = load_claim(str(tiny(tmp_path, "mine", {"one": {"quantizer": "vq", "codebook_size": 16}})))
    found = plan_claim(claim, "cpu", tmp_path, data="folder:train=a,eval=b", seeds=[3, 4])
    assert [cell.recipe.seed for cell in found.plan.cells] == [3, 4]
    assert {cell.recipe.data.source for cell in found.plan.cells} == {"folder:train=a,eval=b"}
    assert found.asked.data == "folder:train=a,eval=b"
    (first, _) = found.asked.parts["one"]
    assert first.name.startswith("one: vq K=16") and first.name.count("seed=3") == 1
    assert RequestedCell(cell="x", label="one: vq", seed=3).name == "one: vq seed=3"


def test_a_budget_of_seconds_is_of_the_device_that_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = budgets.describe()
    monkeypatch.setattr(budgets, "describe", lambda: {**here, "gpus": ["a GPU"]})
    monkeypatch.setattr(budgets, "timed", lambda recipe, cpu: 0.5 if cpu else 0.25)
    sweep = {"quantizer": "vq", "codebook_size": 16, "budget": "seconds=10"}
    claim = load_claim(str(tiny(tmp_path, "mine", {"one": sweep})))
    for cpu, steps in [(False, 40), (True, 20)]:
        (cell,) = plan_claim(claim, "cpu", tmp_path, seeds=[0], cpu=cpu).plan.cells
        assert cell.recipe.training.steps == steps


def test_what_every_sweep_says_is_said_once(tmp_path: Path) -> None:
    own = {"quantizer": "lfq", "set": {"training.steps": 3}}
    sweeps = {"one": own, "two": [{}, {"codebook_size": 64}]}
    every = {"quantizer": "vq", "codebook_size": 16, "set": {"training.steps": 2, "training.batch_size": 4}}
    path = tiny(tmp_path, "mine", {}, scales={"cpu": {"every": every, "sweeps": sweeps}})
    found = load_claim(str(path)).at("cpu").sweeps
    (one,), (two, three) = found["one"], found["two"]
    assert one.quantizer == ["lfq"] and sorted(one.set) == ["training.batch_size=4", "training.steps=3"]
    assert two.quantizer == ["vq"] and two.codebook_size == [16] and three.codebook_size == [64]
    assert sorted(two.set) == ["training.batch_size=4", "training.steps=2"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"every": {"quantizr": "vq"}, "sweeps": {"one": {}}}, "unknown key (did you mean 'quantizer'?)"),
        ({"every": {"seed": 1}, "sweeps": {"one": {}}}, "one: seed is the command's to say"),
        ({"every": {"set": {"a": 1}}, "sweeps": {"one": {"set": ["b=1"]}}}, "every.set is a mapping"),
        ({"every": ["vq"], "sweeps": {"one": {}}}, "every"),
        ({"every": {"quantizer": "vq"}}, "every: is said in each of the sweeps, and there are none"),
        ({"sweeps": {"one": {"quantizr": "vq"}}}, "unknown key (did you mean 'quantizer'?)"),
        ({"sweeps": {"one": {"seed": 1}}}, "one: seed is the command's to say"),
        ({"sweeps": {"one": [{"jobs": 2}]}}, "one: jobs is the command's to say"),
        ({"sweps": {}}, "unknown key (did you mean 'sweeps'?)"),
        ({"bench": {"speed": {"batch_size": [0.5]}}}, "0.5 is not a whole number"),
    ],
)
def test_mistakes_name_file_and_key(tmp_path: Path, change: dict[str, object], said: str) -> None:
    path = tiny(tmp_path, "mine", {}, **{**TEXT, "scales": {"cpu": change}})
    with pytest.raises(TokbenchError) as error:
        load_claim(str(path))
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"{path}: ") and said in line


def test_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(TokbenchError, match="did you mean 'iso-rate'"):
        load_claim("iso-rates")
    claim = load_claim(str(tiny(tmp_path, "mine", {"one": {"quantizer": "vq"}})))
    with pytest.raises(TokbenchError, match="no scale paper"):
        plan_claim(claim, "paper", tmp_path)
    with pytest.raises(TokbenchError, match="claim mine has no check"):
        check_of("mine")


def test_nothing_possible_is_said(tmp_path: Path) -> None:
    claim = load_claim(str(tiny(tmp_path, "mine", {"one": {"quantizer": "lfq", "codebook_size": 17}})))
    with pytest.raises(TokbenchError, match="nothing of it is possible.*power of two"):
        plan_claim(claim, "cpu", tmp_path)

"""The examples run as they stand: the scripts and the notebook's cells short, the notebook itself whole where slow."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from recipes_tiny import TINY

import tokbench
from tokbench.results.checking import check

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOK = EXAMPLES / "tour.ipynb"
SHORT = {"compare": ["photos", "8"], "own_quantizer": ["3"], "evaluate_any_model": ["photos", "4"]}
RECORDS = {"compare": [(2, [])], "own_quantizer": [], "evaluate_any_model": [(1, [])]}


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of its own, and sweeps of 16x16 images."""
    from tokbench.api import sweep

    small = {key: yaml.safe_load(value) for key, value in (setting.split("=") for setting in TINY)}

    def shrunk(*, set: dict[str, Any], **options: Any) -> Any:
        return sweep(set={**small, **set}, **options)

    monkeypatch.setattr(tokbench, "sweep", shrunk, raising=False)
    monkeypatch.chdir(tmp_path)


def test_there_is_a_test_of_each() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(SHORT)


@pytest.mark.parametrize("name", SHORT)
def test_a_script_runs(
    name: str, tiny: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *SHORT[name]])
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    assert " bits" in capsys.readouterr().out
    found = [check(file) for file in Path.cwd().rglob("runs.jsonl")]
    assert [(each.records, each.problems) for each in found] == RECORDS[name]


def test_the_notebooks_cells_run(tiny: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKBENCH_STEPS", "8")
    notebook = json.loads(NOTEBOOK.read_text())
    found: dict[str, Any] = {"__name__": "__main__"}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
            exec("".join(cell["source"]), found)
    assert found["row"].size == (136 * 5, 128)


@pytest.mark.slow
def test_the_notebook_runs_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("TOKBENCH_STEPS", "40")
    where = {"metadata": {"path": str(tmp_path)}}
    made = nbclient.NotebookClient(nbformat.read(NOTEBOOK, 4), timeout=300, resources=where).execute()
    assert any("image/png" in output.get("data", {}) for cell in made.cells for output in cell.get("outputs", ()))

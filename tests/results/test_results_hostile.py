"""Records, logs and names made to harm whoever looks at them: numbers without end, formulas, mathematics, pipes."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from results_synthetic import record

from tokbench.errors import TokbenchError
from tokbench.results.artifacts import artifact_text
from tokbench.results.compare import differences, facts
from tokbench.results.figures import draw, save
from tokbench.results.report import build
from tokbench.results.select import by_id, where
from tokbench.results.store import parse
from tokbench.results.table import comparison, to_csv, to_latex, to_markdown

HUGE = 10**400


FORMULAS = ("=1+1", "+1", "-x", "@SUM(A1)", "\t=1", "\r=1", " =1", "\uff1d1", "\uff0b1", "\u22121")


@pytest.mark.parametrize("name", FORMULAS)
def test_a_cell_that_begins_like_a_formula_is_quoted(name: str) -> None:
    text = to_csv(comparison([record(name)], columns=["quantizer", "name", "psnr"]))
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["name"][0] == row["quantizer"][0] == "'" and "\t" not in text and "\r" not in text
    assert float(row["psnr"]) > 0


def test_numbers_in_a_sheet_stay_numbers() -> None:
    values = {"psnr": {"value": -1.5, "n": 96, "version": "tokbench-v1/1", "label": "PSNR", "direction": "higher"}}
    text = to_csv(comparison([record(metrics=values)], columns=["psnr", "K"]))
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["psnr"] == "-1.5" and row["K"] == "256"


@pytest.mark.parametrize("name", ["[1pt]x", "*x", " [x"])
def test_a_row_of_latex_gives_the_row_before_no_option(name: str) -> None:
    lines = to_latex(comparison([record("vq"), record(name)])).splitlines()
    assert not any(line.lstrip().startswith(("[", "*")) for line in lines)


def test_markdown_takes_names_for_text() -> None:
    text = to_markdown(comparison([record("_a_ ~~b~~ $x$ <i>|`c`&lt; snake_case")]))
    assert r"\_a\_ \~\~b\~\~ \$x\$ \<i\>\|\`c\`\&lt; snake_case" in text


def test_dollars_and_control_codes_in_a_figure_are_letters(tmp_path: Path) -> None:
    rows = [record("$\\frac{\x00", size) for size in (64, 256)]
    path = tmp_path / "figure.svg"
    save(draw("rate-distortion", rows, tmp_path), path)  # not mathematics, which this would not be
    assert "\x00" not in path.read_text(encoding="utf-8")


def test_numbers_of_hundreds_of_digits_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(
        json.dumps({"step": 1, "loss": 2.0, "big": HUGE}) + "\n" + json.dumps({"step": HUGE, "loss": 1}) + "\n"
        + json.dumps({"step": 2, "loss": 1.0}) + "\n"
    )  # fmt: skip
    (tmp_path / "counts.json").write_text(json.dumps({"counts": [[HUGE, 1]]}))
    (tmp_path / "deep.json").write_text("[" * 100_000)
    recipe: dict[str, Any] = {"x": HUGE, "deep": {"y": HUGE + 1}}
    lines = [
        record("vq", recipe=recipe, artifacts={"log": "log.jsonl", "histogram": "counts.json"}, seed=1),
        record("rq", depth=2, recipe={"x": HUGE * 2}, artifacts={"histogram": "deep.json", "log": "deep.json"}),
    ]
    records = parse(b"\n".join(line.line for line in lines))
    assert len(records) == 2
    first, second = records
    assert facts(first) and differences(first, second)
    assert where(records, ["recipe.x=1"]) == [] and comparison(records, columns=["recipe.x"], sort="recipe.x")
    assert build(records, tmp_path)
    draw("training", records, tmp_path, "loss")
    with pytest.raises(TokbenchError, match="histogram"):
        draw("usage", records, tmp_path)


@pytest.mark.parametrize("kind", ["pipe", "folder", "zero", "loop", "outside", "above", "link", "device"])
def test_an_artifact_that_is_no_file_of_the_folder_is_not_read(tmp_path: Path, kind: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "secret.png").write_bytes(b"secret")
    path = home / "a.png"
    names = {"zero": "a\x00.png", "outside": str(tmp_path / "secret.png"), "above": "../secret.png"}
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind in ("loop", "link", "device"):
        path.symlink_to({"loop": "a.png", "link": "../secret.png", "device": "/dev/zero"}[kind])
    name = names.get(kind, "a.png")
    page = build([record(artifacts={"originals": name, "log": name})], home)
    assert "c2VjcmV0" not in page and "data:image/png" not in page
    assert artifact_text(home, name) is None


def test_of_lines_with_one_id_the_last_counts() -> None:
    twice = [record(id="abcdef123456", name="first"), record(id="abcdef123456", name="second")]
    assert by_id(twice, "abcdef123456").name == by_id(twice, "abc").name == "second-256"
    with pytest.raises(TokbenchError, match="begins 2 ids"):
        by_id([*twice, record(id="abcxyz")], "abc")

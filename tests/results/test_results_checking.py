"""Records for a shared table: the JSON Schema is the decoder's, and check-records names what does not hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

from tokbench.cli.app import app
from tokbench.results.attributes import attribute
from tokbench.results.checking import SCHEMA_FILE, written_schema
from tokbench.results.entries import Entry, Spread
from tokbench.results.record import decode

RESULTS = Path(__file__).parents[2] / "results"
FILES = [path for path in sorted(RESULTS.rglob("*.jsonl")) if path.name in ("runs.jsonl", "records.jsonl")]
LINE = json.loads((RESULTS / "runs.jsonl").read_text().splitlines()[1])  # an RQ


def changed(path: str, value: Any) -> dict[str, Any]:
    """The line with one value changed, or left out where it is Ellipsis."""
    line = json.loads(json.dumps(LINE))
    *way, leaf = path.split(".")
    place = line
    for part in way:
        place = place[part]
    if value is ...:
        del place[leaf]
    else:
        place[leaf] = value
    return line  # type: ignore[no-any-return]


def test_the_compute_of_days_on_many_gpus_is_a_number_like_others() -> None:
    validator = jsonschema.Draft202012Validator(json.loads(written_schema()))
    line = changed("training.flops", 3 * 10**22)  # as the trainer counts it: a whole number
    validator.validate(line)
    entry = Entry((decode(json.dumps(line).encode()),))
    assert attribute("train_flops").value(entry) == Spread(pytest.approx(3e10), None)
    line = changed("training.flops", 10**400)
    assert not validator.is_valid(line)
    with pytest.raises(ValueError, match="flops: is out of range"):
        decode(json.dumps(line).encode())


def test_the_schema_is_current_and_our_records_hold() -> None:
    assert SCHEMA_FILE.read_text() == written_schema(), "python -m tokbench.results.checking writes it"
    validator = jsonschema.Draft202012Validator(json.loads(written_schema()))
    validator.check_schema(validator.schema)
    assert len(FILES) > 10
    for file in FILES:
        for line in file.read_text().splitlines()[:3]:
            validator.validate(json.loads(line))
    done = CliRunner().invoke(app, ["check-records", *map(str, FILES)])
    assert done.exit_code == 0 and done.output.count("all hold") == len(FILES), done.output


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("id", ...),
        ("id", 5),
        ("schema_version", 2),
        ("kind", "decoder"),
        ("metrics.psnr.value", "24.7"),
        ("metrics.psnr.n", -1),
        ("metrics.psnr.direction", "up"),
        ("metrics.psnr.version", ...),
        ("rate.tokens", [4]),
        ("rate.bits_per_pixel", -0.5),
        ("quantizer.codebook_size", "256"),
        ("environment.gpus", "none"),
        ("training.seconds", -1),
        ("recipe", []),
        ("data.n", 1e30),
    ],
)
def test_schema_and_decoder_refuse_the_same(path: str, value: Any) -> None:
    line = changed(path, value)
    assert not jsonschema.Draft202012Validator(json.loads(SCHEMA_FILE.read_text())).is_valid(line)
    with pytest.raises(ValueError):
        decode(json.dumps(line).encode())


@pytest.mark.parametrize("path", ["quantizer.new", "metrics.psnr.new", "environment.new", "new", "rate.new"])
def test_schema_and_decoder_keep_what_a_newer_tokbench_says(path: str) -> None:
    line = changed(path, {"any": 1})
    jsonschema.Draft202012Validator(json.loads(SCHEMA_FILE.read_text())).validate(line)
    assert decode(json.dumps(line).encode()).plain() == line


def test_what_does_not_hold_is_named_by_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    wrong = [
        changed("metrics.psnr.direction", "lower") | {"id": "a"},
        changed("metrics.psnr.version", "tokbench-v1/ssim-1") | {"id": "b"},
        changed("git", None) | {"id": "c"},
        changed("source", "published") | {"id": "d"},
        changed("metrics.psnr.n", 0) | {"id": "a"},
    ]
    file.write_text("\n".join(["{", "", *map(json.dumps, wrong), json.dumps(LINE)]) + "\n")
    done = CliRunner().invoke(app, ["check-records", str(tmp_path), "--json"])
    assert done.exit_code == 1
    (found,) = json.loads(done.stdout)
    assert found["records"] == 6 and [number for number, _ in found["problems"]] == [1, 3, 4, 5, 6, 7, 7]
    said = CliRunner().invoke(app, ["check-records", str(tmp_path), "--quiet"]).output
    assert said.count("\n") == 7 and f"{file}, line 7: id: a is that of line 3 too" in said
    assert CliRunner().invoke(app, ["check-records", str(tmp_path / "none")]).exit_code != 0
    file.write_bytes(b"\xff\xfe\n" + json.dumps(LINE).encode() + b"\r\n\n" + b"[1]")
    said = CliRunner().invoke(app, ["check-records", str(file)]).output
    assert "line 1: " in said and "line 4: " in said and "1 record, 2 problems" in said

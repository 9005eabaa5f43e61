"""``runs.jsonl``: mutated lines are used or named with their number; nothing that shows records ever falls over."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from fuzzing import EXAMPLES, altered, damaged, fuzz, survives
from hypothesis import given, settings
from hypothesis import strategies as st

from tokbench.errors import TokbenchError
from tokbench.results.compare import facts
from tokbench.results.figures import draw
from tokbench.results.report import build
from tokbench.results.store import Records, Store
from tokbench.results.table import comparison, to_csv, to_latex, to_markdown
from tokbench.results.terminal import to_terminal


def metric(value: float | None, label: str, **more: Any) -> dict[str, Any]:
    return {"value": value, "n": 96, "version": "tokbench-v1/1", "label": label, "direction": "higher", **more}


def made_up(name: str, depth: int, **changes: Any) -> dict[str, Any]:
    """A record of no run, with everything a record may have."""
    sizes, bits = [256] * depth, 8.0 * depth
    return {
        "id": f"{name}{depth}", "cell": f"cell-{name}", "name": name, "created": "2025-01-01T12:00:00+00:00", "seed": 0,
        "quantizer": {"name": name, "codebook_size": 256, "depth": depth, "levels": [8, 5]},
        "model": {"architecture": "vqgan", "downsampling": 4, "parameters": 512345},
        "data": {"spec": "photos", "split": "eval", "n": 96, "size": 64, "protocol": "tokbench-v1", "skipped": 0},
        "weights": {"which": "ema", "sha256": "ab"},
        "rate": {"tokens": [16, 16, depth], "codebook_sizes": sizes, "bits_per_position": bits,
                 "bits_per_image": 256 * bits, "bits_per_pixel": bits / 16},
        "metrics": {"psnr": metric(21.0 + depth, "PSNR", unit="dB", by_depth=[20.0 + d for d in range(depth)]),
                    "usage": metric(0.9, "usage"), "rfid": metric(None, "rFID", note="no weights")},
        "training": {"steps": 2000, "seconds": 41.0, "batch_size": 32, "data": "photos"},
        "timing": {"seconds": 3.0, "device": "cpu", "precision": "float32", "batch_size": 32},
        "environment": {"python": "3.11", "gpus": []}, "git": {"revision": "0123", "dirty": False},
        "recipe": {"name": name, "seed": 0, "quantizer": {"name": name}},
        "artifacts": {"log": "log.jsonl", "originals": "originals.png"}, **changes,
    }  # fmt: skip


GOOD = [made_up("vq", 1), made_up("rq", 4), made_up("rq", 2, seed=1), made_up("lfq", 1, error="failed")]
GOOD.append(made_up("rq", 3, kind="generator", model={"architecture": "ar", "parameters": 7}))
LINES = [json.dumps(content).encode() for content in GOOD]


@pytest.fixture(scope="module", autouse=True)
def fonts() -> None:
    """Matplotlib looks for fonts once, with the help of a program, and keeps what it found."""
    import matplotlib.font_manager  # noqa: F401


def written(space: Path, lines: list[bytes]) -> Path:
    path = space / "runs.jsonl"
    path.write_bytes(b"\n".join(lines))
    return path


def read(path: Path) -> Records:
    """Every line is used, blank or named."""
    records = Store(path).read()
    for _, reason in records.damaged:
        assert "\n" not in reason and reason.isprintable() and len(reason) < 400, reason
    return records


def show(records: Records, folder: Path) -> None:
    """As the commands do, without what takes long."""
    from rich.console import Console

    table = comparison(records, by_depth=True)
    for text in (to_markdown(table), to_csv(table), to_latex(table)):
        assert text
    Console(file=io.StringIO(), width=100).print(to_terminal(table))
    for record in records:
        facts(record)


@given(data=st.data())
@fuzz
def test_damaged_lines(space: Path, data: st.DataObject) -> None:
    bad = data.draw(damaged(LINES))
    path = written(space, [LINES[1], bad, LINES[2]])
    records = survives(lambda: read(path), space, "runs.jsonl")
    assert len(records) + len(records.damaged) >= 2 or b"\n" in bad
    assert {number for number, _ in records.damaged} <= set(range(2, 3 + bad.count(b"\n")))
    survives(lambda: show(records, space), space)


@given(content=altered(GOOD))
@fuzz
def test_strange_records(space: Path, content: Any) -> None:
    path = written(space, [LINES[0], json.dumps(content).encode(), LINES[2]])
    records = survives(lambda: read(path), space, "runs.jsonl")
    assert len(records) + len(records.damaged) == 3
    survives(lambda: show(records, space), space)
    survives(lambda: comparison(records), space)


@given(content=altered(GOOD))
@settings(fuzz, max_examples=max(4, EXAMPLES // 50))
def test_the_report_and_the_figures(space: Path, content: Any) -> None:
    path = written(space, [*LINES[:3], json.dumps(content).encode()])
    records = survives(lambda: read(path), space, "runs.jsonl")
    page = survives(lambda: build(records, space, damaged=records.damaged), space)
    assert isinstance(page, str) and "<script>alert" not in page
    for kind, metric in (("rate-distortion", "psnr"), ("codebook", "psnr"), ("depth", "psnr")):
        survives(lambda kind=kind, metric=metric: draw(kind, records, space, metric), space)


@pytest.mark.parametrize(
    "change",
    [
        {"rate": {**GOOD[0]["rate"], "tokens": []}},
        {"rate": {**GOOD[0]["rate"], "bits_per_pixel": 0.0}},
        {"metrics": {"psnr": {**GOOD[0]["metrics"]["psnr"], "value": 1e308}}},
        {"metrics": {"psnr": {**GOOD[0]["metrics"]["psnr"], "by_depth": [1.0] * 50}}},
        {"created": "<script>alert(1)</script>", "name": "\x1b[2J", "group": "x" * 10_000},
        {"artifacts": {"tokenizer": "\x00", "log": "/dev/zero", "originals": "../../../etc/passwd"}},
        {"quantizer": {"name": ["rq"], "codebook_size": {"a": 1}}, "seed": 2**63},
    ],
)
def test_values_that_make_no_sense(space: Path, change: dict[str, Any]) -> None:
    path = written(space, [LINES[0], json.dumps({**GOOD[0], **change}).encode()])
    records = survives(lambda: read(path), space)
    survives(lambda: show(records, space), space)
    page = survives(lambda: build(records, space, damaged=records.damaged), space)
    assert isinstance(page, str) and "<script>alert" not in page
    if change.get("artifacts"):
        with pytest.raises(TokbenchError):
            draw("training", records, space, None)


def test_numbers_that_are_none(space: Path) -> None:
    text = LINES[0].replace(b'"value":', b'"value":NaN,"was":', 1)
    records = survives(lambda: read(written(space, [text, LINES[1]])), space)
    assert len(records) + len(records.damaged) == 2
    assert all(math.isfinite(m.value) for r in records for m in r.metrics.values() if m.value is not None)
    survives(lambda: show(records, space), space)

"""Published models and folders on the same images: measured once, beside what was published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fake_hub import command
from typer.testing import CliRunner

from tokbench.cli.app import app
from tokbench.metrics import comparing
from tokbench.pretrained import catalogue
from tokbench.results.published import load
from tokbench.results.store import Store

MEASURED = ("--data", "photos", "--limit", 4, "--metrics", "psnr,ssim", "--cpu")


@pytest.fixture
def published(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``tiny-f2``, whose authors measured a PSNR of 20.79."""
    row = next(record for record in load() if record.name == "LlamaGen f16")
    monkeypatch.setattr(catalogue.Entry, "measured_by_authors", lambda self: row if self.name == "tiny-f2" else None)


def test_measured_once_and_shown_beside_what_was_published(
    published: None, rq_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, figure = tmp_path / "world.json", tmp_path / "world.svg"
    where = ("--results", tmp_path, "--out", table, "--figure", figure)
    tried: list[int] = []
    evaluate = comparing.evaluate_tokenizer

    def short_of_memory(*given: Any, batch_size: int, **options: Any) -> Any:
        tried.append(batch_size)
        if batch_size > 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")
        return evaluate(*given, batch_size=batch_size, **options)

    monkeypatch.setattr(comparing, "evaluate_tokenizer", short_of_memory)
    names = ("tiny-f2", str(rq_folder), "taming-f16-1024")
    result = CliRunner().invoke(app, [str(word) for word in ("compare", *names, *MEASURED, *where, "--batch-size", 4)])
    told = " ".join(result.output.split())
    assert "out of memory; goes on with 2 at a time" in told and tried == [4, 2, 4, 2]
    assert str(result.exception).startswith("not measured: taming-f16-1024: not on the hub: fetch last.ckpt")
    records = Store(tmp_path / "runs.jsonl").read()
    assert [record.name for record in records] == ["tiny-f2", (run := rq_folder.parent.name)]
    assert [record.data.size for record in records if record.data] == [32, 16]  # each one's own

    sections = json.loads(table.read_text())["sections"]
    rows = {row["values"]["name"]: row["values"] for section in sections for row in section["rows"]}
    ours = records[0].metrics["psnr"].value
    assert ours is not None and rows["tiny-f2"]["psnr_published"] == 20.79
    assert rows["tiny-f2"]["psnr_difference"] == pytest.approx(ours - 20.79)
    assert "psnr_published" not in rows[run] and rows[run]["encode_ms"] > 0
    assert "<svg" in figure.read_text()

    again = command("compare", *names[:2], *MEASURED, "--results", tmp_path)
    assert again.count("measured already") == 2 and tried == [4, 2, 4, 2]
    assert len(Store(tmp_path / "runs.jsonl").read()) == 2
    other = command("compare", names[1], *MEASURED, "--results", tmp_path, "--size", 32, "--protocol", "adm")
    assert "32×32" in other and "protocol adm" in other  # other images, other records


def test_folders_of_one_name_are_told_apart() -> None:
    sources = ["runs/a/tokenizer", "runs/b/tokenizer", "old/b/tokenizer", "titok-l-32", "runs/other/"]
    assert comparing.names(sources) == ["a", "runs/b", "old/b", "titok-l-32", "other"]

"""The store loses nothing: interrupted writes, several writers, killed writers, damaged lines."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from results_synthetic import metric, record

from tokbench.errors import TokbenchError
from tokbench.results.store import Store

WRITER = """
import sys
from tokbench.results.record import Record
from tokbench.results.store import Store
store, count = Store(sys.argv[1]), int(sys.argv[3])
for number in range(count):
    row = Record.of(id=f"{sys.argv[2]}-{number}", cell="c", created="", name="n", recipe={"padding": "x" * 20000})
    store.append(row)
    print(f"{sys.argv[2]}-{number}", flush=True)
"""


def writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_what_is_appended_is_read_back_whole(tmp_path: Path) -> None:
    store = Store(tmp_path / "deep" / "runs.jsonl")
    assert list(store.read()) == [] and store.cells() == set() and store.find("x") is None
    rows = [record("vq", 64), record("rq", 256, 4)]
    for row in rows:
        store.append(row)
    assert list(store.read()) == rows
    assert store.read().damaged == []


def test_keys_of_a_newer_tokbench_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    Store(path).append(record().replace(colour={"of": "the sky"}))
    (read,) = Store(path).read()
    assert read.plain()["colour"] == {"of": "the sky"} and read.replace(name="x").plain()["colour"]


@pytest.mark.parametrize("version", [2, -7, 0])
def test_a_record_of_another_schema_is_named_and_not_shown(tmp_path: Path, version: int) -> None:
    path = tmp_path / "runs.jsonl"
    Store(path).append(record("vq"))
    other = json.dumps(record("rq").plain() | {"schema_version": version})
    path.write_text(path.read_text() + other + "\n")
    read = Store(path).read()
    assert [one.quantizer.name for one in read] == ["vq"]
    assert read.damaged == [(2, f"schema_version: a record of version {version}; this tokbench reads version 1")]


@pytest.mark.parametrize("cut", [1, 40, 400])
def test_an_interrupted_write_is_isolated_and_named(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "runs.jsonl"
    store = Store(path)
    store.append(record("vq"))
    store.append(record("rq"))
    whole = path.read_bytes()
    path.write_bytes(whole[: -cut - 1])  # the newline and some of the record never arrived
    assert [r.quantizer.name for r in store.read()] == ["vq"]
    assert [number for number, _ in store.read().damaged] == [2]
    assert "interrupted" in store.read().damaged[0][1]
    store.append(record("lfq"))
    after = store.read()
    assert [r.quantizer.name for r in after] == ["vq", "lfq"]
    assert [number for number, _ in after.damaged] == [2]
    assert path.read_bytes().startswith(whole[: -cut - 1])  # nothing that was there is gone


def test_a_record_that_only_lost_its_newline_is_still_one(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    Store(path).append(record("vq"))
    path.write_bytes(path.read_bytes()[:-1])
    Store(path).append(record("rq"))
    assert [r.quantizer.name for r in Store(path).read()] == ["vq", "rq"]
    assert Store(path).read().damaged == []


def test_damaged_lines_are_named_by_number_and_the_rest_is_used(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    good = record().line
    path.write_bytes(b"\n".join([good, b"{not json", good, b'{"id": 3}', b"\xff\xfe", b"", good]) + b"\n")
    records = Store(path).read()
    assert len(records) == 3
    assert [number for number, _ in records.damaged] == [2, 4, 5]
    assert "cell" in records.damaged[1][1] or "id" in records.damaged[1][1]


def test_numbers_that_are_not_finite_become_missing_with_a_reason(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs.jsonl")
    broken = metric(float("nan"), "PSNR", by_depth=[1.0, float("inf")], stderr=float("nan"))
    store.append(record(metrics={"psnr": broken}))
    psnr = store.read()[0].metrics["psnr"]
    assert psnr.value is None and psnr.by_depth is None and psnr.stderr is None
    assert psnr.note == "the measured value was nan"


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "runs.jsonl")
    store.append(record("vq"))
    before = store.path.read_bytes()
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[: len(data) // 2]))
    with pytest.raises(TokbenchError, match=r"runs\.jsonl.*disk full"):
        store.append(record("rq"))
    assert store.path.read_bytes() == before


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TokbenchError, match="cannot append"):
        Store(tmp_path / "file" / "runs.jsonl").append(record())


def test_only_cells_without_error_are_finished(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs.jsonl")
    store.append(record("vq", cell="a", id="1"))
    store.append(record("vq", cell="a", id="2"))
    store.append(record("rq", cell="b", id="3", error="RuntimeError: no"))
    assert store.cells() == {"a"}
    found = store.find("a")
    assert found is not None and found.id == "2"
    assert store.find("b") is None
    store.append(record("rq", cell="b", id="4"))  # the same Store sees what came later
    assert store.cells() == {"a", "b"}


def test_two_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    both = [writer(path, name, 60) for name in "ab"]
    for process in both:
        process.communicate(timeout=600)
    records = Store(path).read()
    assert records.damaged == []
    assert sorted(r.id for r in records) == sorted(f"{name}-{number}" for name in "ab" for number in range(60))


def test_a_killed_writer_loses_nothing_it_had_reported(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    reported: list[str] = []
    for attempt in range(3):
        process = writer(path, str(attempt), 10_000)
        assert process.stdout is not None
        reported += [process.stdout.readline().strip() for _ in range(random.Random(attempt).randrange(2, 25))]
        process.send_signal(signal.SIGKILL)
        reported += process.communicate(timeout=600)[0].split()
    Store(path).append(record(id="last"))
    records = Store(path).read()
    ids = [r.id for r in records]
    assert set(reported) <= set(ids) and ids[-1] == "last"
    assert len(ids) == len(set(ids))
    assert len(records.damaged) <= 3

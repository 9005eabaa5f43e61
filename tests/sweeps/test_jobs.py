"""Cells in processes of their own: side by side, in order, through crashes and interruptions; and on a cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from sweeps_tiny import comparable, grid

from tokbench.errors import TokbenchError
from tokbench.results.store import Store
from tokbench.sweeps import jobs, worker
from tokbench.sweeps.cell import write_job_spec
from tokbench.sweeps.cluster import make_executor, minutes
from tokbench.sweeps.plan import Plan
from tokbench.sweeps.progress import Progress
from tokbench.sweeps.run import run_sweep
from tokbench.sweeps.settings import SweepSettings
from tokbench.training import loop
from tokbench.training.checkpoint import newest_step


def fake(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Workers that run ``script`` with the folder and the key as arguments, and import nothing of ours."""

    def command(out: Path, key: str, **flags: Any) -> list[str]:
        return [sys.executable, "-S", "-c", script, str(out), key]

    monkeypatch.setattr(worker, "command", command)


def board_of(plan: Plan, out: Path) -> Progress:
    return Progress(plan.cells, out, Console(stderr=True), watch=True)


def run(plan: Plan, out: Path, count: int) -> int:
    return jobs.run_jobs(plan, out, board_of(plan, out), jobs=count, processes=1, again=False, cpu=True)


_DIARY = """
import sys, time, os
out, key = sys.argv[1:]
def note(word):
    with open(f"{out}/diary", "a") as file:
        file.write(f"{word} {key}\\n")
"""


# Each ends when two have begun, or after a minute.
_TOGETHER = """
note("begin")
for _ in range(6000):
    if open(f"{out}/diary").read().count("begin") > 1:
        break
    time.sleep(0.01)
note("end")
"""


def test_a_generator_begins_when_its_tokenizer_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, _DIARY + _TOGETHER)
    plan = Plan.make(grid("rq", "lfq", generator=["ar", "mlm"], out=tmp_path))
    assert run(plan, tmp_path, 2) == 0
    events = (tmp_path / "diary").read_text().split("\n")[:-1]
    assert len(events) == len(set(events)) == 2 * 6
    for cell in plan.generators:
        assert events.index(f"end {cell.tokenizer.key}") < events.index(f"begin {cell.key}")
    running, most = 0, 0
    for event in events:
        running += 1 if event.startswith("begin") else -1
        most = max(most, running)
    assert most == 2


def test_a_process_that_dies_is_recorded_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = Plan.make(grid("rq", "lfq", generator=["ar"], out=tmp_path))
    dies = plan.tokenizers[0].key
    fake(monkeypatch, _DIARY + f"note('begin'); key == {dies!r} and os.kill(os.getpid(), 9)")
    assert run(plan, tmp_path, 1) == 2  # the tokenizer, and its generator that cannot run
    (record,) = Store(tmp_path / "runs.jsonl").read()
    assert record.cell == dies and "SIGKILL" in str(record.error) and "output.txt" in str(record.error)
    assert (tmp_path / "diary").read_text().count("begin") == 3
    assert "not run: its tokenizer failed" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sweep_asks_its_cells_once_and_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    fake(
        monkeypatch,
        _DIARY
        + "import signal\n"
        + "def stop(*_): note('asked'); time.sleep(0.2); note('saved'); os._exit(130)\n"
        + "signal.signal(signal.SIGTERM, stop); note('begin'); time.sleep(600)",
    )
    plan = Plan.make(grid("rq", "lfq", out=tmp_path))
    # A shell's background job begins with SIGINT ignored, and so would this test.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    terminates = signal.getsignal(signal.SIGTERM)

    def interrupt() -> None:
        while not (tmp_path / "diary").exists() or (tmp_path / "diary").read_text().count("begin") < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    threading.Thread(target=interrupt).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            run(plan, tmp_path, 2)
    finally:
        signal.signal(signal.SIGINT, before)
    diary = (tmp_path / "diary").read_text()
    assert diary.count("asked") == diary.count("saved") == 2
    assert not (tmp_path / "runs.jsonl").exists()
    assert signal.getsignal(signal.SIGTERM) is terminates


def test_processes_share_out_gpus_and_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "visible_gpus", lambda: ["2", "5", "6", "7"])
    monkeypatch.setattr(jobs, "available", lambda: 12)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)

    def seen(*arguments: Any) -> list[str | None]:
        return [place.get("CUDA_VISIBLE_DEVICES") for place in jobs.slots(*arguments)]

    assert seen(3, 1, False) == ["2", "5", "6"]
    assert seen(6, 1, False) == ["2", "5", "6", "7", "2", "5"]
    assert seen(2, 2, False) == ["2,5", "6,7"]
    assert seen(2, 1, True) == [None, None]
    assert {place["OMP_NUM_THREADS"] for place in jobs.slots(3, 2, True)} == {"2"}
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert {place["OMP_NUM_THREADS"] for place in jobs.slots(3, 2, True)} == {"1"}
    with pytest.raises(TokbenchError, match="needs 6 GPUs, 4 are visible"):
        jobs.slots(3, 2, False)


@pytest.mark.slow
def test_two_jobs_have_the_records_of_one(tmp_path: Path) -> None:
    """Real workers. One thread each, as here: the number of threads decides the last bits."""
    run_sweep(grid("rq", "lfq", out=tmp_path / "one"))
    assert run_sweep(grid("rq", "lfq", out=tmp_path / "two", jobs=2)) == 0
    assert comparable(tmp_path / "one") == comparable(tmp_path / "two")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


# Cluster


def test_the_local_executor_runs_a_chain(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    assert run_sweep(grid("lfq", out=tmp_path, cluster="local")) == 0
    (record,) = Store(tmp_path / "runs.jsonl").read()
    assert record.error is None and record.metrics["psnr"].value is not None
    assert list((tmp_path / "cluster").glob("*_result.pkl"))


@pytest.mark.slow
def test_the_local_executor_has_the_records_of_this_process(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    run_sweep(grid("rq", "lfq", generator=["ar"], out=tmp_path / "here"))
    local = {"cluster": "local", "jobs": 2}
    assert run_sweep(grid("rq", "lfq", generator=["ar"], out=tmp_path / "there", **local)) == 0
    assert comparable(tmp_path / "here") == comparable(tmp_path / "there")


def test_what_slurm_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for sbatch keeps the script it is given: one array, with what was asked for."""
    pytest.importorskip("submitit")
    tools = tmp_path / "bin"
    tools.mkdir()
    scripts = {"sbatch": f'cp "$1" {tmp_path}/script; echo Submitted batch job 12', "srun": "exit 0"}
    for name, text in scripts.items():
        (tools / name).write_text(f"#!/bin/sh\n{text}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    settings = SweepSettings(
        cluster="slurm", jobs=4, gpus_per_cell=2, partition="gpu", time="1:30:00", cpus_per_cell=8, memory="32GB",
        slurm=["account=vision"],
    )  # fmt: skip
    executor = make_executor(tmp_path / "out", settings, cpu=False)
    with executor.batch():
        submitted = [executor.submit(print, number) for number in range(3)]
    assert [job.job_id for job in submitted] == ["12_0", "12_1", "12_2"]
    script = (tmp_path / "script").read_text()
    wanted = ("array=0-2%3", "partition=gpu", "gpus-per-node=2", "time=90", "cpus-per-task=8", "mem=32GB")
    for option in (*wanted, "account=vision", "ntasks-per-node=1"):
        assert f"#SBATCH --{option}\n" in script, script


@pytest.mark.parametrize(
    ("text", "wanted"), [(None, 1440), ("90", 90), (30, 30), ("1:30:00", 90), ("0:30", 30), ("1-00:00:01", 1441)]
)
def test_time_limits(text: str | int | None, wanted: int) -> None:
    assert minutes(text) == wanted


def test_a_cluster_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TokbenchError, match="--time soon: expected minutes"):
        minutes("soon")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TokbenchError, match="--cluster slurm: "):
        run_sweep(grid("rq", out=tmp_path / "out", cluster="slurm"))
    assert not (tmp_path / "out" / "cells").exists()


@pytest.mark.slow
def test_several_processes_train_one_cell_under_accelerate(tmp_path: Path) -> None:
    assert run_sweep(grid("rq", generator=["ar"], out=tmp_path, gpus_per_cell=2), cpu=True) == 0
    records = Store(tmp_path / "runs.jsonl").read()
    assert [(record.kind, record.error) for record in records] == [("tokenizer", None), ("generator", None)]
    for record in records:
        path = tmp_path / "cells" / record.cell / "checkpoints" / "step-00000012" / "state.pt"
        assert torch.load(path, weights_only=True)["processes"] == 2


def test_a_worker_without_its_parent_does_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tokbench.sweeps.worker", str(tmp_path), "0123", "--parent", "1"],
        capture_output=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 130 and list(tmp_path.iterdir()) == []


def test_a_preempted_cell_is_not_taken_for_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that is preempted alone ends well; the cell it belongs to has not ended."""
    (cell,) = Plan.make(grid("rq", out=tmp_path)).tokenizers
    write_job_spec(cell, tmp_path)
    step = loop._Run._train_step

    def sent(self: loop._Run, batches: list[Any]) -> Any:
        if self.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batches)

    with monkeypatch.context() as patch:
        patch.setattr(loop._Run, "_train_step", sent)
        assert worker.main([str(tmp_path), cell.key, "--cpu"]) == 130
    assert newest_step(tmp_path / "cells" / cell.key / "checkpoints") == 3
    assert not (tmp_path / "runs.jsonl").exists()
    assert worker.main([str(tmp_path), cell.key, "--cpu"]) == 0
    (record,) = Store(tmp_path / "runs.jsonl").read()
    assert record.cell == cell.key and record.error is None

"""Cells side by side: a process each, spread over the visible GPUs, or with a share of the CPU's cores."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tokbench.cores import available
from tokbench.errors import TokbenchError, counted
from tokbench.results.record import Record
from tokbench.results.store import Store
from tokbench.sweeps.cell import Cell, Outcome, failure, folder_of, write_job_spec
from tokbench.sweeps.generating import GeneratorCell
from tokbench.sweeps.plan import Plan
from tokbench.sweeps.progress import Progress
from tokbench.sweeps.worker import start

_POLL = 0.1


@dataclass
class _Running:
    cell: Cell
    process: subprocess.Popen[bytes]
    slot: int


class NewRecords:
    """Which cells have a record newer than the beginning."""

    def __init__(self, store: Store) -> None:
        self.store, self.before = store, len(store.read())

    def find(self, key: str) -> Record | None:
        """The newest record of a cell that was appended since."""
        return next((record for record in reversed(self.store.read()[self.before :]) if record.cell == key), None)


def run_jobs(plan: Plan, out: Path, progress: Progress, *, jobs: int, processes: int, again: bool, cpu: bool) -> int:
    """Run the plan's cells, ``jobs`` at a time with ``processes`` each; how many failed.

    On Ctrl-C or SIGTERM the cells save their checkpoints first; a second one kills them.
    """
    places = slots(jobs, processes, cpu)
    new_records = NewRecords(Store(out / "runs.jsonl"))
    waiting = [cell for cell in plan.cells if cell.key not in plan.done]
    running: list[_Running] = []
    failed: set[str] = set()
    with _terminated_as_interrupted():
        try:
            while waiting or running:
                for cell in list(waiting):
                    if isinstance(cell, GeneratorCell) and cell.tokenizer.key in failed:
                        waiting.remove(cell)
                        failed.add(cell.key)
                        progress.end(cell, "not run", "its tokenizer failed")
                    elif len(running) < jobs and not _blocked(cell, waiting, running):
                        waiting.remove(cell)
                        slot = min(set(range(jobs)) - {r.slot for r in running})
                        running.append(_start(cell, out, plan, places[slot], slot, processes, again, cpu))
                        progress.start(cell)
                for job in [r for r in running if r.process.poll() is not None]:
                    running.remove(job)
                    if not _ended(job, new_records, out, progress):
                        failed.add(job.cell.key)
                time.sleep(_POLL)
        except KeyboardInterrupt:
            progress.say(
                f"stopping; {counted(len(running), 'cell')} to save a checkpoint (once more: at once, without)"
            )
            _stop(running)
            raise
    return len(failed)


def slots(jobs: int, processes: int, cpu: bool) -> list[dict[str, str]]:
    """The environment of each place a cell can run in.

    Raises TokbenchError when cells that ask for several GPUs cannot each have their own.
    """
    gpus = [] if cpu else visible_gpus()
    if processes > 1 and not cpu and len(gpus) < jobs * processes:
        raise TokbenchError(
            f"--jobs {jobs} with --gpus-per-cell {processes} needs {jobs * processes} GPUs, {len(gpus)} are visible "
            "(with --cpu it is as many processes on the CPU)"
        )
    cores = available()
    asked = os.environ.get("OMP_NUM_THREADS", "")
    most = int(asked) if asked.isdigit() and int(asked) else cores
    threads = str(max(1, min(most, cores // (jobs * processes))))
    places = []
    for number in range(jobs):
        place = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        if gpus:
            own = [gpus[(number * processes + i) % len(gpus)] for i in range(processes)]
            place["CUDA_VISIBLE_DEVICES"] = ",".join(own)
        places.append(place)
    return places


def visible_gpus() -> list[str]:
    """The GPUs this process may use, as CUDA_VISIBLE_DEVICES names them."""
    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return named[:count] if named else [str(i) for i in range(count)]


def _blocked(cell: Cell, waiting: list[Cell], running: list[_Running]) -> bool:
    keys = {c.key for c in waiting} | {r.cell.key for r in running}
    return isinstance(cell, GeneratorCell) and cell.tokenizer.key in keys


def _start(
    cell: Cell, out: Path, plan: Plan, place: dict[str, str], slot: int, processes: int, again: bool, cpu: bool
) -> _Running:
    write_job_spec(cell, out)
    flags = {"again": again, "cpu": cpu, "redo": cell.key in plan.redone}
    process = start(out, cell.key, place, processes=processes, **flags)
    return _Running(cell, process, slot)


def _ended(job: _Running, new_records: NewRecords, out: Path, progress: Progress) -> bool:
    code, record = job.process.returncode, new_records.find(job.cell.key)
    if record is None and code != 0:
        how = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit code {code}"
        text = f"its process ended with {how}; see {folder_of(job.cell, out).relative_to(out) / 'output.txt'}"
        record = failure(job.cell, text)
        new_records.store.append(record)
    outcome = Outcome.done if record is None else Outcome.of(record)
    progress.end(job.cell, outcome.value, (record and record.error) or "")
    return outcome is not Outcome.failed


def _stop(running: list[_Running]) -> None:
    for job in running:
        job.process.terminate()
    try:
        for job in running:
            job.process.wait()
    except KeyboardInterrupt:
        for job in running:
            try:
                os.killpg(job.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        raise


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM is Ctrl-C here."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)

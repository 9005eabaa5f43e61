"""Training beside busy processes: steps per second with threads chosen by the load, and with one per core."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from tokbench.cores import available
from tokbench.errors import TokbenchError
from tokbench.results.environment import provenance

CHOSEN, FIXED = "chosen by the load", "one a core"
_BUSY = "import os\nwhile os.getppid() == {parent}:\n    for _ in range(10**6):\n        pass\n"
_START = 600.0  # seconds in which a run's first step must come, on however busy a machine


def bench_load(*, busy: int = 8, steps: int = 100, seconds: float = 120.0, repeats: int = 3) -> dict[str, Any]:
    """``steps`` steps of the demo in a process of its own, alone and beside ``busy`` processes that keep a core busy.

    Each pair of runs is made in turns, ``repeats`` times, the one first that was last before; the rate counts from the
    first step to the last, or to the last in ``seconds`` seconds. ``ratio`` is the median of the turns' ratios, chosen
    threads over fixed ones. ``changes`` is how often each run with chosen threads took another number of them: where
    nothing else was to run, a change says that something did.

    Raises:
        TokbenchError: a run failed before its first step.
    """
    rows = []
    for load in dict.fromkeys((0, busy)):
        rates: dict[str, list[float]] = {CHOSEN: [], FIXED: []}
        changes: list[int] = []
        for turn in range(repeats):
            for threads in (CHOSEN, FIXED) if turn % 2 == 0 else (FIXED, CHOSEN):
                with _busy(load):
                    rate, changed = _steps_per_second(threads == FIXED, steps, seconds)
                rates[threads].append(rate)
                changes += [changed] if threads == CHOSEN else []
        ratios = [chosen / fixed for chosen, fixed in zip(rates[CHOSEN], rates[FIXED], strict=True)]
        row = {"busy": load, "steps_per_second": rates, "changes": changes, "ratios": ratios, "ratio": median(ratios)}
        rows.append(row)
    settings = {"recipe": "demo", "steps": steps, "seconds": seconds, "repeats": repeats, "cores": available()}
    return {**settings, "rows": rows, **provenance()}


def _steps_per_second(fixed: bool, steps: int, seconds: float) -> tuple[float, int]:
    """Of one run, and how often it changed its threads after the first step. Where no second step comes in
    ``seconds``, as if it came then: at most that fast."""
    keep = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    threads = {"OMP_NUM_THREADS": str(available())} if fixed else {}
    with tempfile.TemporaryDirectory() as folder:
        out, said = Path(folder) / "run", Path(folder) / "said"
        changes = {"steps": steps, "log_every": 1, "picture_every": 0, "checkpoint_every": 0, "warmup_steps": 0}
        command = [sys.executable, "-m", "tokbench", "train", "demo", "--out", str(out), "--cpu"]
        command += [f"--set=training.{name}={value}" for name, value in changes.items()]
        with said.open("wb") as output:
            process = subprocess.Popen(command, env={**keep, **threads}, stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + _START
            while not _times(_lines(out / "log.jsonl")):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise TokbenchError(f"the run of the demo took no step: {said.read_text(errors='replace')[-300:]}")
                time.sleep(0.2)
            deadline = time.monotonic() + seconds
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.2)
            lines = _lines(out / "log.jsonl")
        finally:
            process.kill()
            process.wait()
    times = _times(lines)
    changes = sum(line.get("event") == "threads" and line["step"] > 0 for line in lines)
    return (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 1 / seconds, changes


def _lines(log: Path) -> list[dict[str, Any]]:
    """Of a log, or none where there is none yet; a line half written is left out."""
    try:
        return [json.loads(line) for line in log.read_text().split("\n")[:-1]]
    except FileNotFoundError:
        return []


def _times(lines: list[dict[str, Any]]) -> list[float]:
    """Seconds at which the steps ended."""
    return [line["seconds"] for line in lines if "event" not in line]


@contextmanager
def _busy(count: int) -> Iterator[None]:
    """So many processes that only compute; they end with this one however it ends."""
    program = _BUSY.format(parent=os.getpid())
    processes = [subprocess.Popen([sys.executable, "-S", "-c", program]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGKILL)
            process.wait()

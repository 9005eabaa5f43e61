"""One cell in a process of its own: ``python -m tokbench.sweeps.worker OUT KEY``; the sweep has written it down.

With several processes it becomes ``accelerate launch`` of itself and keeps the cell's lock.
Exit code 0: recorded; 1: recorded as failed; 130: interrupted, the checkpoint is saved.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokbench import threads

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def command(
    out: Path, key: str, *, again: bool = False, cpu: bool = False, redo: bool = False, processes: int = 1
) -> list[str]:
    """The command that starts a worker as a child of this process."""
    flags = [f"--{name}" for name, on in {"again": again, "cpu": cpu, "redo": redo}.items() if on]
    several = ["--processes", str(processes)] if processes > 1 else []
    parent = ["--parent", str(os.getpid())]
    return [sys.executable, "-m", "tokbench.sweeps.worker", str(out), key, *flags, *several, *parent]


def start(out: Path, key: str, environment: Mapping[str, str], **flags: Any) -> subprocess.Popen[bytes]:
    """Start a worker; what it says goes to the cell's ``output.txt``. ``flags`` are those of ``command``."""
    from tokbench.sweeps.settings import cell_folder

    with (cell_folder(out, key) / "output.txt").open("ab") as output:
        # A session of its own: Ctrl-C reaches the sweep alone, which then asks the cells to stop, once.
        return subprocess.Popen(
            command(out, key, **flags),
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def main(arguments: list[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("key")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--redo", action="store_true")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--parent", type=int)
    given = parser.parse_args(arguments)
    if given.parent is not None and not _end_with(given.parent):
        return 130
    threads.begin()
    try:
        return _launch(given) if given.processes > 1 else _finish(given)
    except KeyboardInterrupt:
        return 130


def _end_with(parent: int) -> bool:
    """Have the kernel send SIGTERM when the parent ends, however it does: a killed sweep leaves nothing running."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    return os.getppid() == parent


def _finish(given: argparse.Namespace) -> int:
    from tokbench.printing import say
    from tokbench.sweeps.cell import Outcome, finish_cell, read_job_spec
    from tokbench.sweeps.stages import RunContext

    cell = read_job_spec(given.key, given.out)
    context = RunContext(given.out, cell.label, given.again, given.cpu)
    inside = "RANK" in os.environ  # the process that launched this one holds the lock
    outcome, why = finish_cell(cell, context, redo=given.again or given.redo, lock=not inside)
    if why:
        say(why, error=True)
    return int(outcome is Outcome.failed)


def _launch(given: argparse.Namespace) -> int:
    from tokbench.printing import say
    from tokbench.results.locks import acquire
    from tokbench.results.store import Store
    from tokbench.sweeps.cell import failure, lock_of, read_job_spec, reason, recording_stages
    from tokbench.sweeps.generating import GeneratorCell
    from tokbench.sweeps.stages import RunContext, encoded, model_folder

    cell, store = read_job_spec(given.key, given.out), Store(given.out / "runs.jsonl")
    context = recording_stages(cell, RunContext(given.out, cell.label, given.again, given.cpu))
    lock = acquire(lock_of(cell, given.out), waiting=lambda: context.stage("wait for another process"))
    if not (given.again or given.redo) and store.find(cell.key):
        return 0
    if isinstance(cell, GeneratorCell):
        # Here, not in one of the processes: the others would wait for it until their connection times out.
        try:
            tokenizer = model_folder(cell.tokenizer, given.out)
            if tokenizer is not None:
                encoded(cell, tokenizer, context)
        except Exception as error:
            store.append(failure(cell, reason(error)))
            say(reason(error), error=True)
            return 1
    os.set_inheritable(lock, True)  # kept until the last process below has ended
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1"]
    launch += ["--num_processes", str(given.processes), "--main_process_port", "0"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no"]  # the recipe says what they are
    flags = [f"--{name}" for name in ("again", "cpu", "redo") if getattr(given, name)]
    os.execv(sys.executable, [*launch, "-m", "tokbench.sweeps.worker", str(given.out), given.key, *flags])


if __name__ == "__main__":
    sys.exit(main())

"""SIGKILL at any moment: the restarted sweep has the records of an undisturbed one, none lost, none twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fork_server import ForkServer
from recipes_tiny import TINY
from sweeps_tiny import TINY_GENERATOR, comparable

from tokbench.results.store import Store

# So that a sweep that was killed goes on within a training.
_CHECKPOINTS = ["training.checkpoint_every=4"]
_SWEEP = """
import sys
from sweeps_tiny import grid
from tokbench.sweeps.run import run_sweep
kept = {checkpoints!r}
sys.exit(run_sweep(grid(*{quantizers!r}, generator=["ar", "mlm"], set=kept, set_generator=kept, out={out!r})))
"""
CELLS = 6


class Sweeps:
    """Starts sweeps and kills them."""

    def __init__(self, server: ForkServer) -> None:
        self.server = server

    def run(
        self,
        out: Path,
        kill_after: float | None = None,
        quantizers: str = "rq,lfq",
        until: Callable[[], bool] | None = None,
    ) -> int:
        """The exit code of a sweep into ``out``; -9 where it was killed before its end: some seconds after its start,
        or when ``until`` says so."""

        def kill() -> int:
            time.sleep(kill_after or 0.0)
            patience = time.monotonic() + 300
            while until is not None and not until() and time.monotonic() < patience:
                time.sleep(0.005)
            return signal.SIGKILL

        code = _SWEEP.format(quantizers=quantizers.split(","), checkpoints=_CHECKPOINTS, out=str(out))
        return self.server.run(code, None if kill_after is None and until is None else kill)


@pytest.fixture(scope="module")
def sweeps(forks: ForkServer) -> Sweeps:
    return Sweeps(forks)


@pytest.fixture(scope="module")
def undisturbed(sweeps: Sweeps, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], float]:
    """Its records, and how long it took."""
    out, start = tmp_path_factory.mktemp("undisturbed"), time.monotonic()
    assert sweeps.run(out) == 0
    seconds = time.monotonic() - start
    assert len(comparable(out)) == CELLS
    return comparable(out), seconds


def check(out: Path, wanted: list[dict[str, Any]]) -> None:
    assert [record["cell"] for record in comparable(out)] == [record["cell"] for record in wanted]
    assert comparable(out) == wanted
    assert not Store(out / "runs.jsonl").read().damaged


# Moments of a sweep that are seen from outside, in their order, each well before the next.
_MOMENTS = {
    "the tokenizer has a checkpoint": lambda out: bool(list(out.glob("cells/*/checkpoints/step-*"))),
    "it is recorded": lambda out: len(comparable(out)) >= 1,
    "so is the first generator": lambda out: len(comparable(out)) >= 2,
}


def test_killed_three_times(sweeps: Sweeps, tmp_path: Path) -> None:
    """Not after a time that another process took: the machine may have become faster."""
    assert sweeps.run(tmp_path / "undisturbed", quantizers="rq") == 0
    wanted, out = comparable(tmp_path / "undisturbed"), tmp_path / "killed"
    assert len(wanted) == 3
    for moment, reached in _MOMENTS.items():
        assert sweeps.run(out, until=lambda reached=reached: reached(out), quantizers="rq") == -9, moment
    assert sweeps.run(out, quantizers="rq") == 0
    check(out, wanted)


@pytest.mark.slow
def test_killed_at_twenty_moments_of_its_course(
    sweeps: Sweeps, undisturbed: tuple[list[dict[str, Any]], float], tmp_path: Path
) -> None:
    """A sweep each: one random moment in each twentieth of the time it takes."""
    wanted, seconds = undisturbed
    draw = random.Random(1)
    left: list[int] = []  # records there were when it was killed
    tries = 0
    while len(left) < 20:
        tries += 1
        assert tries <= 60, f"only {len(left)} sweeps of {tries} were still running when they were to be killed"
        out = tmp_path / str(tries)
        killed = sweeps.run(out, kill_after=(len(left) + draw.random()) / 20 * seconds) == -9
        if killed:
            left.append(len(comparable(out)))
        else:
            seconds *= 0.85  # the machine has got faster than when the time was taken
        assert sweeps.run(out) == 0
        check(out, wanted)
    print(f"killed 20 of {tries}, at {left} of {CELLS} records")
    assert len(set(left)) >= 4


@pytest.mark.slow
def test_one_sweep_killed_twenty_times(
    sweeps: Sweeps, undisturbed: tuple[list[dict[str, Any]], float], tmp_path: Path
) -> None:
    wanted, seconds = undisturbed
    draw = random.Random(2)
    killed = sum(sweeps.run(tmp_path, kill_after=draw.uniform(0.02, 0.25) * seconds) == -9 for _ in range(20))
    print(f"killed {killed} of 20")
    assert sweeps.run(tmp_path) == 0
    check(tmp_path, wanted)


@pytest.mark.slow
def test_a_killed_sweep_leaves_no_cells_running(
    undisturbed: tuple[list[dict[str, Any]], float], tmp_path: Path
) -> None:
    """With --jobs the cells are other processes: they end with the sweep, and nothing is recorded twice."""
    sets = [part for text in [*TINY, *_CHECKPOINTS] for part in ("--set", text)]
    sets += [part for text in [*TINY_GENERATOR, *_CHECKPOINTS] for part in ("--set-generator", text)]
    arguments = ["-q", "rq,lfq", "-k", "16", "-d", "2", "--generator", "ar,mlm", "--jobs", "2", "--out", str(tmp_path)]
    command = [sys.executable, "-m", "tokbench", "sweep", *arguments, *sets]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    draw = random.Random(3)
    for _ in range(3):
        with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as sweep:
            time.sleep(draw.uniform(6, 14))
            sweep.kill()
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    check(tmp_path, undisturbed[0])

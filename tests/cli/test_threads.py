"""Threads follow what other processes leave of the cores, and only where the user did not choose."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import namedtuple
from collections.abc import Iterator

import psutil
import pytest
import torch

from tokbench import cores, threads


class _Neighbours:
    """What others use, as a script says; every look is due."""

    age = threads.EVERY

    def __init__(self, *used: float) -> None:
        self.used = iter(used)

    def look(self) -> float:
        return next(self.used)


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(8)
    monkeypatch.setattr(cores, "available", lambda: 8)
    monkeypatch.setattr(threads, "_FIRST", 0.0)
    monkeypatch.setattr(threads, "_governor", None)
    monkeypatch.setattr(threads, "_begun", False)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    yield
    torch.set_num_threads(before)


def _seen(monkeypatch: pytest.MonkeyPatch, *used: float) -> list[int]:
    """Threads after each look at a machine of which others use so many cores."""
    monkeypatch.setattr(cores, "Others", lambda: _Neighbours(*used))
    threads.begin()
    found = []
    for _ in used:
        threads.adapt()
        found.append(torch.get_num_threads())
    return found


@pytest.mark.usefixtures("eight_cores")
def test_a_busy_machine_gets_fewer_threads_at_once_and_more_only_when_it_stays_quiet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert _seen(monkeypatch, 0.02, 0.28, 1.1, 6.9, 0.0, 0.0, 3.9, 0.1, 4.0, 0.1, 0.1) == [
        8, 8, 7, 1, 1, 8, 4, 4, 4, 4, 8,
    ]  # fmt: skip


@pytest.mark.usefixtures("eight_cores")
def test_more_neighbours_than_cores_leave_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _seen(monkeypatch, 40.0, 7.9) == [1, 1]


@pytest.mark.usefixtures("eight_cores")
@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_what_the_user_chose_stays(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "8")
    assert _seen(monkeypatch, 7.0, 7.0) == [8, 8]


@pytest.mark.usefixtures("eight_cores")
def test_a_library_and_a_benchmark_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "Others", lambda: _Neighbours(7.0))
    assert threads.adapt() is None and torch.get_num_threads() == 8
    threads.begin()
    threads.hold()
    assert threads.adapt() is None and torch.get_num_threads() == 8
    threads.begin()
    assert threads.adapt() == "8 -> 1 threads: other processes use 7.0 of 8 cores"


_CROWDED = """
import os
from tokbench import cores, threads

def begun(waiting, **chosen):
    os.environ.update(chosen)
    cores.waiting = lambda: waiting * os.cpu_count()
    threads.begin()
    policy = os.environ.get("OMP_WAIT_POLICY")
    for name in chosen:
        del os.environ[name]
    return policy

print(begun(1.9), begun(2, OMP_WAIT_POLICY="active"), begun(2, GOMP_SPINCOUNT="9"), begun(2, OMP_NUM_THREADS="2"))
print(begun(2), threads.hold(), os.environ.get("OMP_WAIT_POLICY"))
print(begun(2))
import torch
before = torch.get_num_threads()
print(threads.adapt(), threads.adapt(), torch.get_num_threads() == before, os.environ.get("OMP_WAIT_POLICY"), sep="; ")
"""


def test_on_a_crowded_machine_threads_sleep_at_barriers() -> None:
    """As OpenMP itself reports; not where the user chose or in a benchmark. What is started later looks anew."""
    settings = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "MKL_", "GOMP_"))}
    command = [sys.executable, "-c", _CROWDED]
    settings["OMP_DISPLAY_ENV"] = "verbose"
    result = subprocess.run(command, env=settings, capture_output=True, text=True, check=True)
    assert "GOMP_SPINCOUNT = '0'" in result.stderr
    chosen, benchmark, begun, last = result.stdout.splitlines()
    assert (chosen, benchmark, begun) == ("None active None None", "passive None None", "passive")
    said, *after = last.split("; ")
    assert said.startswith("threads sleep while they wait for each other: ") and after == ["None", "True", "None"]


def test_a_quota_below_the_cores_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container with one core's quota on a machine of many: torch alone would take them all."""
    import joblib

    monkeypatch.setattr(joblib, "cpu_count", lambda: 1)
    monkeypatch.setattr(threads, "_FIRST", 0.0)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        threads.Governor().adapt()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_others_are_all_but_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    times = namedtuple("times", "user nice system idle iowait irq softirq steal guest guest_nice")
    clock = {"wall": 0.0, "own": 0.0, "user": 0.0, "steal": 0.0, "idle": 0.0}

    def cpu_times(percpu: bool) -> list[times]:
        one = times(clock["user"], 0, 0, clock["idle"], 9 * clock["idle"], 0, 0, clock["steal"], clock["user"], 0)
        return [one, one]

    monkeypatch.setattr(psutil, "cpu_times", cpu_times)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1}, raising=False)  # one of the two
    monkeypatch.setattr(cores.time, "monotonic", lambda: clock["wall"])
    monkeypatch.setattr(cores.time, "process_time", lambda: clock["own"])
    others = cores.Others()
    clock.update(wall=10.0, own=4.0, user=7.0, steal=1.0, idle=2.0)
    assert others.age == 10.0
    assert others.look() == pytest.approx(0.4)  # 8 of 10 seconds busy, 4 of them here
    clock.update(wall=20.0, own=14.0, user=16.9)
    assert others.look() == 0.0  # never below nothing


def test_a_busy_neighbour_is_seen() -> None:
    others = cores.Others()
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        seen = 0.0
        while seen < 0.05 and process.poll() is None:
            sum(range(10**6))
            seen = max(seen, others.look()) if others.age > 0.1 else seen
    finally:
        process.kill()
        process.wait()
    assert seen >= 0.05

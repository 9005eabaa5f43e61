"""As many threads as the other processes on the machine leave cores for.

OpenMP's threads meet at a barrier after every parallel region, hundreds of times in a training step, and spin there for
the one that has no core: beside one process that keeps a core busy, two threads on two cores take several times as long
as one thread alone. So a command looks, before it computes and every few seconds, at what others use, and takes threads
for what is left.

Where twice as many as there are cores wait for one when it starts, little would be left: it keeps its threads, each of
which has a share of its own, and has them sleep at barriers instead. That has to be said before OpenMP is loaded and
cannot be taken back, and on an idle machine it costs a fifth of the speed.

Another number of threads adds in another order, so results are equal to the bit only while it stays the same. Whoever
needs that on a busy machine sets ``OMP_NUM_THREADS``: then nothing is changed here.
"""

from __future__ import annotations

import math
import os
import sys
import time

from tokbench import cores

_PINNED = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
_CROWD = 2  # others that want to run, for each core of the machine
EVERY, _FIRST = 2.0, 0.25  # seconds between looks, and over which the first one looks
_STRAY = 0.3  # cores that others may use without costing a thread: a terminal, a monitor, a short task
_QUIET = 0.15  # below this, twice in a row, a thread more is tried: not at once, or a bursty neighbour makes it flap


class Governor:
    """Looks at the machine, and sets torch's number of threads in the thread that calls ``adapt``."""

    def __init__(self) -> None:
        import torch

        self._others = cores.Others()
        self._most = max(1, min(torch.get_num_threads(), cores.available()))
        self._quiet = 0
        time.sleep(_FIRST)

    def adapt(self) -> str | None:
        """Look, and set the number; one line where it changed, else None."""
        import torch

        used, before = self._others.look(), torch.get_num_threads()
        after = self._wanted(used, before)
        if after == before:
            return None
        torch.set_num_threads(after)
        return f"{before} -> {after} threads: other processes use {used:.1f} of {cores.available()} cores"

    @property
    def due(self) -> bool:
        """Whether it is time for another look."""
        return self._others.age >= EVERY

    def _wanted(self, used: float, now: int) -> int:
        if now > (fair := max(1, self._most - math.ceil(used - _STRAY))):
            self._quiet = 0
            return fair
        room = max(1, min(self._most, self._most - math.ceil(used - _QUIET)))
        self._quiet = self._quiet + 1 if room > now else 0
        if self._quiet < 2:
            return now
        self._quiet = 0
        return room


_governor: Governor | None = None
_begun = False
_asleep: str | None = None  # why threads sleep at barriers, until it is said


def begin() -> None:
    """Let ``adapt`` work in this process; for a command of our own, not on import. Nothing where the user chose."""
    global _begun, _asleep
    _begun = not any(os.environ.get(name) for name in _PINNED)
    if not _begun or "torch" in sys.modules or any(os.environ.get(name) for name in _WAITING):
        return
    others, all_cores = cores.waiting(), os.cpu_count() or 1
    if others >= _CROWD * all_cores:
        os.environ["OMP_WAIT_POLICY"] = "passive"
        _asleep = f"threads sleep while they wait for each other: {others} other tasks want to run on {all_cores} cores"


def hold() -> None:
    """Change nothing from here on: a benchmark compares what runs with equal threads."""
    global _begun, _asleep
    if _asleep is not None:
        del os.environ["OMP_WAIT_POLICY"]
    _begun, _asleep = False, None


def adapt() -> str | None:
    """Between two steps or batches of long work: take another number of threads where the machine asks for it.

    One line that says so where the number changed, else None. Nothing happens before ``begin``.
    """
    global _governor, _begun, _asleep
    if not _begun:
        return None
    if _asleep is not None:
        import torch

        torch.set_num_threads(max(1, min(torch.get_num_threads(), cores.available())))
        del os.environ["OMP_WAIT_POLICY"]  # read by now; what this process starts looks for itself
        said, _asleep, _begun = _asleep, None, False
        return said
    if _governor is None:
        _governor = Governor()
        return _governor.adapt()
    return _governor.adapt() if _governor.due else None

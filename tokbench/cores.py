"""How many CPU cores this process may use, and how many of them other processes are using."""

from __future__ import annotations

import os
import time
from pathlib import Path


def in_mask() -> int:
    """Cores that the affinity mask of this process has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available() -> int:
    """Cores that this process may use: those of its affinity mask, no more than its control group's quota."""
    import joblib  # here, since it takes a while to import

    return int(joblib.cpu_count())


def waiting() -> int:
    """Other tasks of the machine that run or want to: the fewest of five looks in 10 ms. 0 where it is not Linux."""
    fewest = 0
    for look in range(5):
        try:
            seen = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0]) - 1
        except (OSError, IndexError, ValueError):
            return 0
        fewest = seen if look == 0 else min(fewest, seen)
        if fewest <= 0:  # as on most machines: there a command's start waits for nothing
            return 0
        time.sleep(0.002)
    return fewest


class Others:
    """What other processes, children of this one among them, use of the cores that this one may use."""

    def __init__(self) -> None:
        self._at, self._used = time.monotonic(), _used_by_others()

    @property
    def age(self) -> float:
        """Seconds since the last look."""
        return time.monotonic() - self._at

    def look(self) -> float:
        """Cores, from 0 up: the mean since the last look."""
        at, used = time.monotonic(), _used_by_others()
        mean = (used - self._used) / max(at - self._at, 1e-9)
        self._at, self._used = at, used
        return max(0.0, mean)


def _used_by_others() -> float:
    """Seconds of these cores since the machine started, less those of this process."""
    import psutil

    cores = psutil.cpu_times(percpu=True)
    mine = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(cores))
    times = [cores[i] for i in mine if i < len(cores)]
    # Linux counts a guest's time as the user's too; what a hypervisor gave to others (steal) was not to be had either.
    busy = sum(sum(t[:8]) - t.idle - getattr(t, "iowait", 0.0) for t in times)
    return busy - time.process_time()

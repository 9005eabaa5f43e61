"""The memory that something takes on a CPU at its peak: by how much a fresh process grows."""

from __future__ import annotations

import ctypes
import gc
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from tokbench.errors import TokbenchError


def in_own_process(function: str, *arguments: str, what: str) -> float | None:
    """What ``function`` (``MODULE:NAME``) prints in a process of its own; None without Linux's account of memory.

    Memory that a process has freed is used again unseen, so every figure gets a process.
    """
    if not sys.platform.startswith("linux"):
        return None
    module, name = function.split(":")
    code = f"import sys; from {module} import {name}; {name}(*sys.argv[1:])"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise TokbenchError(f"{what}: the memory measurement failed: {done.stderr.strip().splitlines()[-1]}")
    return float(done.stdout)


def growth(function: Callable[[], object]) -> float:
    """The MiB by which ``function`` makes this process grow at its peak."""
    nn.Linear(8, 8)(torch.randn(4, 8)).sum().backward()  # thread pools and lazy imports are not its own
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)  # what was freed before it would be used again unseen
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is resident now
    before = _status_kib("VmRSS")
    function()
    return (_status_kib("VmHWM") - before) / 2**10


def _status_kib(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{key}:")))

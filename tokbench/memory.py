"""How much memory a device has left, and what its running out looks like: the one home of both."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from tokbench.errors import TokbenchError

# Of torch's allocators and the libraries below them, which all raise a plain RuntimeError.
_SIGNS = (
    "out of memory",
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "could not create a memory object",
    "std::bad_alloc",
    "Cannot allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_NOT_SUPPORTED",  # cuDNN's word where it finds no room to work in
)
_ASKED = re.compile(r"(?:allocate|allocation of):? *(\d[\d.]*) *(bytes|[KMGT]i?B)?", re.IGNORECASE)
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
ELSEWHERE = ("a machine with more memory", "--cpu, where it was a GPU's")
"""What helps whatever it was that ran out of memory."""

IMAGE_TOO_LARGE = ("a smaller image", *ELSEWHERE)
"""What to change where memory ran out although the image went through in tiles."""

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")  # Linux's account of this process

_NO_LIMIT = 2**60  # what cgroups and rlimits call unlimited is larger


def reset_peak(device: torch.device) -> None:
    """The peak begins anew: from what a GPU's allocator, or on Linux this process, holds now."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            _CLEAR.write_text("5")


def peak_bytes(device: torch.device) -> int:
    """Of a GPU's allocator, or resident of this process, since ``reset_peak`` (elsewhere than on Linux since it began;
    0 where the system does not say)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        lines = _STATUS.read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return _peak_of_process()


def peak_measured(device: torch.device) -> str:
    """What ``peak_bytes`` is of."""
    return "CUDA allocator" if device.type == "cuda" else "process resident set"


def _peak_of_process() -> int:
    try:
        import resource
    except ImportError:  # Windows has no such thing; accelerate brings psutil
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def is_out_of_memory(error: BaseException) -> bool:
    """Of a GPU, or of the CPU where its allocator says so."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def memory_line(error: BaseException, doing: str, advice: Sequence[str]) -> str:
    """One line: what ran out of memory, how much was asked for where that is known, and what to change."""
    found = _ASKED.search(str(error))
    asked = ""
    if found is not None:
        amount = float(found[1]) * _UNITS.get((found[2] or "bytes")[0].upper(), 1)
        asked = f" ({amount / 2**30:.3g} GiB more were asked for)"
    return f"out of memory{doing and ' '}{doing}{asked}; change one of: {'; '.join(advice)}"


@contextmanager
def explained(doing: str, *advice: str) -> Iterator[None]:
    """Turn memory that runs out within into ``memory_line``'s line, a TokbenchError."""
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        raise TokbenchError(memory_line(error, doing, advice)) from error


def available_memory(device: torch.device) -> int:
    """Bytes that this process could still take on ``device``: 2^60 where nothing says how many there are."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type != "cpu":
        return _NO_LIMIT
    return max(0, min(_machine(), _address_space(), *_control_groups()))


def _machine() -> int:
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _text("/proc/meminfo"), re.MULTILINE)
    return int(found[1]) * 1024 if found else _NO_LIMIT


def _address_space() -> int:
    """What ``ulimit -v`` leaves."""
    try:
        import resource
    except ImportError:  # no Unix
        return _NO_LIMIT
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    taken = re.match(r"\d+", _text("/proc/self/statm"))
    if limit == resource.RLIM_INFINITY or taken is None:
        return _NO_LIMIT
    return limit - int(taken[0]) * os.sysconf("SC_PAGE_SIZE")


def _control_groups(root: str = "/sys/fs/cgroup") -> list[int]:
    """What the limits of a container or a scheduler's job leave, of version 2 and of version 1 and all groups above.

    Cached files count as taken there and are given back when memory is wanted.
    """
    found = [_NO_LIMIT]
    for line in _text("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top = Path(root) / ("memory" if controllers else "")
        limit, used = (
            ("memory.limit_in_bytes", "memory.usage_in_bytes") if controllers else ("memory.max", "memory.current")
        )
        inside = top / path.lstrip("/")
        for group in (inside, *(parent for parent in inside.parents if parent.is_relative_to(top)), top):
            most, taken = _text(group / limit).strip(), _text(group / used).strip()
            if most.isdigit() and taken.isdigit() and int(most) < _NO_LIMIT:
                cached = re.search(r"^(?:total_)?inactive_file (\d+)", _text(group / "memory.stat"), re.MULTILINE)
                found.append(int(most) - int(taken) + (int(cached[1]) if cached else 0))
    return found


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""

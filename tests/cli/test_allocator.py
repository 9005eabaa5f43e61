"""What the commands ask of malloc: pages that were freed are not zeroed by the system a second time."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

_PROBE = """
import resource
from tokbench.allocator import keep_freed_memory

kept = keep_freed_memory()


def step():
    kept = [b"1" * (24 * 2**20) for _ in range(8)]  # 192 MiB: beyond what malloc keeps by itself


step()
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(2):
    step()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _probe(**environment: str) -> tuple[bool, int]:
    """Whether malloc was told, and the page faults of two steps that take and free 192 MiB."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    answer = subprocess.run(
        [sys.executable, "-c", _PROBE], env=clean | environment, capture_output=True, text=True, check=True
    ).stdout.split()
    return answer[0] == "True", int(answer[1])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_freed_memory_stays_and_the_users_own_setting_is_left_alone() -> None:
    kept, faults = _probe()
    assert kept and faults < 24576
    kept, faults = _probe(MALLOC_TOP_PAD_="131072")
    assert not kept and faults > 70000  # the same tensors, by glibc's defaults

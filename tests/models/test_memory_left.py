"""How much memory there is, and memory that ran out as one line."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from tokbench import memory
from tokbench.errors import TokbenchError

CPU = "[enforce fail at alloc_cpu.cpp:120] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "


def test_the_line_names_what_was_asked_and_what_to_change() -> None:
    for error, asked in (
        (RuntimeError(f"{CPU}38654705664 bytes. Error code 12 (Cannot allocate memory)"), " (36 GiB more"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has ..."), " (2.5 GiB more"),
        (MemoryError("Unable to allocate 512. MiB for an array"), " (0.5 GiB more"),
        (MemoryError(), "; change"),
    ):
        with pytest.raises(TokbenchError) as raised, memory.explained("measuring", "--batch-size 2", "--size 64"):
            raise error
        said = str(raised.value)
        assert said.startswith(f"out of memory measuring{asked}") and said.endswith(": --batch-size 2; --size 64")
    with pytest.raises(RuntimeError, match="shapes"), memory.explained("x"):
        raise RuntimeError("shapes cannot be multiplied")
    assert memory.is_out_of_memory(OSError(errno.ENOMEM, "Cannot allocate memory"))


@pytest.mark.parametrize("version", [1, 2])
def test_a_container_limit_counts_and_files_in_the_cache_do_not(
    version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line, top, names = {
        1: ("7:memory:/job/step\n", tmp_path / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")),
        2: ("0::/job/step\n", tmp_path, ("memory.max", "memory.current")),
    }[version]
    group = top / "job"
    (group / "step").mkdir(parents=True)
    (group / "step" / names[0]).write_text("max\n")
    (group / names[0]).write_text("8000\n")
    (group / names[1]).write_text("5000\n")
    (group / "memory.stat").write_text("anon 1\ninactive_file 2000\n")
    read = memory._text
    monkeypatch.setattr(memory, "_text", lambda path: line if str(path) == "/proc/self/cgroup" else read(path))
    assert min(memory._control_groups(str(tmp_path))) == 5000


def test_there_is_memory_here() -> None:
    assert 0 < memory.available_memory(torch.device("cpu")) <= 2**60

"""What happens in the processes that read pictures is told in one line."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from torch.utils.data import DataLoader, Dataset

from tokbench.data.workers import watched
from tokbench.errors import TokbenchError


class Fails(Dataset[int]):
    """Ten numbers; one of them is trouble."""

    def __init__(self, trouble: str) -> None:
        self.trouble = trouble

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> int:
        if index == 6:
            if self.trouble == "error":
                raise TokbenchError("folder:x: none of its 10 pictures can be read")
            if self.trouble == "bug":
                raise RuntimeError("a bug of ours")
            os.kill(os.getpid(), signal.SIGKILL)
        return index


def test_an_error_of_ours_arrives_as_it_was() -> None:
    with pytest.raises(TokbenchError) as caught:
        list(watched(DataLoader(Fails("error"), batch_size=2, num_workers=1)))
    assert str(caught.value) == "folder:x: none of its 10 pictures can be read"


def test_a_dead_process_is_one_line() -> None:
    with pytest.raises((TokbenchError, RuntimeError)) as caught:  # torch's signal handler may be faster than we are
        list(watched(DataLoader(Fails("death"), batch_size=2, num_workers=1)))
    if isinstance(caught.value, TokbenchError):
        assert "\n" not in str(caught.value) and "data.workers" in str(caught.value)
    else:
        assert "DataLoader worker" in str(caught.value)


def test_a_bug_keeps_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="Original Traceback"):
        list(watched(DataLoader(Fails("bug"), batch_size=2, num_workers=1)))

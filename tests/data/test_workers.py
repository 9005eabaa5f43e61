"""What happens in the processes that read images is reported in one line."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from fork_server import ForkServer
from torch.utils.data import DataLoader, Dataset

from tokbench.data.workers import ignore_sigterm, watched
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
                raise TokbenchError("folder:x: none of its 10 images can be read")
            if self.trouble == "bug":
                raise RuntimeError("a bug of ours")
            os.kill(os.getpid(), signal.SIGTERM if self.trouble == "preempted" else signal.SIGKILL)
        return index


def test_an_error_of_ours_arrives_as_it_was() -> None:
    with pytest.raises(TokbenchError) as caught:
        list(watched(DataLoader(Fails("error"), batch_size=2, num_workers=1)))
    assert str(caught.value) == "folder:x: none of its 10 images can be read"


def test_a_dead_process_is_one_line(forks: ForkServer, tmp_path: Path) -> None:
    # In a process of its own: torch tells of the death from a signal handler, wherever this process is just then.
    script = (
        f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\nout = open(sys.argv[1], 'w')\n"
        "import test_workers as t\nfrom tokbench.data.workers import is_worker_death, death_line\n"
        "try:\n    list(t.watched(t.DataLoader(t.Fails('death'), batch_size=2, num_workers=1)))\n"
        "except t.TokbenchError as error:\n    print(error, file=out)\n"
        "except RuntimeError as error:\n"
        "    print(death_line(error) if is_worker_death(error) else 'no death', file=out)\n"
    )
    assert forks.wait(forks.start(script, str(tmp_path / "printed"))) == 0
    (line,) = (tmp_path / "printed").read_text().splitlines()
    assert line.startswith("a process that reads images died") and "data.workers" in line


def test_a_bug_keeps_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="Original Traceback"):
        list(watched(DataLoader(Fails("bug"), batch_size=2, num_workers=1)))


def test_preemption_of_the_whole_job_leaves_the_readers_to_the_end() -> None:
    loader = DataLoader(Fails("preempted"), batch_size=2, num_workers=1, worker_init_fn=ignore_sigterm)
    assert [value for batch in watched(loader) for value in batch.tolist()] == list(range(10))

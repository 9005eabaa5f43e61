"""What goes wrong in the processes that read images, in one line."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from typing import Any

from tokbench.errors import TokbenchError, printable


def watched(batches: Iterable[Any]) -> Iterator[Any]:
    """The batches of a ``DataLoader``. What its processes raise arrives as the line it was, not as their traceback.

    Raises:
        TokbenchError: what a process raised, or that one of them died.
    """
    iterator = iter(batches)
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except TokbenchError as error:  # torch puts the traceback of the other process around it: one line with escapes
            last = str(error).removesuffix(r"\n").rpartition(f"{TokbenchError.__module__}.TokbenchError: ")[2]
            raise TokbenchError(last) from None
        except (RuntimeError, ConnectionError, EOFError) as error:
            if isinstance(error, RuntimeError) and not is_worker_death(error):  # else a dead process's pipe
                raise
            raise TokbenchError(death_line(error)) from error
        yield batch


def ignore_sigterm(worker: int) -> None:
    """For ``worker_init_fn``: a scheduler that preempts a job sends SIGTERM to all its processes, and the training one
    needs this one until it has saved. It ends with the training process, which torch's own watchdog sees to."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def is_worker_death(error: BaseException) -> bool:
    """Whether this is torch's word for a dead process. It may come up anywhere: a signal brings it."""
    return isinstance(error, RuntimeError) and "DataLoader worker" in str(error) and "Original" not in str(error)


def death_line(error: BaseException) -> str:
    """One line: what happened and what to do."""
    reason = printable(str(error).partition("\n")[0].rstrip(". "), 160)
    return (
        f"a process that reads images died ({reason}); where memory is short, lower data.workers or the batch; "
        "--resume continues from the last checkpoint"
    )

"""The command line. Commands are thin and import what is heavy only when they run."""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from types import FrameType, TracebackType
from typing import Any


def _warn_in_one_line() -> None:
    """Our own warnings as a line, once for all processes of a run; others as Python shows them, made visible."""
    from tokbench.errors import TokbenchWarning, visible

    usual: Any = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
        if not issubclass(category, TokbenchWarning):
            usual(visible(str(message)), category, *place, **more)
        elif os.environ.get("RANK", "0") == "0":
            _tell(message)

    warnings.showwarning = show


def main() -> None:
    """Entry point of the console script: a user's mistake is one clear line and exit code 2, never a traceback.

    Ctrl-C and SIGTERM say so and exit with 130 and 143, the latter only where nothing else was said of it.
    """
    from tokbench import threads
    from tokbench.allocator import keep_freed_memory

    keep_freed_memory()
    threads.begin()
    _warn_in_one_line()
    sys.excepthook = _escaped
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        _run()
    except BaseException as error:
        # Whatever became of it on the way: an import that it interrupts fails in its own words.
        if _caught:
            print("tokbench: ended by SIGTERM", file=sys.stderr)
            sys.exit(128 + signal.SIGTERM)
        if _is_interrupt(error):
            print("tokbench: interrupted", file=sys.stderr)
            sys.exit(130)
        raise


def _run() -> None:
    from tokbench.cli.app import app
    from tokbench.errors import TokbenchError

    try:
        app()
    except TokbenchError as error:
        for line in str(error).splitlines():
            _tell(line)
        sys.exit(2)
    except BrokenPipeError:  # | head
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:  # what the machine refused: a folder in the way, no permission, a full disk
        if error.filename is None and error.errno is None:
            raise
        place = f"{error.filename}: " if error.filename is not None else ""
        _tell(f"{place}{error.strerror or error}")
        sys.exit(2)
    except (RuntimeError, MemoryError) as error:
        from tokbench import memory
        from tokbench.data.workers import death_line, is_worker_death

        if memory.is_out_of_memory(error):
            _tell(memory.memory_line(error, "", ("a smaller batch or image", *memory.ELSEWHERE)))
        elif is_worker_death(error):
            _tell(death_line(error))
        else:
            raise
        sys.exit(2)


def _tell(line: object) -> None:
    from tokbench.printing import say

    say(f"tokbench: {line}", error=True)


def _escaped(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A traceback, which is a bug of ours; the message in it may still quote a file's name or its address."""
    from tokbench.printing import say

    for part in traceback.format_exception(kind, error, trace):
        for line in part.rstrip("\n").split("\n"):
            say(line, error=True)


_caught: list[int] = []


def _terminate(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends a command as Ctrl-C does: nothing half-written stays. Training has its own answer."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a launcher sends it again while we clear away
    _caught.append(number)
    raise KeyboardInterrupt


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether it is a Ctrl-C, or the exit that typer makes of one."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = (error.__cause__ or error.__context__) if isinstance(error, SystemExit | RuntimeError) else None
    return False

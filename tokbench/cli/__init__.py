"""The command line. Commands are thin and import what is heavy only when they run."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def main() -> None:
    """Entry point of the console script: a user's mistake is one clear line and exit code 2, never a traceback."""
    from tokbench import threads
    from tokbench.cli.allocator import keep_freed_memory
    from tokbench.cli.app import app
    from tokbench.errors import TokbenchError

    keep_freed_memory()
    threads.begin()
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)
    try:
        app()
    except TokbenchError as error:
        for line in str(error).splitlines():
            print(f"tokbench: {line}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # | head
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:  # what the machine refused: a folder in the way, no permission, a full disk
        if error.filename is None and error.errno is None:
            raise
        place = f"{error.filename}: " if error.filename is not None else ""
        print(f"tokbench: {place}{error.strerror or error}", file=sys.stderr)
        sys.exit(2)
    except RuntimeError as error:
        from tokbench.data.workers import is_death, told

        if not is_death(error):
            raise
        print(f"tokbench: {told(error)}", file=sys.stderr)
        sys.exit(2)
    except Terminated:
        print("tokbench: ended by SIGTERM", file=sys.stderr)
        sys.exit(128 + signal.SIGTERM)
    except KeyboardInterrupt as error:
        print("tokbench: " + (str(error) or "interrupted"), file=sys.stderr)
        sys.exit(130)


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does: nothing half-written stays."""


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a launcher sends it again while we clear away
    raise Terminated

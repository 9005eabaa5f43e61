"""The command line. Commands are thin and import what is heavy only when they run."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the console script: a user's mistake is one clear line and exit code 2, never a traceback."""
    from tokbench.cli.app import app
    from tokbench.errors import TokbenchError

    try:
        app()
    except TokbenchError as error:
        for line in str(error).splitlines():
            print(f"tokbench: {line}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # | head
        sys.stderr.close()
        sys.exit(0)
    except KeyboardInterrupt:
        print("tokbench: interrupted", file=sys.stderr)
        sys.exit(130)

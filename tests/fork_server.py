"""Forks a run for every line it is told, so that torch is imported once and not at every kill."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_TESTS = Path(__file__).parent
_SERVER = """
import os, sys
import torch
torch.set_num_threads(1)
sys.path.insert(0, {tests!r})
{imports}
print("ready", flush=True)
for line in map(str.strip, sys.stdin):
    child = os.fork()
    if child == 0:
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1), os.dup2(silent, 2)
        os._exit({run})
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class ForkServer:
    """A process that has imported everything and runs what it is asked for in children of its own."""

    def __init__(self, server: subprocess.Popen[str]) -> None:
        self._server = server

    def run(self, line: str, kill: Callable[[], int] | None = None) -> int:
        """The exit code of a run told ``line``; ``kill`` waits for its moment and answers the signal to send."""
        assert self._server.stdin is not None
        self._server.stdin.write(f"{line}\n")
        self._server.stdin.flush()
        child = int(self.answer())
        if kill is not None:
            number = kill()
            try:
                os.kill(child, number)
            except ProcessLookupError:  # it had finished
                pass
        return int(self.answer())

    def answer(self) -> str:
        """The next line it prints."""
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        assert line, "the server died"
        return line.strip()


@contextmanager
def fork_server(imports: str, run: str) -> Iterator[ForkServer]:
    """A server that evaluates ``run``, an exit code that may depend on the text ``line``, after ``imports``."""
    code = _SERVER.format(tests=str(_TESTS), imports=textwrap.dedent(imports), run=run)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(_TESTS.parent)}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
    ) as process:
        server = ForkServer(process)
        assert server.answer() == "ready"
        yield server
        # Leaving closes its input, at which it ends.

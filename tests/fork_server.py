"""Forks a process for everything it is told to run, so that torch and the training loop are imported once and not each
time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_TESTS = Path(__file__).parent
_SERVER = """
import gc, json, os, sys, traceback
import torch, torch._dynamo
torch.set_num_threads(1)
sys.path.insert(0, {tests!r})
import recipes_tiny, sweeps_tiny
import tokbench.cli.encode, tokbench.generators.ar, tokbench.generators.mlm, tokbench.sweeps.plan, tokbench.sweeps.run
import tokbench.training.generator_task, tokbench.training.loop, tokbench.training.tokenizer_task
from tokbench.data import open_images
for split in ("train", "eval"):  # scales the photographs as the tiny recipes ask for them
    open_images("photos", split, image_size=16)
gc.collect(), gc.freeze()  # none of it is garbage, and no child need copy it to find out
gc.set_threshold(20_000, 20, 20)

def child(told):
    out = os.open(told["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1), os.dup2(out, 2)
    os.environ.update(told["environment"])
    sys.argv = ["-c", *told["arguments"]]
    try:
        exec(compile(told["code"], "<told>", "exec"), {{"__name__": "__main__"}})
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(code)

print("ready", flush=True)
for line in sys.stdin:
    told = json.loads(line)
    if "wait" in told:
        print(os.waitstatus_to_exitcode(os.waitpid(told["wait"], 0)[1]), flush=True)
    else:
        pid = os.fork()
        if pid == 0:
            child(told)
        print(pid, flush=True)
"""


class ForkServer:
    """A process that has imported everything and runs Python code in children of its own."""

    def __init__(self, server: subprocess.Popen[str]) -> None:
        self._server = server

    def start(
        self, code: str, *arguments: str, environment: Mapping[str, str] | None = None, output: Path | None = None
    ) -> int:
        """The process id of a child that runs ``code``, with ``sys.argv[1:]``; what it prints goes to ``output``."""
        told = {"code": code, "arguments": arguments, "environment": dict(environment or {})}
        return int(self._answer({**told, "output": str(output or os.devnull)}))

    def wait(self, child: int) -> int:
        """The exit code of a child, minus the signal where one ended it."""
        return int(self._answer({"wait": child}))

    def run(self, code: str, kill: Callable[[], int] | None = None) -> int:
        """The exit code of ``code``; ``kill`` waits for its moment and answers the signal to send."""
        child = self.start(code)
        if kill is not None:
            os.kill(child, kill())  # one that has finished is there until it is waited for
        return self.wait(child)

    def check(self, code: str, *arguments: str, printed: Path) -> None:
        """AssertionError with what ``code`` printed, where it does not come to its end."""
        failed = self.wait(self.start(code, *arguments, output=printed))
        assert not failed, printed.read_text()[-2000:]

    def _answer(self, told: Mapping[str, object]) -> str:
        assert self._server.stdin is not None
        self._server.stdin.write(f"{json.dumps(told)}\n")
        self._server.stdin.flush()
        return self.line()

    def line(self) -> str:
        """The next line it prints."""
        assert self._server.stdout is not None
        line = self._server.stdout.readline()
        assert line, "the server died"
        return line.strip()


@contextmanager
def fork_server() -> Iterator[ForkServer]:
    """A server that is ready; it ends when its input is closed."""
    # Triton decides when it is imported, as torch's compiler does, whether its kernels run without a GPU.
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(_TESTS.parent), "TRITON_INTERPRET": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", _SERVER.format(tests=str(_TESTS))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env,
    ) as process:  # fmt: skip
        server = ForkServer(process)
        assert server.line() == "ready"
        yield server

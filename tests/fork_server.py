"""Forks a process for everything it is told to run, so that torch and the training loop are imported once and not each
time: for both of the processes that the suite runs in."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

_TESTS = Path(__file__).parent
_SERVER = """
import gc, json, os, select, socket, sys, traceback
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

def serve(lines):  # a client's children, from a process of its own: none waits for those of another
    print("ready", file=lines, flush=True)
    for line in lines:
        told = json.loads(line)
        if "wait" in told:
            answer = os.waitstatus_to_exitcode(os.waitpid(told["wait"], 0)[1])
        elif (answer := os.fork()) == 0:
            child(told)
        print(answer, file=lines, flush=True)

listening = socket.socket(fileno=int(sys.argv[1]))
while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:  # closed by whoever started this
    client, _ = listening.accept()
    if os.fork() == 0:
        listening.close()
        serve(client.makefile("rw"))
        os._exit(0)
    client.close()
os._exit(0)
"""


class ForkServer:
    """A process that has imported everything and runs Python code in children of its own."""

    def __init__(self, lines: TextIO) -> None:
        self._lines = lines
        assert self._line() == "ready"

    def start(
        self, code: str, *arguments: str, environment: Mapping[str, str] | None = None, output: Path | None = None
    ) -> int:
        """The process id of a child that runs ``code``, with ``sys.argv[1:]``; what it prints goes to ``output``."""
        own = {"TOKBENCH_CACHE": os.environ["TOKBENCH_CACHE"]}  # the server has that of whoever started it
        told = {"code": code, "arguments": arguments, "environment": {**own, **(environment or {})}}
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
        print(json.dumps(told), file=self._lines, flush=True)
        return self._line()

    def _line(self) -> str:
        line = self._lines.readline()
        assert line, "the server died"
        return line.strip()


@contextmanager
def fork_server(folder: Path) -> Iterator[ForkServer]:
    """A server that is ready: the one that listens in ``folder``, else a new one, which ends with this context."""
    with ExitStack() as stack:
        client = stack.enter_context(socket.socket(socket.AF_UNIX))
        address = str(folder / "forks")
        with Path(f"{address}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                client.connect(address)
            except (FileNotFoundError, ConnectionRefusedError):  # nobody's yet, or of one that has ended
                Path(address).unlink(missing_ok=True)
                stack.enter_context(_started(address))
                client.connect(address)
        yield ForkServer(stack.enter_context(client.makefile("rw")))


@contextmanager
def _started(address: str) -> Iterator[None]:
    # Triton decides when it is imported, as torch's compiler does, whether its kernels run without a GPU.
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(_TESTS.parent), "TRITON_INTERPRET": "1"}
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        number = listening.fileno()
        command = [sys.executable, "-c", _SERVER.format(tests=str(_TESTS)), str(number)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, env=env, pass_fds=[number])
    with process:
        try:
            yield
        finally:
            process.terminate()  # processes that were forked here since hold its input open

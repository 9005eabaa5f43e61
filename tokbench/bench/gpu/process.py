"""A step's own process, started while the one before works: importing takes as long as many a step itself."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Sequence

from tokbench.bench.gpu import group
from tokbench.bench.gpu.step import Setting, Step


class Process:
    """Imports what the step needs and waits until ``finish`` gives the word."""

    def __init__(self, step: Step, setting: Setting) -> None:
        self.step, self.log = step, setting.folder / f"{step.key}.log"
        code = "import sys; from tokbench.bench.gpu import group, run; group.wait_for_word(); run.child(*sys.argv[1:])"
        command = [sys.executable, "-c", code, step.key, setting.device, str(int(setting.tiny)), str(setting.folder)]
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [*command, setting.data], stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True
            )

    def finish(self, seconds: float) -> str:
        """Let it do its work for at most so long; what there is to say of its end, where it had to be stopped."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended before: its log says why
            self.process.stdin.write(b"\n")
            self.process.stdin.flush()
        try:
            self.process.wait(seconds)
            return ""
        except subprocess.TimeoutExpired:
            return f"stopped after {seconds:.0f} s"
        finally:
            group.end(self.process)

    def end(self) -> None:
        """Whatever it does; of one that never had the word nothing is left."""
        if self.process.poll() is None:
            group.end(self.process)
            self.log.unlink(missing_ok=True)


def processes(steps: Sequence[Step], setting: Setting) -> Iterator[Process]:
    """A process for each step, in order. It ends with its turn, in which the next one's already imports."""
    ahead: list[Process] = []
    try:
        for index in range(len(steps)):
            ahead += [Process(step, setting) for step in steps[index + len(ahead) : index + 2]]
            yield ahead[0]
            ahead.pop(0).end()
    finally:
        for process in ahead:
            process.end()

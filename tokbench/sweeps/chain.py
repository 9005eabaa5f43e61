"""What one job of a cluster does. Knows no torch: the job's own process only starts others and passes signals on."""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokbench.sweeps.worker import command


@dataclass
class Chain:
    """One job: a tokenizer and its generators, one after the other. Called on the cluster's machine."""

    out: Path
    keys: list[str]
    tokenizer: str | None  # its key, where it is among them
    redone: set[str]
    again: bool
    cpu: bool
    processes: int
    place: dict[str, str] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)  # exit codes of what has ended

    def __call__(self) -> dict[str, int]:
        """Exit codes by cell; what comes after a failed tokenizer is left out."""
        for key in self.keys:
            if key in self.codes:
                continue
            redo = key in self.redone
            flags = {"again": self.again, "cpu": self.cpu, "redo": redo}
            arguments = command(self.out, key, processes=self.processes, **flags)
            with (self.out / "cells" / key / "output.txt").open("ab") as output:
                self._child: Any = subprocess.Popen(
                    arguments,
                    env={**os.environ, **self.place},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            self.codes[key] = self._child.wait()
            if self.codes[key] and key == self.tokenizer:
                break
        return self.codes

    def checkpoint(self) -> Any:
        """Preempted, or out of time: the cell saves its checkpoint, and the job is queued again."""
        from submitit.helpers import DelayedSubmission

        child = getattr(self, "_child", None)
        if child is not None and child.poll() is None:
            child.send_signal(signal.SIGTERM)
            child.wait()
        return DelayedSubmission(self)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_child"}

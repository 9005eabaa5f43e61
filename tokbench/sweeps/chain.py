"""What one job of a cluster does. Knows no torch: the job's own process only starts others and passes signals on."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokbench.sweeps.worker import start


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
            flags = {"again": self.again, "cpu": self.cpu, "redo": key in self.redone}
            self._child: Any = start(self.out, key, self.place, processes=self.processes, **flags)
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

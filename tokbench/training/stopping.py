"""Being asked to stop: SIGTERM (preemption, out of time) and Ctrl-C end a run after the step it is in."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator

_SIGNALS = (signal.SIGINT, signal.SIGTERM)  # where both came: Ctrl-C


class Stop:
    """Catches the signals within ``with``. ``by`` names the one that stopped the run, the same on all processes.

    A second Ctrl-C ends the run at once, as KeyboardInterrupt. A second SIGTERM does not: the same preemption reaches a
    process from the scheduler and from whatever launched it.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self.accelerator = accelerator
        self.by: str | None = None
        self._caught: set[int] = set()
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        for number in _SIGNALS:
            try:
                self._previous[number] = signal.signal(number, self._catch)
            except ValueError:  # not the main thread: whoever runs us handles signals
                break
        return self

    def __exit__(self, *fault: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _catch(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._caught:
            raise KeyboardInterrupt
        self._caught.add(number)

    def asked(self) -> bool:
        """Whether any process was asked to. Collective."""
        if self.accelerator.num_processes == 1:
            caught = [number in self._caught for number in _SIGNALS]
        else:
            flags = torch.tensor([float(number in self._caught) for number in _SIGNALS])
            caught = (self.accelerator.reduce(flags.to(self.accelerator.device), "sum") > 0).tolist()
        named = [number.name for number, found in zip(_SIGNALS, caught, strict=True) if found]
        self.by = named[0] if named else None
        return self.by is not None

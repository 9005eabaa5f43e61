"""What a step of ``tokbench bench gpu`` is: a question, the code that answers it, and how long that should take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokbench.bench.gpu.account import Work


@dataclass(frozen=True)
class Bar:
    """A number that is to be reached: at least, or at most, ``bound``."""

    what: str
    value: float | None
    bound: float
    least: bool = True

    @property
    def met(self) -> bool:
        if self.value is None:
            return False
        return self.value >= self.bound if self.least else self.value <= self.bound

    def text(self) -> str:
        sign, value = ">=" if self.least else "<=", "none" if self.value is None else f"{self.value:.4g}"
        return f"{self.what}: {value} ({sign} {self.bound:g}: {'met' if self.met else 'NOT met'})"


@dataclass(frozen=True)
class Answer:
    """What a step found. ``result`` has a JSON form; ``says`` is a line for the table."""

    says: str
    result: Any
    bars: list[Bar] = field(default_factory=list)


@dataclass(frozen=True)
class Setting:
    """Where and how large.

    Args:
        device: ``cuda``, or ``cpu`` for a rehearsal.
        tiny: small sizes, so that the same code runs in seconds on a CPU. Such records say so.
        folder: of the records; runs of a step's own go below it.
        data: the images that rows are trained on and loaders read, a source as ``--data`` takes it.
        keep: takes what a step has found before it is through, for its record if it is stopped.
    """

    device: str
    tiny: bool
    folder: Path
    data: str = "photos"
    keep: Callable[[Answer], None] = lambda answer: None


@dataclass(frozen=True)
class Step:
    """One step, in a process of its own.

    Args:
        key: names its record, ``KEY.json``.
        asks: what is to be found out.
        run: the code; raises where there is no answer.
        work: the device's part of it, counted without running it, to be turned into seconds.
        fixed: seconds besides: starting, compiling, loading.
        most: seconds after which it is stopped.
    """

    key: str
    asks: str
    run: Callable[[Setting], Answer]
    work: Callable[[], Work]
    fixed: float
    most: float

"""What of a quantizer's settings its paper leaves open: constructor arguments with the values worth trying."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Scale = Literal["linear", "log"]


@dataclass(frozen=True)
class Between:
    """A number in [low, high]; a whole one where both ends are.

    ``unset``: what the constructor takes where its default is None.
    """

    name: str
    low: float
    high: float
    scale: Scale = "log"
    unset: float | None = None

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.scale == "log" and self.low <= 0):
            raise ValueError(f"{self.name}: no {self.scale} scale from {self.low} to {self.high}")

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)


@dataclass(frozen=True)
class OneOf:
    """One of several values without an order."""

    name: str
    choices: tuple[Any, ...]
    unset: Any = None


Tunable = Between | OneOf

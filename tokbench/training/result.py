"""What a run of the loop comes to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TrainingResult:
    """Where a run lies and what it took. ``product`` is the folder of the finished model."""

    folder: Path
    product: Path
    steps: int
    images: int
    seconds: float
    finished: bool
    last: dict[str, float]
    stopped_by: str | None = None  # SIGTERM or SIGINT
    skipped: int = 0  # steps left out by ``training.on_nan: skip``
    speed: dict[str, Any] = field(default_factory=dict)  # of a finished run; ``tokbench.training.telemetry``

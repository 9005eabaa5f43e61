"""What a person sees where there is no terminal: a line after the first step, then one now and then."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

from tokbench.printing import terminal
from tokbench.training import progress as progress_file
from tokbench.training.progress import TrainingProgress


def test_the_time_left_is_said_from_the_first_step_on(monkeypatch: pytest.MonkeyPatch) -> None:
    said, clock = io.StringIO(), [100.0]
    monkeypatch.setattr(progress_file, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    with TrainingProgress("[1/3] run [b]", 1000, start=10, console=terminal(file=said, width=40)) as progress:
        for step, seconds, values in [
            (11, 2.0, {}),
            (12, 15.0, {"loss": 0.5}),  # too soon for another
            (20, 18.0, {"loss": 0.5}),
            (21, 40.0, {}),  # nothing new to say
            (1000, 41.0, {"loss": 0.25}),
        ]:
            clock[0] = 100.0 + seconds
            progress.update(step, values)
    assert said.getvalue().splitlines() == [
        "[1/3] run [b]  11/1000  about 32 min 58 s left",
        "[1/3] run [b]  20/1000  loss 0.5  about 29 min 24 s left",
        "[1/3] run [b]  1000/1000  loss 0.25",
    ]

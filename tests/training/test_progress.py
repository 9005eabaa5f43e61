"""What a person sees where there is no terminal: a line after the first step, then one now and then."""

from __future__ import annotations

import io
import re

from tokbench.printing import terminal
from tokbench.training.progress import TrainingProgress


def test_the_time_left_is_said_from_the_first_step_on() -> None:
    said = io.StringIO()
    progress = TrainingProgress("[1/3] run [b]", 1000, start=10, console=terminal(file=said, width=40))
    with progress:
        progress.update(11, {})
        progress.update(12, {"loss": 0.5})  # too soon for another
        progress.update(1000, {"loss": 0.25})
    first, last = said.getvalue().splitlines()
    assert re.fullmatch(r"\[1/3\] run \[b\]  11/1000  about \d.* left", first)
    assert last == "[1/3] run [b]  1000/1000  loss 0.25"

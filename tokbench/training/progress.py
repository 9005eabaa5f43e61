"""What a person sees while a run lasts: a live bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tokbench.printing import terminal


class TrainingProgress:
    """Shows step, the logged values and the time left. ``enabled=False`` (other processes) shows nothing."""

    def __init__(self, title: str, steps: int, *, start: int = 0, enabled: bool = True, console: Console | None = None):
        self.console = console or terminal(stderr=True)
        self.enabled = enabled
        self.title, self.steps = title, steps
        self._live = enabled and self.console.is_terminal
        self._task: TaskID | None = None
        self._last_line = self._began = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[values]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self.console,
            transient=False,
        )
        self._start = start

    def __enter__(self) -> TrainingProgress:
        if self._live:
            self._bar.start()
            self._task = self._bar.add_task(self.title, total=self.steps, completed=self._start, values="")
        self._began = time.monotonic()
        return self

    def update(self, step: int, values: Mapping[str, float | str]) -> None:
        """Show that ``step`` steps are done, with these values."""
        if not self.enabled:
            return
        text = "  ".join(
            f"{name} {value if isinstance(value, str) else format(value, '.4g')}" for name, value in values.items()
        )
        if self._task is not None:
            self._bar.update(self._task, completed=step)
            if text:
                self._bar.update(self._task, values=text)
        elif step == self._start + 1 or (text and (time.monotonic() - self._last_line > 15 or step == self.steps)):
            self._last_line = time.monotonic()
            line = "  ".join(filter(None, (f"{self.title}  {step}/{self.steps}", text, self._left(step))))
            self.console.print(line)

    def note(self, text: str) -> None:
        """A line above the bar."""
        if self.enabled:
            self.console.print(text)

    def _left(self, step: int) -> str:
        """How long the rest will take, at the pace so far."""
        done = step - self._start
        left = (time.monotonic() - self._began) / done * (self.steps - step) if done else 0.0
        return f"about {duration(left)} left" if left else ""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._bar.stop()


def duration(seconds: float) -> str:
    """``45 s``, ``3 min 20 s``, ``5 h 10 min``."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"

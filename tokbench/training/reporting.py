"""What a run says while it lasts: a line of means every few steps, to the log, the trackers and the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from tokbench.config.recipe import Recipe, TokenizerRecipe
from tokbench.errors import counted
from tokbench.training.collapse import CollapseWatch
from tokbench.training.gradients import average_over_processes
from tokbench.training.progress import TrainingProgress
from tokbench.training.randomness import random_state, set_random_state
from tokbench.training.run_log import append_event, append_log
from tokbench.training.task import Task
from tokbench.training.telemetry import Telemetry
from tokbench.training.tracking import start_trackers, stop_trackers, track

WINDOW = 100  # steps over which windowed values (codebook usage) are counted


class Reporter:
    """Collects the values of steps. ``last`` holds the newest of every value; ``progress`` is there after ``start``."""

    progress: TrainingProgress

    def __init__(self, recipe: Recipe, accelerator: Accelerator, out: Path, title: str, telemetry: Telemetry) -> None:
        self.recipe, self.accelerator, self.out, self.title = recipe, accelerator, out, title
        self.log, self.telemetry = out / "log.jsonl", telemetry
        self.collapse = CollapseWatch(recipe.quantizer) if isinstance(recipe, TokenizerRecipe) else None
        self.last: dict[str, float] = {}
        self._totals: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}  # by name: a term may be switched on in the middle of a line

    def start(self, step: int, quiet: bool) -> None:
        """``step`` steps are done already."""
        training, enabled = self.recipe.training, self.accelerator.is_main_process and not quiet
        self.progress = TrainingProgress(self.title, training.steps, start=step, enabled=enabled)
        noise = random_state()  # a tracker may draw its run's name
        start_trackers(self.accelerator, training.trackers, self.out, self.title, self.recipe.resolved(), step)
        set_random_state(noise)

    def stop(self) -> None:
        stop_trackers(self.accelerator)

    def add(self, step: int, seconds: float, values: Mapping[str, Tensor], task: Task, skipped: int) -> None:
        """Step ``step`` (from 1) is done, with these values; every ``log_every`` steps their means are logged."""
        for name, value in values.items():
            self._totals[name] = self._totals.get(name, 0.0) + value.detach().float()
            self._counts[name] = self._counts.get(name, 0) + 1
        training = self.recipe.training
        if step % training.log_every and step != training.steps:
            self.progress.update(step, {})
            return
        means = self._means()
        if step % WINDOW < training.log_every or step == training.steps:
            means |= task.window()
            warning = self.collapse.look(step, means) if self.collapse is not None else None
            if warning:
                self.event(step, seconds, "codebook_collapse", warning)
        self.last |= means
        speed = self.telemetry.window()
        counted = {"skipped": float(skipped)} if skipped else {}
        if self.accelerator.is_main_process:
            append_log(self.log, step, seconds, means | counted | speed)
        track(self.accelerator, means | counted | speed, step)
        shown = task.shown(self.last) if "loss" in self.last else {}
        self.progress.update(step, {**shown, **counted, **self.telemetry.shown(speed)})

    def _means(self) -> dict[str, float]:
        """Of every value over the steps since the last call and over all processes. Collective."""
        if not self._totals:  # all of them were skipped
            return {}
        mine = [total / self._counts[name] for name, total in self._totals.items()]
        joined = average_over_processes(self.accelerator, mine)
        means = {name: float(value) for name, value in zip(self._totals, joined, strict=True)}
        self._totals, self._counts = {}, {}
        return means

    def event(self, step: int, seconds: float, event: str, message: str, shown: bool = True) -> None:
        """Something happened at a step: into the log, and on the terminal."""
        if self.accelerator.is_main_process:
            append_event(self.log, step, seconds, event, message)
        if shown:
            self.progress.note(message)

    def left_out(self, steps: int, files: Sequence[tuple[str, str]]) -> None:
        """The run is over: the steps that were skipped, and the data (path, reason)."""
        if steps:
            self.progress.note(f"{counted(steps, 'step')} skipped, whose loss or gradient was not finite")
        for path, reason in files[:5]:
            self.progress.note(f"skipped {path}: {reason}")
        if len(files) > 5:
            self.progress.note(f"skipped {len(files)} in all")

    def state_dict(self) -> dict[str, Any]:
        """Collective. ``window``: of each process, sum and number of every value since the last line."""
        mine = {name: [float(total), self._counts[name]] for name, total in self._totals.items()}
        return {
            "collapse": self.collapse.state_dict() if self.collapse is not None else None,
            "last": self.last,
            "window": gather_object([mine]),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if self.collapse is not None and state["collapse"]:
            self.collapse.load_state_dict(state["collapse"])
        self.last = dict(state.get("last", {}))
        windows = state.get("window", [{}])  # checkpoints of an earlier version have none
        processes, rank = self.accelerator.num_processes, self.accelerator.process_index
        if len(windows) == processes:
            windows = windows[rank : rank + 1]  # otherwise each continues from the mean, which is what is logged
        for name, (_, count) in windows[0].items():
            total = sum(window[name][0] for window in windows) / len(windows)
            self._totals[name] = torch.tensor(total, device=self.accelerator.device)
            self._counts[name] = count

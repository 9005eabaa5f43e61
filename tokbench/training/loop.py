"""The one loop: batches in, task steps, log, images, checkpoints, exact resume."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed
from torch import Tensor

from tokbench import threads
from tokbench.config.recipe import Recipe
from tokbench.errors import TokbenchError
from tokbench.memory import is_out_of_memory
from tokbench.results.files import write
from tokbench.training.checkpoint import load_checkpoint, save_checkpoint
from tokbench.training.compiling import compiler_fault
from tokbench.training.finite import NotFinite, Skips
from tokbench.training.fitting import fitting_accumulation, micro_batch_of, with_accumulation
from tokbench.training.launch import make_accelerator as make_accelerator
from tokbench.training.memory import out_of_memory
from tokbench.training.profiling import StepProfiler
from tokbench.training.randomness import random_state, set_random_state
from tokbench.training.reporting import Reporter
from tokbench.training.result import TrainingResult as TrainingResult
from tokbench.training.resuming import changes
from tokbench.training.run_folder import claim, remove_on_failure, sole
from tokbench.training.run_log import append_event, drop_log_after
from tokbench.training.schedule import learning_rate_factor
from tokbench.training.stopping import Stop
from tokbench.training.stream import Stream
from tokbench.training.task import Batch, Task
from tokbench.training.tasks import build_task
from tokbench.training.telemetry import Telemetry
from tokbench.training.tracking import check_trackers

Look = Callable[[int, Task], None]
_SKIPS_SHOWN = 3  # skipped steps that are named on the terminal; the log has all


def train(
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = False,
    accelerator: Accelerator | None = None,
    quiet: bool = False,
    title: str | None = None,
    stop_at: int | None = None,
    profile: bool = False,
    find_batch_size: bool = False,
    then: str = "continue with --resume",
    look: Look = lambda step, task: None,
) -> TrainingResult:
    """Train what the recipe describes and leave the result in ``out``.

    ``out`` then holds ``recipe.yaml``, ``log.jsonl``, ``pictures/``, ``checkpoints/``, the finished model
    (``tokenizer/`` or ``generator/``) and ``training.json``. SIGTERM, Ctrl-C and reaching step ``stop_at`` save a
    checkpoint and return with ``finished=False``. ``profile`` records a few steps into ``profile/``;
    ``find_batch_size`` accumulates over as many micro-batches as memory asks for, at the recipe's batch. ``then`` is
    what is said to do after a stop.

    Raises TokbenchError when ``out`` is being trained in, holds another run, or an unfinished one and ``resume`` is
    not set, when the batch cannot be split over the processes, when memory runs out, or the loss is no longer finite.
    """
    check_trackers(recipe.training.trackers)
    accelerator = accelerator or make_accelerator(recipe)
    with sole(out, accelerator):
        with remove_on_failure(out, accelerator.is_main_process):
            run = _Run(recipe, out, resume, accelerator, quiet, title or recipe.name, stop_at, profile, find_batch_size)
        return run.go(then, look)


class _Run:
    def __init__(
        self,
        recipe: Recipe,
        out: Path,
        resume: bool,
        accelerator: Accelerator,
        quiet: bool,
        title: str,
        stop_at: int | None,
        profile: bool,
        find_batch_size: bool,
    ):
        self.out, self.accelerator = out, accelerator
        self.main, self.quiet = accelerator.is_main_process, quiet
        self.profile = profile and self.main
        self.stop_at = recipe.training.steps if stop_at is None else min(stop_at, recipe.training.steps)
        self.checkpoints = out / "checkpoints"
        micro_batch_of(recipe, accelerator)  # refuses a batch that does not split, before anything is written
        continued = claim(out, recipe, resume=resume, main=self.main)
        accelerator.wait_for_everyone()
        state = self._read_checkpoint() if continued else {}
        if find_batch_size:
            found = state.get("gradient_accumulation") or fitting_accumulation(recipe, accelerator, build_task)
            recipe = with_accumulation(recipe, found)
        self.recipe = recipe
        self.micro_batch = micro_batch_of(recipe, accelerator)
        set_seed(recipe.seed)
        self.task: Task = build_task(recipe, accelerator)
        ranks = accelerator.process_index, accelerator.num_processes
        self.stream = Stream(self.task.batches(self.micro_batch, *ranks))
        self.data = self.task.trained_on()
        self.step, self.seconds = 0, 0.0
        self.skips, self.telemetry = Skips(), Telemetry(accelerator, recipe.training)
        self.report = Reporter(recipe, accelerator, out, title, self.telemetry)
        self.speed: dict[str, Any] = {}
        self.stop = Stop(accelerator)
        if continued:
            self._restore(state)
        else:
            # Each process draws its own noise; the first one draws what a single process would.
            set_seed(recipe.seed, device_specific=True)

    def go(self, then: str, look: Look) -> TrainingResult:
        """All remaining steps; ``then``: what to do after a stop."""
        training, steps = self.recipe.training, self.recipe.training.steps
        stream = iter(self.stream)
        started, before = time.monotonic(), self.seconds
        self.report.start(self.step, self.quiet)
        progress = self.report.progress
        profiler = StepProfiler(self.out / "profile", self.stop_at - self.step, progress.note) if self.profile else None
        try:
            with progress, self.stop:
                while self.step < self.stop_at and not self.stop.asked():
                    if profiler is not None:
                        profiler.before()
                    if (changed := threads.adapt()) is not None:
                        self.report.event(self.step, self.seconds, "threads", changed)
                    self.telemetry.begin()
                    micro = [next(stream) for _ in range(training.gradient_accumulation)]
                    self.telemetry.fetched()
                    values = self._train_step(micro)
                    self.step += 1
                    self.seconds = before + time.monotonic() - started
                    if profiler is not None:
                        profiler.after(self.step)
                    self.report.add(self.step, self.seconds, values, self.task, self.skips.total)
                    look(self.step, self.task)
                    if self.step < self.stop_at:
                        self._periodic()
                if profiler is not None:
                    profiler.stop(self.step)
                if self.step < steps:
                    self._save()
                    why = f" by {self.stop.by}" if self.stop.by else ""
                    progress.note(f"stopped{why} at step {self.step} of {steps}; checkpoint saved, {then}")
                else:
                    self._finish()
                self.report.left_out(self.skips.total, self.task.skipped())
        finally:
            self.report.stop()
        return TrainingResult(
            folder=self.out,
            product=self.out / self.task.product,
            steps=self.step,
            images=self.step * training.batch_size,
            seconds=self.seconds,
            finished=self.step >= steps,
            last=self.report.last,
            stopped_by=self.stop.by if self.step < steps else None,
            skipped=self.skips.total,
            speed=self.speed,
        )

    # --- what goes to disk

    def _periodic(self) -> None:
        training = self.recipe.training
        if training.picture_every and self.step % training.picture_every == 0:
            self._picture()
        if training.checkpoint_every and self.step % training.checkpoint_every == 0:
            self._save()

    def _picture(self) -> None:
        # Looking must not change what is trained: a sampler would advance the random generators.
        noise = random_state()
        self.task.picture(self.out / "pictures" / f"step-{self.step:08d}.png")
        set_random_state(noise)

    def _save(self) -> None:
        noise = gather_object([random_state()])
        task, report = self.task.state_dict(), self.report.state_dict()
        scaler = self.accelerator.scaler  # of fp16 alone
        if self.main:
            state = {
                "step": self.step,
                "epoch": self.stream.epoch,
                "batch": self.stream.batch,
                "seconds": self.seconds,
                "processes": self.accelerator.num_processes,
                "gradient_accumulation": self.recipe.training.gradient_accumulation,
                "data": self.data,
                "random": noise,
                "loss_scale": scaler.state_dict() if scaler is not None else None,
                "skips": self.skips.state_dict(),
                "telemetry": self.telemetry.state_dict(),
                "report": report,
                "task": task,
            }
            save_checkpoint(self.checkpoints, self.step, state, keep=self.recipe.training.keep_checkpoints)
        self.accelerator.wait_for_everyone()

    def _read_checkpoint(self) -> dict[str, Any]:
        state, problems = load_checkpoint(self.checkpoints)
        for problem in problems:
            self.accelerator.print(problem)
        if state is None:
            raise TokbenchError(f"{self.checkpoints}: no checkpoint is intact; start again in another --out")
        return state

    def _restore(self, state: dict[str, Any]) -> None:
        accumulation = self.recipe.training.gradient_accumulation
        messages = changes(state, self.accelerator.num_processes, accumulation, self.data)
        self.task.load_state_dict(state["task"])
        if self.accelerator.scaler is not None and state["loss_scale"] is not None:
            self.accelerator.scaler.load_state_dict(state["loss_scale"])
        self.step, self.stream.epoch = state["step"], state["epoch"]
        self.seconds = state["seconds"]
        # Checkpoints of an earlier version may have none of these. Batches are micro-batches of all processes together.
        self.stream.batch = state["batch"] * accumulation // state.get("gradient_accumulation", accumulation)
        if state.get("skips"):
            self.skips.load_state_dict(state["skips"])
        if state.get("telemetry"):
            self.telemetry.load_state_dict(state["telemetry"])
        if state.get("report"):
            self.report.load_state_dict(state["report"])
        set_random_state(state["random"][self.accelerator.process_index % len(state["random"])])
        if self.main:
            drop_log_after(self.report.log, self.step)
            for line in messages:
                self.accelerator.print(line)
                append_event(self.report.log, self.step, self.seconds, "changed", line)

    def _finish(self) -> None:
        self._picture()
        self._save()
        self.task.save(self.out / self.task.product)
        self.speed = self.telemetry.summary()
        if self.main:
            summary: dict[str, Any] = {
                "finished": True,
                "product": self.task.product,
                "steps": self.step,
                "skipped_steps": self.skips.total,
                "images": self.step * self.recipe.training.batch_size,
                "gradient_accumulation": self.recipe.training.gradient_accumulation,
                "seconds": self.seconds,
                "parameters": self.task.parameters,
                "speed": self.speed,
                "last": self.report.last,
            }
            write(self.out / "training.json", json.dumps(summary, indent=2) + "\n")
        self.accelerator.wait_for_everyone()

    # --- faults

    def _train_step(self, batches: list[Batch]) -> dict[str, Tensor]:
        """The step's values; none of a step that was skipped."""
        factor = learning_rate_factor(self.step, self.recipe.training)
        try:
            with self.telemetry.counting():
                values = self.task.step(batches, self.step, factor)
        except NotFinite as fault:
            self._not_finite(fault, batches)
            return {}
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                if why := compiler_fault(error):
                    raise TokbenchError(f"training.compile: {why}; set it to false to train without") from error
                raise
            accumulation, processes = self.recipe.training.gradient_accumulation, self.accelerator.num_processes
            message = out_of_memory(self.recipe, self.micro_batch, accumulation, processes, self.telemetry.precision)
            raise TokbenchError(f"step {self.step + 1}: {message}") from error
        self.skips.step_succeeded()
        self.telemetry.done(values)
        return values

    def _not_finite(self, fault: NotFinite, batches: list[Batch]) -> None:
        training, step = self.recipe.training, self.step + 1
        mine = [name for batch in batches for name in self.task.sample_ids(batch)] if fault.mine else []
        ids = gather_object(mine)
        terms = next(filter(None, gather_object([fault.terms if fault.mine else ""])), fault.terms)
        samples = f"samples of the batch: {', '.join(ids[:8])}{' ...' if len(ids) > 8 else ''}"
        if training.on_nan == "stop":
            raise TokbenchError(
                f"step {step}: the loss is not finite ({terms}); lower training.learning_rate, set "
                f"training.precision=fp32 or go on with --on-nan skip; {samples}"
            )
        message = f"step {step}: skipped, not finite ({terms}); {samples}"
        self.report.event(step, self.seconds, "skipped", message, shown=self.skips.total < _SKIPS_SHOWN)
        self.skips.skipped(step, training.nan_limit, terms)

"""The one loop: batches in, task steps, log, pictures, checkpoints, exact resume."""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, gather_object, set_seed
from torch import Tensor

from tokbench.config.recipe import Recipe
from tokbench.errors import TokbenchError
from tokbench.results.files import write
from tokbench.training.checkpoint import load_checkpoint, save_checkpoint
from tokbench.training.progress import TrainingProgress
from tokbench.training.randomness import random_state, set_random_state
from tokbench.training.run_folder import claim
from tokbench.training.run_log import append_log, drop_log_after
from tokbench.training.schedule import learning_rate_factor
from tokbench.training.task import Batch, Task
from tokbench.training.tasks import build_task

WINDOW = 100  # steps over which windowed values (codebook usage) are counted


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


def make_accelerator(recipe: Recipe, cpu: bool = False) -> Accelerator:
    """An Accelerator for this recipe's precision; under ``accelerate launch`` it joins the other processes."""
    precision = recipe.training.precision
    if precision == "auto":
        precision = "bf16" if torch.cuda.is_available() and not cpu else "fp32"
    # Quantizers keep their codebooks equal on all ranks themselves, so buffers are not broadcast at every step.
    ddp = DistributedDataParallelKwargs(broadcast_buffers=False)
    mixed = "no" if precision == "fp32" else precision
    return Accelerator(mixed_precision=mixed, cpu=cpu, kwargs_handlers=[ddp])


def train(
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = False,
    accelerator: Accelerator | None = None,
    quiet: bool = False,
    title: str | None = None,
    stop_at: int | None = None,
) -> TrainingResult:
    """Train what the recipe describes and leave the result in ``out``.

    ``out`` then holds ``recipe.yaml``, ``log.jsonl``, ``pictures/``, ``checkpoints/``, the finished model
    (``tokenizer/`` or ``generator/``) and ``training.json``. SIGTERM, Ctrl-C and reaching step ``stop_at`` save a
    checkpoint and return with ``finished=False``.

    Raises TokbenchError when ``out`` holds another run, or an unfinished one and ``resume`` is not set, when the
    batch cannot be split over the processes, or when the loss is no longer finite.
    """
    accelerator = accelerator or make_accelerator(recipe)
    return _Run(recipe, out, resume, accelerator, quiet, title or recipe.name, stop_at).go()


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
    ):
        self.recipe, self.out, self.accelerator = recipe, out, accelerator
        self.main, self.quiet, self.title = accelerator.is_main_process, quiet, title
        self.stop_at = recipe.training.steps if stop_at is None else min(stop_at, recipe.training.steps)
        self.checkpoints, self.log = out / "checkpoints", out / "log.jsonl"
        continued = claim(out, recipe.resolved(), resume=resume, main=self.main)
        accelerator.wait_for_everyone()
        set_seed(recipe.seed)
        self.task: Task = build_task(recipe, accelerator)
        share = _share(recipe, accelerator)
        self.batches = self.task.batches(share, accelerator.process_index, accelerator.num_processes)
        self.step = self.epoch = self.batch = 0
        self.seconds = 0.0
        self.stop_signal: int | None = None
        if continued:
            self._restore()
        else:
            # Each process draws its own noise; the first one draws what a single process would.
            set_seed(recipe.seed, device_specific=True)

    def go(self) -> TrainingResult:
        """All remaining steps."""
        training, steps = self.recipe.training, self.recipe.training.steps
        totals: dict[str, Tensor] = {}
        counts: dict[str, int] = {}  # by name: a term may be switched on in the middle of a line
        last: dict[str, float] = {}
        stream = self._stream()
        started, before = time.monotonic(), self.seconds
        previous = self._catch_signals()
        progress = TrainingProgress(self.title, steps, start=self.step, enabled=self.main and not self.quiet)
        try:
            with progress:
                while self.step < self.stop_at and not self._stopping():
                    micro = [next(stream) for _ in range(training.gradient_accumulation)]
                    values = self._train_step(micro)
                    self.step += 1
                    self.seconds = before + time.monotonic() - started
                    for name, value in values.items():
                        totals[name] = totals.get(name, 0.0) + value.detach().float()
                        counts[name] = counts.get(name, 0) + 1
                    if self.step % training.log_every == 0 or self.step == steps:
                        means = {name: float(value) / counts[name] for name, value in totals.items()}
                        if self.step % WINDOW < training.log_every or self.step == steps:
                            means |= self.task.window()
                        last |= means
                        if self.main:
                            append_log(self.log, self.step, self.seconds, means)
                        progress.update(self.step, self.task.shown(last))
                        totals, counts = {}, {}
                    else:
                        progress.update(self.step, {})
                    if self.step < self.stop_at:
                        self._periodic()
                if self.step < steps:
                    self._save()
                    progress.note(f"stopped at step {self.step} of {steps}; checkpoint saved, continue with --resume")
                else:
                    self._finish(last)
                skipped = self.task.skipped()
                for path, reason in skipped[:5]:
                    progress.note(f"skipped {path}: {reason}")
                if len(skipped) > 5:
                    progress.note(f"skipped {len(skipped)} in all")
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        return TrainingResult(
            folder=self.out,
            product=self.out / self.task.product,
            steps=self.step,
            images=self.step * training.batch_size,
            seconds=self.seconds,
            finished=self.step >= steps,
            last=last,
        )

    def _stream(self) -> Iterator[Batch]:
        while True:
            self.batches.set_epoch(self.epoch)
            self.batches.start_batch = self.batch
            before = self.batch
            for batch in self.batches:
                self.batch += 1
                yield batch
            if before == 0 and self.batch == 0:
                raise TokbenchError("the training data ended before its first batch")
            self.epoch, self.batch = self.epoch + 1, 0

    # --- what goes to disk

    def _periodic(self) -> None:
        training = self.recipe.training
        if training.picture_every and self.step % training.picture_every == 0:
            self._picture()
        if training.checkpoint_every and self.step % training.checkpoint_every == 0:
            self._save()

    def _picture(self) -> None:
        if self.main:
            # Looking must not change what is trained: a sampler would advance the random generators.
            noise = random_state()
            self.task.picture(self.out / "pictures" / f"step-{self.step:08d}.png")
            set_random_state(noise)

    def _save(self) -> None:
        noise = gather_object([random_state()])
        scaler = self.accelerator.scaler  # of fp16 alone
        if self.main:
            state = {
                "step": self.step,
                "epoch": self.epoch,
                "batch": self.batch,
                "seconds": self.seconds,
                "processes": self.accelerator.num_processes,
                "random": noise,
                "loss_scale": scaler.state_dict() if scaler is not None else None,
                "task": self.task.state_dict(),
            }
            save_checkpoint(self.checkpoints, self.step, state, keep=self.recipe.training.keep_checkpoints)
        self.accelerator.wait_for_everyone()

    def _restore(self) -> None:
        state, problems = load_checkpoint(self.checkpoints)
        for problem in problems:
            self.accelerator.print(problem)
        if state is None:
            raise TokbenchError(f"{self.checkpoints}: no checkpoint is intact; start again in another --out")
        processes = self.accelerator.num_processes
        if state["processes"] != processes:
            self.accelerator.print(
                f"the run had {state['processes']} processes and now has {processes}: it goes on, not to the same bits"
            )
        self.task.load_state_dict(state["task"])
        if self.accelerator.scaler is not None and state["loss_scale"] is not None:
            self.accelerator.scaler.load_state_dict(state["loss_scale"])
        self.step, self.epoch, self.batch = state["step"], state["epoch"], state["batch"]
        self.seconds = state["seconds"]
        set_random_state(state["random"][self.accelerator.process_index % len(state["random"])])
        if self.main:
            drop_log_after(self.log, self.step)

    def _finish(self, last: dict[str, float]) -> None:
        self._picture()
        self._save()
        if self.main:
            self.task.save(self.out / self.task.product)
            summary: dict[str, Any] = {
                "finished": True,
                "product": self.task.product,
                "steps": self.step,
                "images": self.step * self.recipe.training.batch_size,
                "seconds": self.seconds,
                "parameters": self.task.parameters,
                "last": last,
            }
            write(self.out / "training.json", json.dumps(summary, indent=2) + "\n")
        self.accelerator.wait_for_everyone()

    # --- faults

    def _train_step(self, batches: list[Batch]) -> dict[str, Tensor]:
        factor = learning_rate_factor(self.step, self.recipe.training)
        try:
            values = self.task.step(batches, self.step, factor)
        except ValueError as error:  # a quantizer's word for latents that are NaN
            if "NaN" not in str(error):
                raise
            terms = str(error)
        else:
            if math.isfinite(float(values["loss"])):
                return values
            terms = ", ".join(f"{name} {float(value):.4g}" for name, value in values.items())
        ids = [name for batch in batches for name in self.task.sample_ids(batch)]
        raise TokbenchError(
            f"step {self.step + 1}: the loss is not finite ({terms}); lower training.learning_rate or set "
            f"training.precision=fp32; samples of the batch: {', '.join(ids[:8])}{' ...' if len(ids) > 8 else ''}"
        )

    def _catch_signals(self) -> dict[int, Any]:
        def stop(number: int, frame: object) -> None:
            if self.stop_signal is not None:  # asked twice: now
                raise KeyboardInterrupt
            self.stop_signal = number

        previous: dict[int, Any] = {}
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                previous[number] = signal.signal(number, stop)
            except ValueError:  # not the main thread: whoever runs us handles signals
                return previous
        return previous

    def _stopping(self) -> bool:
        if self.accelerator.num_processes == 1:
            return self.stop_signal is not None
        flag = torch.tensor(float(self.stop_signal is not None), device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, "sum") > 0)


def _share(recipe: Recipe, accelerator: Accelerator) -> int:
    """Samples of one micro-batch on one process."""
    training, processes = recipe.training, accelerator.num_processes
    parts = processes * training.gradient_accumulation
    share, rest = divmod(training.batch_size, parts)
    if rest:
        raise TokbenchError(
            f"training.batch_size {training.batch_size} does not split over {processes} processes "
            f"x {training.gradient_accumulation} accumulation steps; choose a multiple of {parts}"
        )
    return share

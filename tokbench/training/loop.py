"""The one loop: data in, task steps, log, pictures, checkpoints, exact resume."""

from __future__ import annotations

import json
import math
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, gather_object, set_seed
from torch import Tensor

from tokbench.config.recipe import TokenizerRecipe
from tokbench.data import loader, open_images
from tokbench.errors import TokbenchError
from tokbench.training.checkpoint import load_checkpoint, newest_step, save_checkpoint
from tokbench.training.files import write_text
from tokbench.training.progress import TrainingProgress
from tokbench.training.schedule import learning_rate_factor
from tokbench.training.tokenizer_task import Batch, TokenizerTask

USAGE_WINDOW = 100  # steps over which the codebook usage in the log is counted


@dataclass(frozen=True)
class TrainingResult:
    """Where a finished run lies and what it took."""

    folder: Path
    steps: int
    images: int
    seconds: float
    finished: bool
    last: dict[str, float]

    @property
    def tokenizer(self) -> Path:
        return self.folder / "tokenizer"


def make_accelerator(recipe: TokenizerRecipe, cpu: bool = False) -> Accelerator:
    """An Accelerator for this recipe's precision; under ``accelerate launch`` it joins the other processes."""
    precision = recipe.training.precision
    if precision == "auto":
        precision = "bf16" if torch.cuda.is_available() and not cpu else "fp32"
    # Quantizers keep their codebooks equal on all ranks themselves, so buffers are not broadcast at every step.
    ddp = DistributedDataParallelKwargs(broadcast_buffers=False)
    mixed = "no" if precision == "fp32" else precision
    return Accelerator(mixed_precision=mixed, cpu=cpu, kwargs_handlers=[ddp])


def train(
    recipe: TokenizerRecipe,
    out: Path,
    *,
    resume: bool = False,
    accelerator: Accelerator | None = None,
    quiet: bool = False,
    title: str | None = None,
) -> TrainingResult:
    """Train what the recipe describes and leave the result in ``out``.

    ``out`` then holds ``recipe.yaml``, ``log.jsonl``, ``pictures/``, ``checkpoints/``, ``tokenizer/`` and
    ``training.json``. SIGTERM and Ctrl-C save a checkpoint and return with ``finished=False``.

    Raises TokbenchError when ``out`` holds another or an unfinished run and ``resume`` is not set, when the
    batch cannot be split over the processes, or when the loss is no longer finite.
    """
    accelerator = accelerator or make_accelerator(recipe)
    run = _Run(recipe, out, resume, accelerator, quiet, title or recipe.name)
    return run.go()


class _Run:
    def __init__(
        self, recipe: TokenizerRecipe, out: Path, resume: bool, accelerator: Accelerator, quiet: bool, title: str
    ):
        self.recipe, self.out, self.accelerator = recipe, out, accelerator
        self.main = accelerator.is_main_process
        self.quiet, self.title = quiet, title
        self.checkpoints = out / "checkpoints"
        self._claim_folder(resume)
        set_seed(recipe.seed)
        self.task = TokenizerTask(recipe, accelerator)
        training = recipe.training
        share, rest = divmod(training.batch_size, accelerator.num_processes * training.gradient_accumulation)
        if rest or not share:
            raise TokbenchError(
                f"training.batch_size {training.batch_size} does not split over {accelerator.num_processes} processes "
                f"x {training.gradient_accumulation} accumulation steps; choose a multiple of "
                f"{accelerator.num_processes * training.gradient_accumulation}"
            )
        data = recipe.data
        self.images = open_images(
            data.source,
            "train",
            image_size=data.image_size,
            crop=data.crop,
            flip=data.flip,
            seed=recipe.seed,
            limit=data.limit,
        )
        if len(self.images) < training.batch_size:
            raise TokbenchError(
                f"data.source {data.source}: {len(self.images)} training images are fewer than one batch of "
                f"{training.batch_size}; lower training.batch_size"
            )
        self.loader = loader(
            self.images,
            batch_size=share,
            shuffle=True,
            seed=recipe.seed,
            workers=data.workers,
            drop_last=True,
            rank=accelerator.process_index,
            world_size=accelerator.num_processes,
        )
        self.step = self.epoch = self.batch = 0
        self.seconds = 0.0
        self.stop_signal: int | None = None
        if resume:
            self._restore()
        # Each process draws its own noise, whatever it drew while building the (identical) model.
        elif accelerator.num_processes > 1:
            set_seed(recipe.seed, device_specific=True)

    def go(self) -> TrainingResult:
        """All remaining steps."""
        training, steps = self.recipe.training, self.recipe.training.steps
        held_out = self._held_out()
        window: dict[str, Tensor] = {}
        counted, last = 0, {}  # type: int, dict[str, float]
        batches = self._batches()
        started, before = time.monotonic(), self.seconds
        previous = self._catch_signals()
        progress = TrainingProgress(self.title, steps, start=self.step, enabled=self.main and not self.quiet)
        try:
            with progress:
                for path_and_reason in getattr(self.images, "skipped", [])[:5]:
                    progress.note("skipped {}: {}".format(*path_and_reason))
                while self.step < steps and not self._stopping():
                    micro = [next(batches) for _ in range(training.gradient_accumulation)]
                    values = self.task.step(micro, learning_rate_factor(self.step, training))
                    self._guard(values, micro)
                    self.step += 1
                    self.seconds = before + time.monotonic() - started
                    for name, value in values.items():
                        window[name] = window.get(name, 0.0) + value.detach().float()
                    counted += 1
                    if self.step % training.log_every == 0 or self.step == steps:
                        means = {name: float(value) / counted for name, value in window.items()}
                        if self.step % USAGE_WINDOW < training.log_every or self.step == steps:
                            means["usage"] = self.task.usage()
                        last |= means
                        self._log(means)
                        progress.update(self.step, self.task.shown_values(last))
                        window, counted = {}, 0
                    else:
                        progress.update(self.step, {})
                    if self.step < steps:
                        self._periodic(held_out)
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        if self.step < steps:
            self._save()
            if self.main and not self.quiet:
                progress.note(f"stopped at step {self.step} of {steps}; checkpoint saved, continue with --resume")
        else:
            self._finish(held_out, last)
        images = self.step * training.batch_size
        return TrainingResult(self.out, self.step, images, self.seconds, self.step >= steps, last)

    # --- data

    def _batches(self) -> Iterator[Batch]:
        while True:
            self.loader.set_epoch(self.epoch)
            self.loader.start_batch = self.batch
            for batch in self.loader:
                self.batch += 1
                yield batch
            self.epoch, self.batch = self.epoch + 1, 0

    def _held_out(self) -> Tensor | None:
        if not self.main:
            return None
        data = self.recipe.data
        images = open_images(data.source, "eval", image_size=data.image_size, limit=data.eval_limit)
        if len(images) == 0:
            raise TokbenchError(f"data.source {data.source}: no held-out images to look at")
        picked = range(0, len(images), max(1, len(images) // 16))
        return torch.stack([images[i]["image"] for i in list(picked)[:16]])

    # --- what goes to disk

    def _claim_folder(self, resume: bool) -> None:
        resolved = self.out / "recipe.yaml"
        text = yaml.safe_dump(self.recipe.resolved(), sort_keys=False)
        at = newest_step(self.checkpoints)
        if resume and at is None and not resolved.exists():
            resume = False
        if not resume and (at is not None or (self.out / "tokenizer").exists()):
            what = f"an unfinished run (step {at})" if not (self.out / "tokenizer").exists() else "a finished run"
            raise TokbenchError(f"{self.out}: holds {what}; continue it with --resume or choose another --out")
        if resume and resolved.exists():
            old = yaml.safe_load(resolved.read_text())
            new = yaml.safe_load(text)
            changed = _differences(old, new)
            if changed and at is not None:
                raise TokbenchError(f"{self.out}: --resume with another recipe: {', '.join(changed)} differ")
        if self.main:
            self.out.mkdir(parents=True, exist_ok=True)
            write_text(resolved, text)
            if not resume:
                (self.out / "log.jsonl").unlink(missing_ok=True)
        self.accelerator.wait_for_everyone()

    def _log(self, values: dict[str, float]) -> None:
        if self.main:
            line = {"step": self.step, "seconds": round(self.seconds, 3), **values}
            with (self.out / "log.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")

    def _periodic(self, held_out: Tensor | None) -> None:
        training = self.recipe.training
        if held_out is not None and training.picture_every and self.step % training.picture_every == 0:
            self.task.picture(held_out, self.out / "pictures" / f"step-{self.step:08d}.png")
        if training.checkpoint_every and self.step % training.checkpoint_every == 0:
            self._save()

    def _save(self) -> None:
        noise = gather_object([_random_state()])
        if self.main:
            state = {
                "step": self.step,
                "epoch": self.epoch,
                "batch": self.batch,
                "seconds": self.seconds,
                "processes": self.accelerator.num_processes,
                "random": noise,
                "task": self.task.state_dict(),
            }
            save_checkpoint(self.checkpoints, self.step, state, keep=self.recipe.training.keep_checkpoints)
        self.accelerator.wait_for_everyone()

    def _restore(self) -> None:
        state, problems = load_checkpoint(self.checkpoints)
        for problem in problems:
            self.accelerator.print(problem)
        if state is None:
            if problems:
                raise TokbenchError(f"{self.checkpoints}: no checkpoint is intact; start again in another --out")
            return
        if state["processes"] != self.accelerator.num_processes:
            self.accelerator.print(
                f"the run had {state['processes']} processes and now has {self.accelerator.num_processes}: "
                "it continues, but not to the same bits"
            )
        self.task.load_state_dict(state["task"])
        self.step, self.epoch, self.batch = state["step"], state["epoch"], state["batch"]
        self.seconds = state["seconds"]
        _set_random_state(state["random"][self.accelerator.process_index % len(state["random"])])
        _drop_log_after(self.out / "log.jsonl", self.step) if self.main else None

    def _finish(self, held_out: Tensor | None, last: dict[str, float]) -> None:
        if self.main:
            if held_out is not None:
                self.task.picture(held_out, self.out / "pictures" / f"step-{self.step:08d}.png")
            self.task.save(self.out / "tokenizer")
            parameters = sum(p.numel() for p in self.task.tokenizer.parameters())
            summary: dict[str, Any] = {
                "finished": True,
                "steps": self.step,
                "images": self.step * self.recipe.training.batch_size,
                "seconds": self.seconds,
                "parameters": parameters,
                "last": last,
            }
            write_text(self.out / "training.json", json.dumps(summary, indent=2) + "\n")
        self._save()

    # --- faults

    def _guard(self, values: dict[str, Tensor], batches: list[Batch]) -> None:
        if math.isfinite(float(values["loss"])):
            return
        terms = ", ".join(f"{name} {float(value):.4g}" for name, value in values.items())
        ids = [str(i) for batch in batches for i in batch["id"]]  # type: ignore[attr-defined]
        raise TokbenchError(
            f"step {self.step + 1}: the loss is not finite ({terms}); lower training.learning_rate or set "
            f"training.precision=fp32; images of the batch: {', '.join(ids[:8])}{' ...' if len(ids) > 8 else ''}"
        )

    def _catch_signals(self) -> dict[int, Any]:
        def stop(number: int, frame: object) -> None:
            if self.stop_signal is not None:  # asked twice: now
                raise KeyboardInterrupt
            self.stop_signal = number

        previous = {}
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


def _random_state() -> dict[str, Any]:
    version, numbers, gauss = random.getstate()
    state: dict[str, Any] = {"python": [version, list(numbers), gauss], "torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def _set_random_state(state: dict[str, Any]) -> None:
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])


def _drop_log_after(path: Path, step: int) -> None:
    """Lines logged after the checkpoint belong to a past that did not happen."""
    if path.exists():
        kept = [line for line in path.read_text().splitlines() if _step_of(line) <= step]
        write_text(path, "".join(f"{line}\n" for line in kept))


def _step_of(line: str) -> float:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf


def _differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [d for k in sorted({*old, *new}) for d in _differences(old.get(k), new.get(k), f"{prefix}{k}.")]
    return [] if old == new else [prefix.rstrip(".")]

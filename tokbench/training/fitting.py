"""How a batch is cut: over processes, and into the largest micro-batches that fit in memory, found by trying."""

from __future__ import annotations

from collections.abc import Callable

import torch
from accelerate import Accelerator
from accelerate.utils import find_executable_batch_size, set_seed
from torch import Tensor

from tokbench.config.recipe import Recipe
from tokbench.errors import TokbenchError
from tokbench.memory import is_out_of_memory
from tokbench.training.finite import NotFinite
from tokbench.training.memory import out_of_memory
from tokbench.training.task import Batch, Task

Build = Callable[[Recipe, Accelerator], Task]


def micro_batch_of(recipe: Recipe, accelerator: Accelerator) -> int:
    """Samples of one micro-batch on one process. TokbenchError where the batch does not split evenly."""
    training, processes = recipe.training, accelerator.num_processes
    parts = processes * training.gradient_accumulation
    share, rest = divmod(training.batch_size, parts)
    if rest:
        raise TokbenchError(
            f"training.batch_size {training.batch_size} does not split over {processes} processes "
            f"x {training.gradient_accumulation} accumulation steps; choose a multiple of {parts}"
        )
    return share


def with_accumulation(recipe: Recipe, accumulation: int) -> Recipe:
    """The recipe with so many micro-batches an optimizer step."""
    training = recipe.training.model_copy(update={"gradient_accumulation": accumulation})
    return recipe.model_copy(update={"training": training})


def fitting_accumulation(recipe: Recipe, accelerator: Accelerator, build: Build) -> int:
    """The smallest number of micro-batches, from the recipe's on, whose training step fits on every process.

    Tries the last step of training, when the discriminator is at work, twice with a model that is thrown away: the
    optimizer's state appears in the first. The devices are taken to be alike; one that runs out alone, in the middle
    of a collective call, would leave the others waiting. Random numbers are drawn: seed afterwards.

    Raises TokbenchError when one image a process does not fit, or the batch does not split over the processes.
    """
    processes = accelerator.num_processes
    first = micro_batch_of(recipe, accelerator)
    share = first * recipe.training.gradient_accumulation
    sizes = [n for n in range(first, 0, -1) if first % n == 0]
    batch: list[Batch] = []
    scale = accelerator.scaler.state_dict() if accelerator.scaler is not None else None

    def smaller() -> int:
        sizes.pop(0)
        return sizes[0] if sizes else 0

    def attempt(micro_batch: int) -> int:
        trial = with_accumulation(recipe, share // micro_batch)
        fits = True
        try:
            _try(trial, accelerator, build, micro_batch, batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            fits = False
        except NotFinite:  # a model of a moment ago may overflow; it fitted
            pass
        accelerator.free_memory()
        if accelerator.num_processes > 1:
            flag = torch.tensor(float(fits), device=accelerator.device)
            fits = float(accelerator.reduce(flag, "sum")) == processes
        if not fits:
            raise torch.OutOfMemoryError("a process is out of memory.")
        return micro_batch

    try:
        found = find_executable_batch_size(attempt, starting_batch_size=sizes[0], reduce_batch_size_fn=smaller)()
    except RuntimeError as error:
        if sizes:
            raise
        message = out_of_memory(recipe, 1, share, processes, accelerator.mixed_precision.replace("no", "fp32"))
        raise TokbenchError(f"--find-batch-size: {message}") from error
    if accelerator.scaler is not None:
        accelerator.scaler.load_state_dict(scale)
    return share // int(found)


def _try(recipe: Recipe, accelerator: Accelerator, build: Build, micro_batch: int, kept: list[Batch]) -> None:
    set_seed(recipe.seed)
    task = build(recipe, accelerator)
    if not kept:
        rank, processes = accelerator.process_index, accelerator.num_processes
        batches = task.batches(micro_batch, rank, processes)
        batches.set_epoch(0)
        found = next(iter(batches), None)
        if found is None:
            raise TokbenchError(f"--find-batch-size: the training data has fewer than {micro_batch} images per process")
        kept.append(found)
    piece = _first(kept[0], micro_batch)
    for _ in range(2):
        task.step([piece] * min(2, recipe.training.gradient_accumulation), recipe.training.steps - 1, 1e-6)


def _first(batch: Batch, count: int) -> Batch:
    """The first ``count`` samples of a batch of tensors and lists."""
    return {key: value[:count] if isinstance(value, (Tensor, list)) else value for key, value in batch.items()}

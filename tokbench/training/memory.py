"""Training that ran out of memory, said so that something can be done about it."""

from __future__ import annotations

from tokbench.config.grid import typed
from tokbench.config.recipe import Recipe
from tokbench.errors import size_text


def out_of_memory(recipe: Recipe, micro_batch: int, accumulation: int, processes: int, precision: str) -> str:
    """One line: the batch of a process, the resolution, and three things to change."""
    training, size = recipe.training, recipe.data.image_size
    advice = []
    if micro_batch > 1:
        advice.append(
            "--find-batch-size, or training.gradient_accumulation="
            f"{_next_accumulation(training.batch_size // processes, accumulation)} (the effective batch stays "
            f"{training.batch_size})"
        )
    if not training.activation_checkpointing:
        advice.append("training.activation_checkpointing=true")
    if precision == "fp32":
        advice.append("training.precision=bf16")
    advice += [
        f"a smaller data.image_size than {typed(size)}",
        "a narrower model",
        "more devices to split the batch over",
    ]
    return (
        f"out of memory with {micro_batch} images of {size_text(size)} a process and micro-batch; "
        f"change one of: {'; '.join(advice[:3])}"
    )


def _next_accumulation(share: int, accumulation: int) -> int:
    """The next greater number of micro-batches into which a process's share of the batch divides."""
    return next((n for n in range(accumulation + 1, share + 1) if share % n == 0), share)

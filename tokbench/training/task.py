"""What the loop needs of a task. Stage 1 and stage 2 are two tasks; the loop knows neither."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

Batch = Any


class BatchSource(Protocol):
    """Batches of one process, in an order that depends on seed and epoch alone (``tokbench.data.loader``)."""

    start_batch: int  # batches of the next epoch to skip

    def set_epoch(self, epoch: int) -> None: ...

    def __iter__(self) -> Iterator[Batch]: ...


class Task(Protocol):
    """One kind of training. Built from a recipe and an Accelerator, in which it has prepared its models."""

    product: str  # the folder the finished model is saved to: "tokenizer", "generator"
    parameters: int  # of the model that is saved

    def batches(self, batch_size: int, rank: int, world_size: int) -> BatchSource:
        """Training batches of ``batch_size`` for this rank; the ranks' batches join to one global batch."""

    def trained_on(self) -> dict[str, Any]:
        """What is to be the same when the run continues (``tokbench.training.resuming``); called after ``batches``."""

    def step(self, batches: Sequence[Batch], step: int, factor: float) -> dict[str, Tensor]:
        """Optimizer step ``step`` (from 0) over micro-batches, learning rates times ``factor``; named scalars.

        Raises NotFinite (``tokbench.training.finite``) on all processes, with the weights as they were.
        """

    def window(self) -> dict[str, float]:
        """Values counted over a window of steps (codebook usage); starts the next window. Called on all ranks."""

    def shown(self, values: dict[str, float]) -> dict[str, float]:
        """What the progress bar shows, out of the logged values."""

    def sample_ids(self, batch: Batch) -> list[str]:
        """Names of a batch's samples, for messages."""

    def skipped(self) -> list[tuple[str, str]]:
        """(path, reason) of data that could not be used."""

    def picture(self, path: Path) -> None:
        """What the model makes of held-out data, as a PNG. Called on all ranks, written by one."""

    def save(self, folder: Path) -> None:
        """Write the finished model. Called on all ranks, written by one."""

    def state_dict(self) -> dict[str, Any]:
        """Everything a bit-exact continuation needs: tensors, numbers, strings, lists, dicts.

        Called on all ranks; what the main process gets is written, whole where models are split over the ranks.
        """

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of ``state_dict``."""

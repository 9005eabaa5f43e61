"""A data set in batches, each image exactly once over all processes, with its place in the data set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from tokbench import threads
from tokbench.metrics.statistics import distributed


class _Positioned:
    """The data set with every image's place where its label was.

    The place tells images apart whatever process reads them. What cannot be read is left out, also of a training
    split, where another image would take its place and count twice.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset
        self.image_size, self.source, self.split = dataset.image_size, dataset.source, dataset.split
        self.skipped = dataset.skipped

    def __len__(self) -> int:
        return len(self.dataset)

    def samples(self, indices: list[int], epoch: int) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
        from tokbench.data import UnreadableImage

        found: list[dict[str, Any]] = []
        bad: list[tuple[str, str]] = []
        for index in indices:
            try:
                found.append({**self.dataset.sample(index, epoch), "label": index})
            except UnreadableImage as error:
                bad.append((error.path, error.reason))
        return found, bad


def batches(
    dataset: Any, batch_size: int, workers: int = 0, rank: int = 0, world: int = 1
) -> Iterator[tuple[Tensor, Tensor]]:
    """(images uint8 (B, C, S, S), positions int64 (B,)) of this process's share of ``dataset``."""
    from tokbench.data import loader

    view: Any = _Positioned(dataset)
    for batch in loader(
        view, batch_size=batch_size, shuffle=False, seed=0, workers=workers, rank=rank, world_size=world
    ):
        threads.adapt()
        yield batch["image"], batch["label"]


def place(accelerator: Any) -> tuple[int, int]:
    """(rank, number of processes) of an ``accelerate.Accelerator``, of torch.distributed, or of one process alone."""
    if accelerator is not None:
        return accelerator.process_index, accelerator.num_processes
    if distributed():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1

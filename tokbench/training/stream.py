"""Batches without end: epoch after epoch, from any batch on."""

from __future__ import annotations

from collections.abc import Iterator

from tokbench.errors import TokbenchError
from tokbench.training.task import Batch, BatchSource


class Stream:
    """``epoch`` and ``batch`` say how many batches of which epoch were taken; set before iterating, they are left out.

    Raises TokbenchError where an epoch has no batch.
    """

    def __init__(self, source: BatchSource) -> None:
        self.source = source
        self.epoch = self.batch = 0

    def __iter__(self) -> Iterator[Batch]:
        while True:
            self.source.set_epoch(self.epoch)
            self.source.start_batch = self.batch
            before = self.batch
            for batch in self.source:
                self.batch += 1
                yield batch
            if before == 0 and self.batch == 0:
                raise TokbenchError("the training data ended before its first batch")
            self.epoch, self.batch = self.epoch + 1, 0

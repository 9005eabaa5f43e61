"""Batches of a stream: shuffled, divided over processes and workers, begun in the middle."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from tokbench.data.base import Batch
from tokbench.data.stream import StreamedImages
from tokbench.data.workers import ignore_sigterm, watched

SHUFFLE_BUFFER = 1000
"""Samples among which the next is drawn; the order of shards is shuffled besides."""


class StreamLoader:
    """Batches of a stream for one process of ``world_size``; the interface of :class:`~tokbench.data.loader.Loader`.

    ``start_batch`` reads the skipped rows again without decoding them.
    """

    def __init__(
        self,
        dataset: StreamedImages,
        *,
        batch_size: int,
        shuffle: bool,
        seed: int,
        workers: int = 0,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
        start_batch: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self.dataset, self.batch_size, self.shuffle, self.seed = dataset, batch_size, shuffle, seed
        self.workers, self.drop_last, self.rank, self.world_size = workers, drop_last, rank, world_size
        self.epoch, self.start_batch, self.pin_memory = 0, start_batch, pin_memory

    def set_epoch(self, epoch: int) -> None:
        """The epoch that the next iteration goes through."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches of this process's share where the stream's length is known; the true number may differ by one."""
        share = len(self.dataset) // self.world_size
        return share // self.batch_size if self.drop_last else -(-share // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        from datasets.distributed import split_dataset_by_node

        start, self.start_batch = self.start_batch, 0
        rows = self.dataset.rows
        if self.shuffle:
            rows = rows.shuffle(seed=self.seed, buffer_size=SHUFFLE_BUFFER)
        if self.world_size > 1:
            rows = split_dataset_by_node(rows, self.rank, self.world_size)
        rows.set_epoch(self.epoch)
        chunks: DataLoader[Any] = DataLoader(
            _Chunks(self.dataset, rows, self.batch_size, self.epoch, start),
            batch_size=None,
            collate_fn=_as_is,
            num_workers=self.workers,
            pin_memory=self.pin_memory,
            worker_init_fn=ignore_sigterm,
            generator=torch.Generator().manual_seed(0),
        )
        known = set(self.dataset.skipped)
        emitted, rest = 0, None  # type: int, Batch | None
        for batch, bad in watched(chunks):
            for entry in bad:
                if entry not in known:
                    known.add(entry)
                    self.dataset.skipped.append(entry)
            if batch is not None and len(batch["id"]) < self.batch_size:  # the end of one worker's share
                rest = batch if rest is None else _join(rest, batch)
                if len(rest["id"]) < self.batch_size:
                    continue
                batch, rest = _cut(rest, self.batch_size)
            emitted += 1
            if emitted > start and batch is not None:
                yield batch
        if rest is not None and len(rest["id"]) and not self.drop_last and emitted >= start:
            yield rest


class _Chunks(IterableDataset[Any]):
    """A worker's rows by the batch. Those that lie before ``start`` come as None, not decoded."""

    def __init__(self, dataset: StreamedImages, rows: Any, size: int, epoch: int, start: int) -> None:
        self.dataset, self.rows, self.size, self.epoch, self.start = dataset, rows, size, epoch, start

    def __iter__(self) -> Iterator[tuple[Batch | None, list[tuple[str, str]]]]:
        worker = get_worker_info()
        number, of = (worker.id, worker.num_workers) if worker else (0, 1)
        waiting: list[dict[str, Any]] = []
        for row in self.rows:
            waiting.append(row)
            if len(waiting) == self.size:
                # Workers take turns, so this is at the latest the number-th batch of all: surely before the start.
                yield (None, []) if number < self.start else self.dataset.samples(waiting, self.epoch)
                waiting = []
                number += of
        if waiting:
            yield self.dataset.samples(waiting, self.epoch)


def _as_is(item: Any) -> Any:
    return item


def _join(a: Any, b: Any) -> Any:
    return {key: torch.cat([a[key], b[key]]) if isinstance(a[key], Tensor) else a[key] + b[key] for key in a}


def _cut(batch: Any, size: int) -> tuple[Any, Any]:
    first, left = ({key: value[part] for key, value in batch.items()} for part in (slice(size), slice(size, None)))
    return first, left if left["id"] else None

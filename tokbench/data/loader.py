"""Batches in an order that depends on (seed, epoch) alone: not on the workers, and not on having been interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from tokbench.data.base import Batch, ImageDataset
from tokbench.data.pixels import stacked
from tokbench.data.stream import StreamedImages
from tokbench.data.stream_loader import StreamLoader
from tokbench.data.workers import ignore_sigterm, watched
from tokbench.errors import TokbenchError, counted

if TYPE_CHECKING:
    from tokbench.data.joint import JointLoader


class Loader:
    """Batches of an :class:`ImageDataset` for one process of ``world_size``.

    One order of the whole epoch is cut into global batches of ``world_size * batch_size`` and each rank takes its
    ``batch_size`` of them: together the ranks see what one process with the joined batch would. Without
    ``drop_last`` the remainder is dealt out as evenly as it goes: no image is padded, doubled or lost, and a rank
    may have one batch less than another.

    ``len(loader)`` is the number of batches of a whole epoch on this rank. ``start_batch`` skips that many batches of
    the next epoch iterated, without reading them; later epochs are whole.
    """

    def __init__(
        self,
        dataset: ImageDataset,
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
        if batch_size < 1 or world_size < 1 or not 0 <= rank < world_size or workers < 0 or start_batch < 0:
            raise TokbenchError(
                f"no such loader: batch_size {batch_size}, rank {rank} of {world_size}, workers {workers}, "
                f"start_batch {start_batch}"
            )
        if drop_last and len(dataset) < batch_size * world_size:
            processes = f" on {world_size} processes" if world_size > 1 else ""
            there = counted(len(dataset), dataset.view.media.sample)
            lost = f"; {len(dataset.skipped)} were skipped, the first "
            why = "".join(f"{lost}{path}: {reason}" for path, reason in dataset.skipped[:1])
            raise TokbenchError(
                f"{dataset.source} ({dataset.split}) has {there}, fewer than one batch of {batch_size}{processes}: "
                f"use a smaller batch or more {dataset.view.media.many}{why}"
            )
        self.dataset, self.workers = dataset, workers
        self._plan = _Plan(len(dataset), batch_size, shuffle, seed, drop_last, rank, world_size, start_batch)
        self._torch_loader: DataLoader[Any] = DataLoader(
            _Fetch(dataset),
            batch_sampler=self._plan,
            collate_fn=_as_is,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin_memory,
            worker_init_fn=ignore_sigterm,
            # Its own generator: the default would draw from torch's global one, and training would depend on it.
            generator=torch.Generator().manual_seed(0),
        )

    @property
    def epoch(self) -> int:
        """The epoch that the next iteration goes through."""
        return self._plan.epoch

    def set_epoch(self, epoch: int) -> None:
        """Another epoch: another order, other random crops."""
        self._plan.epoch = epoch

    @property
    def start_batch(self) -> int:
        """Batches that the next iteration skips; 0 again once it began."""
        return self._plan.start_batch

    @start_batch.setter
    def start_batch(self, batches: int) -> None:
        self._plan.start_batch = batches

    def __len__(self) -> int:
        return len(self._plan)

    def batches(self) -> list[list[int]]:
        """This rank's indices of the current epoch, batch by batch."""
        return self._plan.batches()

    def __iter__(self) -> Iterator[Batch]:
        """Batches of the current epoch from ``start_batch`` on. What was unreadable goes to ``dataset.skipped``."""
        known = set(self.dataset.skipped)
        for batch, bad in watched(self._torch_loader):
            for entry in bad:
                if entry not in known:
                    known.add(entry)
                    self.dataset.skipped.append(entry)
            if batch["id"]:
                yield batch


def loader(dataset: ImageDataset | StreamedImages, **settings: Any) -> Loader | StreamLoader | JointLoader:
    """A :class:`Loader`; for a stream a ``StreamLoader``, for clips and images a ``JointLoader``, with its keywords."""
    from tokbench.data.joint import JointClips, JointLoader

    if isinstance(dataset, JointClips):
        return JointLoader(dataset, **settings)
    if isinstance(dataset, StreamedImages):
        return StreamLoader(dataset, **settings)
    return Loader(dataset, **settings)


@dataclass
class _Plan(Sampler[Any]):
    """(epoch, indices) of each batch: the epoch travels with the indices, so that living workers need not be told."""

    count: int
    batch_size: int
    shuffle: bool
    seed: int
    drop_last: bool
    rank: int
    world_size: int
    start_batch: int
    epoch: int = 0

    def __len__(self) -> int:
        full, rest = divmod(self.count, self.batch_size * self.world_size)
        return full if self.drop_last or self._share(rest, self.rank) == 0 else full + 1

    def _share(self, rest: int, rank: int) -> int:
        return rest // self.world_size + (rank < rest % self.world_size)

    def batches(self) -> list[list[int]]:
        if self.shuffle:
            generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) % (1 << 63))
            order = torch.randperm(self.count, generator=generator)
        else:
            order = torch.arange(self.count)
        total = self.batch_size * self.world_size
        full = self.count // total
        whole = order[: full * total].view(full, self.world_size, self.batch_size)
        mine: list[list[int]] = whole[:, self.rank].tolist()
        rest: list[int] = order[full * total :].tolist()
        share = self._share(len(rest), self.rank)
        if share and not self.drop_last:
            before = sum(self._share(len(rest), rank) for rank in range(self.rank))
            mine.append(rest[before : before + share])
        return mine

    def __iter__(self) -> Iterator[Any]:
        start, self.start_batch = self.start_batch, 0
        epoch = self.epoch
        for indices in self.batches()[start:]:
            yield [(epoch, indices)]


class _Fetch(Dataset[Any]):
    """A whole batch as one item, with what was unreadable in it."""

    def __init__(self, dataset: ImageDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, key: tuple[int, list[int]]) -> tuple[Batch, list[tuple[str, str]]]:
        epoch, indices = key
        samples, bad = self.dataset.samples(indices, epoch)
        # A batch of nothing has no shape: whoever goes through the batches leaves it out.
        images = stacked([s["image"] for s in samples]) if samples else torch.empty(0, dtype=torch.uint8)
        labels = torch.tensor([s["label"] for s in samples], dtype=torch.int64)
        batch: Any = {"image": images, "label": labels, "id": [s["id"] for s in samples]}
        for beside in ("partner", "coordinates"):
            if samples and beside in samples[0]:
                batch[beside] = torch.stack([s[beside] for s in samples])  # type: ignore[literal-required, typeddict-item]
        if samples and "text" in samples[0]:
            batch["text"] = [s["text"] for s in samples]
        return batch, bad


def _as_is(items: list[Any]) -> Any:
    return items[0]

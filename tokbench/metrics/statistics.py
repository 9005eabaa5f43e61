"""Statistics that add up: over batches (``update``), over parts (``merge``) and over processes (``all_reduce``).

All sums are float64, so the order in which images arrive changes nothing that is printed.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from quantizers.usage import Usage

T = TypeVar("T")


def distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def sum_over_processes(tensor: Tensor) -> Tensor:
    """The sum of ``tensor`` over all processes, on the device of the input; the input itself when there is one."""
    if not distributed():
        return tensor
    on_gpu = dist.get_backend() == "nccl"
    moved = tensor.to("cuda") if on_gpu else tensor.cpu().clone()
    dist.all_reduce(moved)
    return moved.to(tensor.device)


def gather_over_processes(mine: T) -> list[T]:
    """What each process has, in the order of their ranks."""
    if not distributed():
        return [mine]
    parts: list[T] = [mine] * dist.get_world_size()
    dist.all_gather_object(parts, mine)
    return parts


def union_over_processes(items: Iterable[T]) -> set[T]:
    """Everything that any process has."""
    return set().union(*gather_over_processes(list(items)))


class Statistics(ABC):
    """Additive over images: ``tensors`` names the sums that describe what was seen."""

    n: int

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """The sums, by name; ``load`` is the inverse."""

    @abstractmethod
    def load(self, tensors: dict[str, Tensor]) -> None: ...

    def merge(self, other: Statistics) -> None:
        """Add what ``other`` has seen."""
        mine, theirs = self.tensors(), other.tensors()
        self.load({key: mine[key] + theirs[key].to(mine[key].device) for key in mine})

    def all_reduce(self) -> None:
        """Afterwards every process holds the statistics of all of them. Call once, at the end."""
        self.load({key: sum_over_processes(value) for key, value in self.tensors().items()})


class PairStatistics(Statistics):
    """Of pairs of images: sums that come to one value."""

    @abstractmethod
    def value(self) -> float: ...

    def stderr(self) -> float | None:
        """The standard error of the value; None where it is not known."""
        return None

    def beside(self) -> dict[str, Any]:
        """What the record of the value says beside it."""
        return {}


class Mean(PairStatistics):
    """Mean of one number per image, and the standard error of that mean.

    A clip's number is the mean of its frames'; its first frame and those after it are also summed on their own.
    """

    def __init__(self) -> None:
        self.n, self.total, self.squares = 0, 0.0, 0.0
        self.clips, self.first, self.later = 0, 0.0, 0.0

    def update(self, values: Tensor) -> None:
        """values: (B,) of images, or (B, T) of the frames of clips."""
        values = values.detach().double()
        if values.ndim == 2:
            if values.shape[1] > 1:
                self.clips += len(values)
                self.first += float(values[:, 0].sum())
                self.later += float(values[:, 1:].mean(1).sum())
            values = values.mean(1)
        self.n += values.numel()
        self.total += float(values.sum())
        self.squares += float((values * values).sum())

    def tensors(self) -> dict[str, Tensor]:
        sums = [self.n, self.total, self.squares, self.clips, self.first, self.later]
        return {"sums": torch.tensor(sums, dtype=torch.float64)}

    def load(self, tensors: dict[str, Tensor]) -> None:
        n, self.total, self.squares, clips, self.first, self.later = tensors["sums"].tolist()
        self.n, self.clips = int(n), int(clips)

    def value(self) -> float:
        return self.total / self.n if self.n else math.nan

    def beside(self) -> dict[str, Any]:
        """``first_frame`` and ``later_frames``, the means over clips of each; nothing where there were no clips."""
        if not self.clips:
            return {}
        return {"first_frame": self.first / self.clips, "later_frames": self.later / self.clips}

    def stderr(self) -> float | None:
        """Standard deviation over images / sqrt(n); None for fewer than two images."""
        if self.n < 2:
            return None
        variance = max(self.squares - self.total**2 / self.n, 0.0) / (self.n - 1)
        return math.sqrt(variance / self.n)


class CodeHistogram:
    """How often each code was used, per depth: counted as quantizers count theirs, sparsely for large vocabularies."""

    def __init__(
        self, codebook_sizes: list[int], positions: int = 0, pixels: int = 0, prefixes: Sequence[int] | None = None
    ) -> None:
        self.codebook_sizes = list(codebook_sizes)
        self.usage = Usage(codebook_sizes)
        self.positions, self.pixels = positions, pixels  # of one image
        lengths = prefixes or ()
        self.usage.split(lengths)
        self.parts = [
            CodeHistogram(codebook_sizes, b - a, pixels) for a, b in zip((0, *lengths), lengths, strict=False)
        ]
        """Of what each of the ``prefixes`` adds to the one before: of a pyramid's scales."""
        for histogram, usage in zip(self.parts, self.usage.parts, strict=True):
            histogram.usage = usage

    def update(self, codes: Tensor) -> None:
        """codes: int64 (B, \\*grid, D)."""
        depths = len(self.codebook_sizes)
        if codes.ndim < 3 or codes.shape[-1] != depths:
            raise ValueError(f"codes must be (B, *grid, {depths}), got {tuple(codes.shape)}")
        self.positions = math.prod(codes.shape[1:-1])
        for depth, size in enumerate(self.codebook_sizes):
            low, high = (int(bound) for bound in codes[..., depth].aminmax())
            if low < 0 or high >= size:
                wrong = low if low < 0 else high
                raise ValueError(f"code {wrong} at depth {depth + 1} is outside its codebook of {size}")
        self.usage.update(codes)

    def all_reduce(self) -> None:
        """Afterwards every process holds what all of them counted. Call once, at the end."""
        self.usage.merge()

    @property
    def counts(self) -> list[Tensor]:
        """By depth, int64 (K,); a sparse COO tensor of a large vocabulary."""
        return self.usage.counts

    @property
    def n(self) -> int:
        """Images seen."""
        return self.codes // self.positions if self.positions else 0

    @property
    def codes(self) -> int:
        """Positions seen: codes of one depth."""
        return self.usage.total

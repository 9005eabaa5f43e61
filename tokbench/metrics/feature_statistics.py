"""Mean, covariance and a bounded sample of the features of a set of images."""

from __future__ import annotations

import torch
from torch import Tensor

from tokbench.metrics.statistics import Statistics, distributed, gather_over_processes
from tokbench.splitmix import GOLDEN, mix_all, signed


class FeatureStatistics(Statistics):
    """Mean and covariance of features from running sums; the features themselves only in a bounded sample.

    ``capacity`` features are kept (0: none), those whose position in the data set hashes lowest: a uniform sample
    that does not depend on batch size, order or number of processes.
    """

    def __init__(self, dim: int, *, capacity: int = 0) -> None:
        self.dim, self.capacity = dim, capacity
        self.n = 0
        self.sum = torch.zeros(dim, dtype=torch.float64)
        self.outer = torch.zeros(dim, dim, dtype=torch.float64)
        self.kept = torch.zeros(0, dim)  # float32
        self.positions = torch.zeros(0, dtype=torch.int64)

    def update(self, features: Tensor, positions: Tensor) -> None:
        """features: float (B, dim); positions: int64 (B,), the place of each image in its data set."""
        if features.ndim != 2 or features.shape[1] != self.dim or len(features) != len(positions):
            raise ValueError(f"features must be ({len(positions)}, {self.dim}), got {tuple(features.shape)}")
        self.n += len(features)
        wide = features.detach().double()
        device = wide.device
        self.sum = self.sum.to(device) + wide.sum(0)
        self.outer = torch.addmm(self.outer.to(device), wide.T, wide)
        if self.capacity:
            self._keep(features.detach().float().cpu(), positions.cpu())

    def _keep(self, features: Tensor, positions: Tensor) -> None:
        kept, positions = torch.cat([self.kept, features]), torch.cat([self.positions, positions])
        self.kept, self.positions = lowest(self.capacity, positions, kept)

    def tensors(self) -> dict[str, Tensor]:
        return {"n": torch.tensor(self.n), "sum": self.sum, "outer": self.outer}

    def load(self, tensors: dict[str, Tensor]) -> None:
        self.n, self.sum, self.outer = int(tensors["n"]), tensors["sum"], tensors["outer"]

    def merge(self, other: Statistics) -> None:
        assert isinstance(other, FeatureStatistics)
        super().merge(other)
        if self.capacity:
            self._keep(other.kept, other.positions)

    def all_reduce(self) -> None:
        super().all_reduce()
        if self.capacity and distributed():
            parts = gather_over_processes((self.kept, self.positions))
            self.kept, self.positions = self.kept[:0], self.positions[:0]
            for part in parts:
                self._keep(*part)

    @property
    def mean(self) -> Tensor:
        """float64 (dim,)."""
        return (self.sum / self.n).cpu()

    @property
    def covariance(self) -> Tensor:
        """float64 (dim, dim), unbiased (n - 1)."""
        mean = self.sum / self.n
        return ((self.outer - self.n * torch.outer(mean, mean)) / (self.n - 1)).cpu()

    def without(self, left_out: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and covariance when the kept features that ``left_out`` marks (bool (len(kept),)) had not been seen."""
        gone = self.kept[left_out].double()
        n = self.n - len(gone)
        total, outer = self.sum.cpu() - gone.sum(0), self.outer.cpu() - gone.T @ gone
        mean = total / n
        return mean, (outer - n * torch.outer(mean, mean)) / (n - 1)

    def features(self) -> Tensor:
        """The kept features, float32 (min(n, capacity), dim), in the order of the data set."""
        return self.kept[self.positions.argsort(stable=True)]


def lowest(most: int, positions: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Of rows (N, ...) and their positions in the data set (N,) the ``most`` whose positions hash lowest, in order."""
    if len(positions) <= most:
        return rows, positions
    chosen = _hash(positions).argsort()[:most].sort().values
    return rows[chosen], positions[chosen]


def _hash(positions: Tensor) -> Tensor:
    """A fixed mixing of int64 into int64: equal everywhere, without a seed."""
    return mix_all(positions.to(torch.int64) + signed(GOLDEN))

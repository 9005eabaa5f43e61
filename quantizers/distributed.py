"""The few collective operations that keep codebooks equal on all processes; plain values where there is one process.

Drawing is by a seed that rank 0 takes from torch's global CPU generator, and over the joined batch in rank order: so N
processes choose what one process with the joined batch would have chosen.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def sum_over_processes(*tensors: Tensor) -> None:
    """All-reduce in place."""
    if world_size() > 1:
        for tensor in tensors:
            dist.all_reduce(tensor)


def shared_generator(device: torch.device) -> torch.Generator:
    """A CPU generator with the same fresh seed on every process."""
    seed = torch.randint(2**62, ())
    if world_size() > 1:
        seed = seed.to(device)
        dist.broadcast(seed, 0)
    return torch.Generator().manual_seed(int(seed))


def draw_rows(z: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """``count`` rows of the joined batch of all processes, z (N, d) being this one's share.

    Without replacement; where the batch is smaller than ``count`` it is repeated with noise of std 0.01/sqrt(d), as in
    Kakao's rq-vae-transformer (VQEmbedding._tile_with_noise).
    """
    offset, total = _place(z)
    order = torch.randperm(total, generator=generator)
    repeats = -(-count // total)
    chosen = order.repeat(repeats)[:count].to(z.device)
    local = chosen - offset
    mine = (local >= 0) & (local < len(z))
    rows = z.new_zeros(count, z.shape[1])
    rows[mine] = z[local[mine]]
    sum_over_processes(rows)  # every row is non-zero on one process only, so the sum is exact
    if repeats > 1:
        noise = torch.randn(count, z.shape[1], generator=generator)
        rows += noise.to(rows) * (0.01 / z.shape[1] ** 0.5)
    return rows


def gather_rows(z: Tensor) -> Tensor:
    """The joined batch, in rank order; shares may differ in size."""
    if world_size() == 1:
        return z
    offset, total = _place(z)
    rows = z.new_zeros(total, z.shape[1])
    rows[offset : offset + len(z)] = z
    sum_over_processes(rows)
    return rows


def _place(z: Tensor) -> tuple[int, int]:
    """Where this process's rows begin in the joined batch, and how many there are in all."""
    if world_size() == 1:
        return 0, len(z)
    sizes = torch.zeros(world_size(), dtype=torch.int64, device=z.device)
    sizes[dist.get_rank()] = len(z)
    dist.all_reduce(sizes)
    return int(sizes[: dist.get_rank()].sum()), int(sizes.sum())

"""The few collective operations that keep codebooks equal on all processes; plain values where there is one process.

Drawing is by a seed that rank 0 takes from torch's global CPU generator, and over the joined batch in rank order: so N
processes choose what one process with the joined batch would have chosen.
"""

from __future__ import annotations

from collections.abc import Sequence

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


def joined_mean(mean: Tensor, count: int) -> Tensor:
    """The mean over the joined batch of all processes, ``mean`` being this one's over ``count`` rows.

    Its gradient is that of this process's share alone, scaled so that DDP's averaging over the processes gives the
    gradient one process with the joined batch would have: a nonlinear function of the mean stays exact.
    """
    if world_size() == 1:
        return mean
    total = torch.tensor(float(count), device=mean.device)
    joined = mean.detach() * count
    sum_over_processes(joined, total)
    return joined / total + (mean - mean.detach()) * (world_size() * count / total)


def shared_generator(device: torch.device) -> torch.Generator:
    """A CPU generator with the same fresh seed on every process."""
    seed = torch.randint(2**62, ())
    if world_size() > 1:
        seed = seed.to(device)
        dist.broadcast(seed, 0)
    return torch.Generator().manual_seed(int(seed))


def draw_rows(parts: Sequence[Tensor], count: int, generator: torch.Generator) -> Tensor:
    """``count`` rows of the joined batch of all processes, each of ``parts`` (N_i, d) being this one's share of a part.

    Without replacement; where the batch is smaller than ``count`` it is repeated with noise of std 0.01/sqrt(d), as in
    Kakao's rq-vae-transformer (VQEmbedding._tile_with_noise).
    """
    dim, device = parts[0].shape[1], parts[0].device
    offsets, total = _places(parts)
    order = torch.randperm(total, generator=generator)
    repeats = -(-count // total)
    chosen = order.repeat(repeats)[:count].to(device)
    rows = torch.zeros(count, dim, dtype=parts[0].dtype, device=device)
    for part, offset in zip(parts, offsets, strict=True):
        local = chosen - offset
        mine = ((local >= 0) & (local < len(part))).nonzero()[:, 0]
        rows[mine] = part[local[mine]]
    sum_over_processes(rows)  # a row is written by one process only, so the sum is exact
    if repeats > 1:
        noise = torch.randn(count, dim, generator=generator)
        rows += noise.to(rows) * (0.01 / dim**0.5)
    return rows


def gather_rows(z: Tensor) -> Tensor:
    """The joined batch, in rank order; shares may differ in size."""
    if world_size() == 1:
        return z
    (offset,), total = _places([z])
    rows = z.new_zeros(total, z.shape[1])
    rows[offset : offset + len(z)] = z
    sum_over_processes(rows)
    return rows


def _places(parts: Sequence[Tensor]) -> tuple[list[int], int]:
    """Where this process's rows of each part begin in the joined batch (part by part, then by rank), and its size."""
    if world_size() == 1:
        sizes, rank = torch.tensor([[len(part) for part in parts]]), 0
    else:
        rank = dist.get_rank()
        counted = torch.zeros(world_size(), len(parts), dtype=torch.int64, device=parts[0].device)
        counted[rank] = torch.tensor([len(part) for part in parts])
        dist.all_reduce(counted)
        sizes = counted.cpu()
    whole = sizes.sum(0)
    starts = whole.cumsum(0) - whole + sizes[:rank].sum(0)
    return starts.tolist(), int(whole.sum())

"""Two processes: equal codebooks on both after every step, and equal to one process that has the joined batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from fork_server import ForkServer
from gloo_processes import run_processes
from torch import Tensor

import quantizers as Q

# Small codebooks over few vectors, so that restarts happen at every step; batches too small for one k-means.
CASES: dict[str, dict[str, Any]] = {
    "vq": {"dim": 4, "codebook_size": 24},
    "vq-kmeans": {"dim": 4, "codebook_size": 12, "kmeans_init": True},
    "vq-l2": {"dim": 4, "codebook_size": 24, "l2_norm": True},
    "rq": {"dim": 4, "codebook_size": 48, "depth": 3},
    "rq-separate": {"dim": 4, "codebook_size": 24, "depth": 2, "shared_codebook": False},
    "rq-sequential": {"dim": 4, "codebook_size": 24, "depth": 2, "update_order": "sequential"},
    "vq-tiny-batch": {"dim": 4, "codebook_size": 200},
}
STEPS, SAMPLES, POSITIONS = 4, 6, 8


def batch(step: int) -> Tensor:
    z = torch.randn(SAMPLES, POSITIONS, 4, generator=torch.Generator().manual_seed(step))
    return z * torch.linspace(0.2, 3, SAMPLES)[:, None, None]  # the two shares differ in distribution


def run(shares: slice) -> dict[str, list[Any]]:
    """Codebooks after each step, codes of this process's share, usage after merging."""
    results: dict[str, list[Any]] = {}
    for case, kwargs in CASES.items():
        torch.manual_seed(7)
        q = Q.build(case.split("-")[0], **kwargs).train()
        steps = []
        for step in range(STEPS):
            out = q(batch(step)[shares])
            steps.append((q.codebook.detach().clone(), out.indices))  # type: ignore[union-attr,operator]
        q.usage.merge()
        q.usage.merge()
        results[case] = [steps, q.usage.counts, q.usage.total]
    return results


ENTROPIES: dict[str, dict[str, Any]] = {
    "lfq": {"dim": 4, "codebook_size": 16, "temperature": 1.0},
    "bsq": {"dim": 4, "bits": 4, "temperature": 1.0},
    "ibq": {"dim": 4, "codebook_size": 12, "entropy_temperature": 1.0},
}


def entropies(shares: slice, processes: int) -> dict[str, tuple[float, float, Tensor]]:
    """Both entropies, and the gradient of their difference in this share of z as DDP would average it."""
    results = {}
    for case, kwargs in ENTROPIES.items():
        torch.manual_seed(7)
        q = Q.build(case, **kwargs).train()
        z = batch(0)[shares].requires_grad_()
        losses = q(z).losses
        per_sample, codebook = Q.functional.lfq_entropy(z, 1.0, joined=True)
        (gradient,) = torch.autograd.grad(per_sample - codebook, z)
        results[case] = (float(losses["per_sample_entropy"]), float(losses["codebook_entropy"]), gradient / processes)
    return results


def worker(folder: str) -> None:
    dist.init_process_group("gloo")
    try:
        rank = dist.get_rank()
        # Shares of unequal size: 2 and 4 samples.
        shares = slice(0, 2) if rank == 0 else slice(2, None)
        torch.save(run(shares), Path(folder) / f"{rank}.pt")
        torch.save(entropies(shares, 2), Path(folder) / f"entropies-{rank}.pt")
    finally:
        dist.destroy_process_group()


_SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from test_quantizer_ddp import worker
worker(sys.argv[2])
"""


def test_two_processes_equal_one_on_the_joined_batch(forks: ForkServer, tmp_path: Path) -> None:
    run_processes(forks, tmp_path, _SCRIPT, str(Path(__file__).parent), str(tmp_path))
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    alone = run(slice(None))
    for case in CASES:
        for step in range(STEPS):
            book, codes = first[case][0][step]
            other_book, other_codes = second[case][0][step]
            assert torch.equal(book, other_book), f"{case}: codebooks differ after step {step}"
            joined_book, joined_codes = alone[case][0][step]
            assert torch.equal(torch.cat([codes, other_codes]), joined_codes), f"{case}: codes differ in step {step}"
            assert torch.allclose(book, joined_book, atol=1e-5), f"{case}: not the joined batch's codebook"
        for counts, other, joined in zip(first[case][1], second[case][1], alone[case][1], strict=True):
            assert torch.equal(counts, other) and torch.equal(counts, joined)
        assert first[case][2] == STEPS * SAMPLES * POSITIONS
    parts = [torch.load(tmp_path / f"entropies-{rank}.pt") for rank in range(2)]
    for case, (per_sample, codebook, gradient) in entropies(slice(None), 1).items():
        for part in parts:
            assert abs(part[case][0] - per_sample) < 1e-5, f"{case}: per-sample entropy of its own share"
            assert abs(part[case][1] - codebook) < 1e-5, f"{case}: codebook entropy of its own share"
        joined = torch.cat([part[case][2] for part in parts])
        assert torch.allclose(joined, gradient, atol=1e-6), f"{case}: not the joined batch's gradient"

"""How much of each codebook is used: an exact histogram over everything seen since the last reset.

A sliding window would cap what can be seen (a queue of 65,536 tokens shows at most a quarter of 2^18 codes), so there
is none. Vocabularies past ``DENSE_LIMIT`` are counted sparsely; the figures are the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from quantizers.graphs import has_values, is_compiling, is_recomputing

DENSE_LIMIT = 2**22  # codes; 32 MiB of counts


class Usage:
    """Histogram of codes by depth. Not part of the state dict; lives on the device of the codes it sees."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = tuple(sizes)
        self.split(())

    def split(self, prefixes: Sequence[int]) -> None:
        """Count in ``parts`` too what each of the prefixes of a row of codes (the first n of N) adds to the one before:
        each scale of a pyramid. Forgets everything seen."""
        self.prefixes = tuple(prefixes)
        self.parts = [Usage(self.sizes) for _ in self.prefixes]
        self.reset()

    def reset(self) -> None:
        """Forget everything seen."""
        for part in self.parts:
            part.reset()
        # The dense counts of all depths lie end to end in one tensor, so that one scatter counts them all.
        self._offsets: list[int] = []
        total = 0
        for size in self.sizes:
            self._offsets.append(total)
            total += size if size <= DENSE_LIMIT else 0
        self._dense_size = total
        self._local: Tensor | None = None  # counted here since the last merge
        self._merged: Tensor | None = None  # what all processes had counted at the last merge
        self._sparse: dict[int, list[tuple[Tensor, Tensor]]] = {
            d: [] for d, size in enumerate(self.sizes) if size > DENSE_LIMIT
        }
        self._sparse_merged: dict[int, list[tuple[Tensor, Tensor]]] = {d: [] for d in self._sparse}

    @torch.no_grad()
    def update(self, codes: Tensor) -> None:
        """Count ``codes`` (..., D) int64, with parts (B, N, D). Not while they are exported or transformed, nor when
        they are recomputed."""
        if not (has_values(codes) or is_compiling()) or is_recomputing():
            return
        # As many of each: torch 2.9's compiler takes no others.
        for start, end, part in zip((0, *self.prefixes)[:-1], self.prefixes, self.parts, strict=True):
            part.update(codes[:, start:end])
        codes = codes.detach().reshape(-1, len(self.sizes))
        if self._dense_size:
            if self._local is None or self._local.device != codes.device:
                old = self._local
                with torch.inference_mode(False):  # or only inference mode could count on
                    self._local = torch.zeros(self._dense_size, dtype=torch.int64, device=codes.device)
                    if old is not None:
                        self._local += old.to(codes.device)
            for d in range(len(self.sizes)):
                if self.sizes[d] <= DENSE_LIMIT:
                    # vector-quantize-pytorch marks a dropped code by -1; it counts for nothing.
                    hits = codes[:, d].clamp_min(0) + self._offsets[d]
                    self._local.scatter_add_(0, hits, (codes[:, d] >= 0).long())
        for d, seen in self._sparse.items():
            seen.append(_histogram([(codes[:, d], torch.ones_like(codes[:, d]))]))
            if len(seen) > 64:
                seen[:] = [_histogram(seen)]

    def merge(self) -> Usage:
        """Add up what every process has counted (a collective call). Repeating it counts nothing twice."""
        if not (dist.is_available() and dist.is_initialized()):
            return self
        for part in self.parts:
            part.merge()
        if self._dense_size:
            local = self._local
            if local is None:
                device = "cuda" if dist.get_backend() == "nccl" else "cpu"
                local = torch.zeros(self._dense_size, dtype=torch.int64, device=device)
            dist.all_reduce(local)
            self._merged = local.clone() if self._merged is None else self._merged.to(local.device) + local
            self._local = torch.zeros_like(local)
        for d, seen in self._sparse.items():
            mine = _histogram(seen) if seen else None
            parts: list[tuple[Tensor, Tensor] | None] = [None] * dist.get_world_size()
            dist.all_gather_object(parts, None if mine is None else (mine[0].cpu(), mine[1].cpu()))
            self._sparse_merged[d] += [p for p in parts if p is not None]
            seen.clear()
        return self

    def state_dict(self) -> dict[str, Any]:
        """What was counted, to go on from: by depth, the codes seen and how often; the same of the parts, where there
        are any. Several processes merge before."""
        seen = {"seen": [list(self._nonzero(d)) for d in range(len(self.sizes))]}
        return seen | ({"parts": [part.state_dict() for part in self.parts]} if self.parts else {})

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of ``state_dict``: the same on every process, and counted once when they merge."""
        self.reset()
        for part, own in zip(self.parts, state.get("parts", ()), strict=False):  # none in those of an earlier version
            part.load_state_dict(own)
        merged = torch.zeros(self._dense_size, dtype=torch.int64)
        for d, (values, hits) in enumerate(state["seen"]):
            if d in self._sparse:
                self._sparse_merged[d] = [(values, hits)]
            else:
                merged[self._offsets[d] + values] = hits
        self._merged = merged

    @property
    def counts(self) -> list[Tensor]:
        """How often each code was seen: by depth, int64 (K,); a sparse COO tensor past ``DENSE_LIMIT``."""
        result = []
        for d, size in enumerate(self.sizes):
            if size <= DENSE_LIMIT:
                part = torch.zeros(size, dtype=torch.int64)
                for total in (self._local, self._merged):
                    if total is not None:
                        part = part + total[self._offsets[d] : self._offsets[d] + size].cpu()
            else:
                values, hits = self._nonzero(d)
                with torch.sparse.check_sparse_tensor_invariants(False):  # as an argument, torch 2.11 warns of it
                    part = torch.sparse_coo_tensor(values[None], hits, (size,))
            result.append(part)
        return result

    @property
    def usage(self) -> list[float]:
        """By depth, the fraction of the codebook seen at least once."""
        return [len(self._nonzero(d)[0]) / size for d, size in enumerate(self.sizes)]

    @property
    def entropy_bits(self) -> list[float]:
        """By depth, the entropy of the histogram in bits; 0 before anything was seen."""
        result = []
        for d in range(len(self.sizes)):
            hits = self._nonzero(d)[1].double()
            p = hits / hits.sum()
            result.append(float(-(p * p.log2()).sum()) + 0.0)
        return result

    @property
    def perplexity(self) -> list[float]:
        """By depth, 2 to the entropy: the number of equally likely codes that would give it."""
        return [math.exp2(h) for h in self.entropy_bits]

    @property
    def total(self) -> int:
        """Code vectors seen (each has one code a depth)."""
        return int(self._nonzero(0)[1].sum())

    def _nonzero(self, depth: int) -> tuple[Tensor, Tensor]:
        if depth in self._sparse:
            parts = self._sparse[depth] + self._sparse_merged[depth]
            empty = torch.zeros(0, dtype=torch.int64)
            return _histogram([(v.cpu(), h.cpu()) for v, h in parts]) if parts else (empty, empty)
        start, size = self._offsets[depth], self.sizes[depth]
        hits = torch.zeros(size, dtype=torch.int64)
        for total in (self._local, self._merged):
            if total is not None:
                hits = hits + total[start : start + size].cpu()
        values = hits.nonzero()[:, 0]
        return values, hits[values]


def _histogram(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The distinct values among ``parts`` and their summed counts."""
    values, where = torch.unique(torch.cat([v for v, _ in parts]), return_inverse=True)
    hits = torch.zeros_like(values).scatter_add_(0, where, torch.cat([h for _, h in parts]))
    return values, hits

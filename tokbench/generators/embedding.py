"""Codes as vectors a network can read: the tokenizer's own, learned ones, a channel each, or the codes' bits."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokbench.config.generator import GeneratorConfig, too_many_rows
from tokbench.errors import TokbenchError


class CodeEmbedding(nn.Module):
    """Codes (..., D) to vectors (..., D, channels), and a vector to the transformer's width.

    ``vectors`` holds the rows of all depths one after the other (once, where the depths share them): a buffer that is
    never trained for ``codes`` and ``onehot``, a parameter of the full width for ``learned``. For ``bits`` it is empty:
    those of a code are computed, since there may be 2^62 of them. Sums of such vectors go through ``into_body`` or
    ``into_depth``: linear maps for ``codes`` and ``bits``, nothing for the others.
    """

    offsets: Tensor
    vectors: Tensor
    shifts: Tensor | None

    def __init__(self, config: GeneratorConfig, depth_stack: bool) -> None:
        super().__init__()
        kind, width, sizes = config.generator.input, config.generator.width, config.vocabulary
        shared = config.shared_codes
        self.starts = [0 if shared else sum(sizes[:d]) for d in range(len(sizes))]
        if kind != "bits":  # whose vocabularies may add up to more than an int64 holds
            self.register_buffer("offsets", torch.tensor(self.starts), persistent=False)
        self.register_buffer("shifts", bit_places(config.bits) if kind == "bits" else None, persistent=False)
        rows = sizes[0] if shared else sum(sizes)
        if kind == "learned":
            self.channels = width
            self.vectors = nn.Parameter(torch.empty(rows, width))
            nn.init.normal_(self.vectors, std=0.02)
            self.body_in: nn.Module = nn.Identity()
            self.depth_in: nn.Module = nn.Identity()
            return
        if kind == "onehot":
            self.channels = rows
            self.register_buffer("vectors", torch.eye(rows), persistent=False)
            self.body_in, self.depth_in = nn.Identity(), nn.Identity()
            return
        self.channels = sum(config.bits) if kind == "bits" else config.code_channels or 0
        # The bits follow from the vocabulary; the tokenizer's vectors must travel with the weights.
        table = torch.zeros(0 if kind == "bits" else rows, self.channels)
        self.register_buffer("vectors", table, persistent=kind == "codes")
        self.body_in = nn.Linear(self.channels, width)
        self.depth_in = nn.Linear(self.channels, width) if depth_stack else nn.Identity()

    def forward(self, codes: Tensor) -> Tensor:
        """int64 (..., D) -> (..., D, channels)."""
        if self.shifts is not None:
            return self._bits(codes[..., None], self.shifts)
        return F.embedding(codes + self.offsets, self.vectors)

    def at(self, depth: int, codes: Tensor) -> Tensor:
        """Codes (...) of one depth -> (..., channels)."""
        if self.shifts is not None:
            return self._bits(codes[..., None], self.shifts[depth])
        return F.embedding(codes + self.starts[depth] if self.starts[depth] else codes, self.vectors)

    def _bits(self, codes: Tensor, shifts: Tensor) -> Tensor:
        """Codes (..., 1) and the places of their bits (..., channels) -> -1, +1, and 0 in channels of other depths."""
        bits = torch.bitwise_right_shift(codes, shifts.clamp_min(0)) & 1
        return ((2 * bits - 1) * (shifts >= 0)).to(self.vectors.dtype)

    def into_body(self, sums: Tensor) -> Tensor:
        """(..., channels) -> (..., C): what a position adds to the sequence."""
        return self.body_in(sums.to(self._precision(self.body_in)))

    def into_depth(self, sums: Tensor) -> Tensor:
        """(..., channels) -> (..., C): what a depth step sees."""
        return self.depth_in(sums.to(self._precision(self.depth_in)))

    def _precision(self, module: nn.Module) -> torch.dtype:
        return module.weight.dtype if isinstance(module, nn.Linear) else self.vectors.dtype


def bit_places(widths: tuple[int, ...]) -> Tensor:
    """(D, sum of the widths): which bit of its code each depth's own channels are, low bit first; -1 in the others'."""
    rows = [torch.arange(1, width + 1)[None] for width in widths]
    return torch.block_diag(*rows) - 1


@torch.no_grad()
def code_vectors(quantizer: Any) -> list[Tensor]:
    """The vectors (K_d, dim) of each depth of the quantizer's sub-codes; the decoded vector is their sum.

    Raises TokbenchError for a quantizer whose decoded vector is not a sum over depths.
    """
    sizes = [int(k) for k in quantizer.subcode_sizes]
    if said := too_many_rows("input", "codes", max(sizes)):
        raise TokbenchError(said)
    base = torch.zeros(1, len(sizes), dtype=torch.int64, device=_device(quantizer))
    whole = quantizer.subcode_sizes == quantizer.codebook_sizes
    origin = _decoded(quantizer, base)
    tables = []
    for depth, size in enumerate(sizes):
        codes = base.repeat(size, 1)
        codes[:, depth] = torch.arange(size)
        if whole:  # exactly what the quantizer itself adds up
            tables.append(quantizer.embed(codes)[:, depth].float())
        else:
            tables.append(_decoded(quantizer, codes) - (origin if depth else 0))
    probe = torch.stack([torch.randint(size, (64,), generator=torch.Generator().manual_seed(0)) for size in sizes], -1)
    probe = probe.to(base.device)
    summed = torch.stack([table[probe[:, depth]] for depth, table in enumerate(tables)]).sum(0)
    decoded = _decoded(quantizer, probe)
    if decoded.is_meta:  # a plan builds without weights: there are shapes and nothing to compare
        return tables
    if not torch.allclose(summed, decoded, rtol=1e-4, atol=1e-4 * float(decoded.abs().max() + 1e-6)):
        raise TokbenchError(
            f"generator.input codes: the vectors of {type(quantizer).__name__} are not a sum over its codes; "
            "use generator.input=learned"
        )
    return tables


def _decoded(quantizer: Any, subcodes: Tensor) -> Tensor:
    return quantizer.embed(quantizer.join(subcodes)).float().sum(-2)


def _device(module: nn.Module) -> torch.device:
    tensor = next(iter(module.state_dict().values()), None)
    return torch.device("cpu") if tensor is None else tensor.device

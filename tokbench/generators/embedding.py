"""Codes as vectors a network can read: the tokenizer's own, learned ones, a channel each, or the codes' bits."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokbench.config.generator import GeneratorConfig
from tokbench.errors import TokbenchError


class CodeEmbedding(nn.Module):
    """Codes (..., D) to vectors (..., D, channels), and a vector to the transformer's width.

    ``vectors`` holds the rows of all depths one after the other (once, where the depths share them): a buffer that is
    never trained for ``codes``, ``bits`` and ``onehot``, a parameter of the full width for ``learned``. Sums of such
    vectors go through ``into_body`` or ``into_depth``: linear maps for ``codes`` and ``bits``, nothing for the others.
    """

    offsets: Tensor
    vectors: Tensor

    def __init__(self, config: GeneratorConfig, depth_stack: bool) -> None:
        super().__init__()
        kind, width, sizes = config.generator.input, config.generator.width, config.vocabulary
        shared = config.shared_codes
        self.starts = [0 if shared else sum(sizes[:d]) for d in range(len(sizes))]
        self.register_buffer("offsets", torch.tensor(self.starts), persistent=False)
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
        if kind == "bits":
            table = bit_vectors(sizes)
        else:
            assert config.code_channels is not None
            table = torch.zeros(rows, config.code_channels)
        self.channels = table.shape[1]
        # The bits follow from the vocabulary; the tokenizer's vectors must travel with the weights.
        self.register_buffer("vectors", table, persistent=kind == "codes")
        self.body_in = nn.Linear(self.channels, width)
        self.depth_in = nn.Linear(self.channels, width) if depth_stack else nn.Identity()

    def forward(self, codes: Tensor) -> Tensor:
        """int64 (..., D) -> (..., D, channels)."""
        return F.embedding(codes + self.offsets, self.vectors)

    def at(self, depth: int, codes: Tensor) -> Tensor:
        """Codes (...) of one depth -> (..., channels)."""
        return F.embedding(codes + self.starts[depth], self.vectors)

    def into_body(self, sums: Tensor) -> Tensor:
        """(..., channels) -> (..., C): what a position adds to the sequence."""
        return self.body_in(sums.to(self._precision(self.body_in)))

    def into_depth(self, sums: Tensor) -> Tensor:
        """(..., channels) -> (..., C): what a depth step sees."""
        return self.depth_in(sums.to(self._precision(self.depth_in)))

    def _precision(self, module: nn.Module) -> torch.dtype:
        return module.weight.dtype if isinstance(module, nn.Linear) else self.vectors.dtype


def bit_vectors(vocabulary: tuple[int, ...]) -> Tensor:
    """(sum of K_d, sum of log2 K_d) in -1, 0, +1: the bits of each code, low bit first, in its depth's own channels."""
    widths = [size.bit_length() - 1 for size in vocabulary]
    blocks = []
    for width in widths:
        codes = torch.arange(2**width)
        blocks.append(((codes[:, None] >> torch.arange(width)) & 1).float() * 2 - 1)
    return torch.block_diag(*blocks)


@torch.no_grad()
def code_vectors(quantizer: Any) -> list[Tensor]:
    """The vectors (K_d, dim) of each depth of the quantizer's sub-codes; the decoded vector is their sum.

    Raises TokbenchError for a quantizer whose decoded vector is not a sum over depths.
    """
    sizes = [int(k) for k in quantizer.subcode_sizes]
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

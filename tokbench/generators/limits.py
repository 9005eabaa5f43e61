"""Positions that have the first codes of the vocabulary alone, as many as their limit (a codebook that grows along the
row: quantizer vcq).

Shape legend: B batch, T positions, K codes of the whole vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tokbench.errors import TokbenchError

NEVER = -(2.0**120)
"""The logit of a code that is not there. Its probability is 0, and so is a share of 0 times its log, which infinity's
would not be."""


def limited(logits: Tensor, limits: Tensor | None, fill: float = NEVER) -> Tensor:
    """Logits (..., T, K) with those of codes from limits (T,) on filled; or (..., K) of one position, limits ()."""
    if limits is None:
        return logits
    logits = logits if logits.dtype == torch.float64 else logits.float()
    beyond = torch.arange(logits.shape[-1], device=logits.device) >= limits[..., None]
    return logits.masked_fill(beyond, fill)


def smoothed_cross_entropy(logits: Tensor, codes: Tensor, limits: Tensor, smoothing: float) -> Tensor:
    """The mean in nats of limited logits (N, K) against codes (N,), ``smoothing`` spread over the limits (N,) codes
    that there are."""
    logs = logits.log_softmax(-1)
    spread = limited(logs, limits, fill=0.0).sum(-1) / limits
    return (1 - smoothing) * F.nll_loss(logs, codes) - smoothing * spread.mean()


def check_vocabulary(codes: Tensor, vocabulary: Sequence[int], limits: Tensor | None) -> None:
    """TokbenchError where one of the codes (B, T, D), in raster order, is outside its vocabulary."""
    for depth, size in enumerate(vocabulary):
        low, high = int(codes[..., depth].min()), int(codes[..., depth].max())
        if low < 0 or high >= size:
            raise TokbenchError(
                f"code {low if low < 0 else high} at depth {depth + 1} is outside the generator's vocabulary "
                f"of {size}: these are not this tokenizer's codes"
            )
    if limits is not None and bool((beyond := codes[..., 0] >= limits).any()):
        place = int(beyond.any(0).nonzero()[0])
        raise TokbenchError(
            f"code {int(codes[:, place].max())} at position {place} is beyond the {int(limits[place])} that the "
            "generator has there: these are not this tokenizer's codes"
        )

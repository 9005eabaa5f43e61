"""Multi-scale residual VQ in its plain form, for the benchmark: VAR (FoundationVision/VAR) is not a package that could
be installed, so what its module computes in a training step is written down here step by step, as published: all
distances of a scale as one matrix, resampled maps, a convolution a scale, the loss of every sum.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PlainPyramid(nn.Module):
    """z (B, H, W, dim), the last of the square ``scales`` its own -> quantized, codes (B, N), loss."""

    def __init__(self, dim: int, codebook_size: int, scales: Sequence[int], beta: float = 0.25) -> None:
        super().__init__()
        self.scales, self.beta = list(scales), beta
        self.codebook = nn.Embedding(codebook_size, dim)
        self.codebook.weight.data.uniform_(-1 / codebook_size, 1 / codebook_size)
        self.phi = nn.ModuleList(nn.Conv2d(dim, dim, 3, padding=1) for _ in range(4))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        target = z.movedim(-1, 1)
        fixed, side = target.detach(), self.scales[-1]
        rest, total = fixed.clone(), torch.zeros_like(fixed)
        loss, codes = z.new_zeros(()), []
        for number, scale in enumerate(self.scales):
            with torch.no_grad():
                small = F.interpolate(rest, size=scale, mode="area").movedim(1, -1).flatten(0, 2)
                book = self.codebook.weight
                distances = small.square().sum(1, keepdim=True) + book.square().sum(1)
                chosen = distances.addmm(small, book.T, alpha=-2).argmin(1).view(-1, scale, scale)
            h = F.interpolate(self.codebook(chosen).movedim(-1, 1), size=side, mode="bicubic")
            phi = self.phi[round(number / (len(self.scales) - 1) * 3)]
            h = 0.5 * h + 0.5 * phi(h)
            total, rest = total + h, rest - h.detach()
            loss = loss + self.beta * F.mse_loss(total.detach(), target) + F.mse_loss(total, fixed)
            codes.append(chosen.flatten(1))
        quantized = target + (total - target).detach()
        return quantized.movedim(1, -1), torch.cat(codes, 1), loss / len(self.scales)

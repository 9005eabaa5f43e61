"""Differentiable augmentation of what the discriminator sees (Zhao et al. 2020, arXiv:2006.10738).

Strengths are those of mit-han-lab/data-efficient-gans. Every image of a batch draws its own numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def augment(images: Tensor, policies: Sequence[str]) -> Tensor:
    """Apply the policies in their order to (B, C, H, W) in [-1, 1]; gradients flow through."""
    for policy in policies:
        images = _POLICIES[policy](images)
    return images


def _color(x: Tensor) -> Tensor:
    """Brightness +-0.5, saturation 0..2, contrast 0.5..1.5."""
    brightness, saturation, contrast = torch.rand(3, len(x), 1, 1, 1, device=x.device, dtype=x.dtype)
    x = x + (brightness - 0.5)
    gray = x.mean(dim=1, keepdim=True)
    x = (x - gray) * (2 * saturation) + gray
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return (x - mean) * (contrast + 0.5) + mean


def _translation(x: Tensor, ratio: float = 0.125) -> Tensor:
    """Shift by up to an eighth of each side, zeros moving in."""
    batch, _, height, width = x.shape
    most = [max(1, int(side * ratio + 0.5)) for side in (height, width)]
    rows, columns = (
        torch.randint(0, 2 * m + 1, (batch, 1), device=x.device) + torch.arange(side, device=x.device)
        for m, side in zip(most, (height, width), strict=True)
    )
    padded = F.pad(x, (most[1], most[1], most[0], most[0]))
    which = torch.arange(batch, device=x.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _cutout(x: Tensor, ratio: float = 0.5) -> Tensor:
    """Blank a rectangle of half the sides, wherever its centre falls."""
    inside: list[Tensor] = []
    for side in x.shape[-2:]:
        size = int(side * ratio + 0.5)
        first = torch.randint(0, side + (1 - size % 2), (len(x), 1), device=x.device) - size // 2
        position = torch.arange(side, device=x.device)
        inside.append((position >= first) & (position < first + size))
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return x * (~hole).to(x.dtype)


_POLICIES = {"color": _color, "translation": _translation, "cutout": _cutout}

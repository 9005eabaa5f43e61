"""Channels side by side in memory, which convolutions in mixed precision are fastest on: of images and of clips."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_FORMATS = {4: torch.channels_last, 5: torch.channels_last_3d}


def channels_last(x: Tensor) -> Tensor:
    """(B, C, H, W) or (B, C, T, H, W) with its channels last in memory; anything else as it is."""
    return x.contiguous(memory_format=_FORMATS[x.ndim]) if x.ndim in _FORMATS else x


@torch.no_grad()
def channels_last_(module: nn.Module) -> None:
    """Lay out the weights of convolutions so, in place."""
    for tensor in [*module.parameters(), *module.buffers()]:
        tensor.data = channels_last(tensor.data)

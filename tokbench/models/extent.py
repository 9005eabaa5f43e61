"""How far a network looks and how much it holds, found by one look at a small image.

What decides whether an image of some size can go through whole, and how much two neighbouring tiles must share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

HELD = 6  # activations as large as the largest that a residual block holds at a time, its convolution's copies included


@dataclass(frozen=True)
class Extent:
    """Of an encoder or a decoder, a pixel being one of the image's."""

    bytes_per_pixel: float  # the most that a forward pass without gradients holds
    positions_per_pixel: float  # of the largest map that is attended over; 0 without attention
    reach: int  # pixels to each side that decide a pixel, by convolutions alone


def extent_of(network: nn.Module, example: Tensor, pixels: int) -> Extent:
    """What one pass of ``network`` over ``example`` (a batch of one), an image of ``pixels`` pixels, shows.

    Changes nothing; call it in evaluation mode. A map's pitch is taken from its area, so ``example`` is square.
    """
    largest, attended, reach = 0.0, 0, 0.0

    def look(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal largest, attended, reach
        if not isinstance(output, Tensor):
            return
        largest = max(largest, output.numel() * output.element_size())
        if getattr(module, "looks_everywhere", False):
            channels = next(module.norm.parameters()).numel()  # type: ignore[union-attr]  # its scales come first
            attended = max(attended, output.numel() // channels)
        if isinstance(module, nn.Conv2d | nn.Conv3d) and module.kernel_size[-1] > 1:
            given = inputs[0]
            reach += (module.kernel_size[-1] - 1) / 2 * math.sqrt(pixels / (given.shape[-2] * given.shape[-1]))

    handles = [module.register_forward_hook(look) for module in network.modules()]
    try:
        with torch.no_grad():
            network.forward(example)
    finally:
        for handle in handles:
            handle.remove()
    return Extent(HELD * largest / pixels, attended / pixels, math.ceil(reach))

"""The one place where bytes become floats and floats become bytes, and the door through which a picture file enters."""

from __future__ import annotations

import torch
from torch import Tensor

from tokbench.data.decode import UnreadableImage, load_image

__all__ = ["UnreadableImage", "load_image", "to_float", "to_uint8"]


def to_float(image: Tensor) -> Tensor:
    """uint8 in 0..255 -> float32 in [-1, 1], any shape: ``x / 127.5 - 1``. Exactly undone by :func:`to_uint8`."""
    if image.dtype != torch.uint8:
        raise TypeError(f"to_float takes a uint8 tensor, not {image.dtype}")
    return image.to(torch.float32) / 127.5 - 1.0


def to_uint8(image: Tensor) -> Tensor:
    """float in [-1, 1] -> uint8 in 0..255, any shape: ``(x + 1) * 127.5``, half to even, values outside clamped.

    Computed in float32 whatever the input's precision, so that a bf16 model output is rounded once. NaN has no byte:
    what it becomes here differs between devices, so whoever holds a model's output refuses it before calling.
    """
    if not image.is_floating_point():
        raise TypeError(f"to_uint8 takes a floating-point tensor, not {image.dtype}")
    return ((image.to(torch.float32) + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)

"""The one place where bytes become floats, floats bytes and colours greys, and the door that image files enter by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tokbench.config.kind import check_channels
from tokbench.data.decode import UnreadableImage, load_image
from tokbench.errors import TokbenchError

__all__ = ["UnreadableImage", "load_image", "read_image", "to_channels", "to_float", "to_grey", "to_uint8"]


def to_float(image: Tensor) -> Tensor:
    """uint8 in 0..255 -> float32 in [-1, 1], any shape: ``x / 127.5 - 1``. Exactly undone by :func:`to_uint8`.

    Whatever order the bytes lie in (a clip's are as the decoder leaves them), the floats lie in that of the axes.
    """
    if image.dtype != torch.uint8:
        raise TypeError(f"to_float takes a uint8 tensor, not {image.dtype}")
    return image.to(torch.float32, memory_format=torch.contiguous_format).div_(127.5).sub_(1.0)


def to_uint8(image: Tensor) -> Tensor:
    """float in [-1, 1] -> uint8 in 0..255, any shape: ``(x + 1) * 127.5``, half to even, values outside clamped.

    Computed in float32 whatever the input's precision, so that a bf16 model output is rounded once. NaN has no byte:
    what it becomes here differs between devices, so whoever holds a model's output refuses it before calling.
    """
    if not image.is_floating_point():
        raise TypeError(f"to_uint8 takes a floating-point tensor, not {image.dtype}")
    return ((image.to(torch.float32) + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)


def read_image(path: Path, channels: int = 3, *, any_shape: bool = False) -> Tensor:
    """An image file -> uint8 (channels, H, W). Raises UnreadableImage, and TokbenchError as :func:`to_channels`."""
    return to_channels(to_tensor(load_image(path, any_shape=any_shape)), channels)


def stacked(images: Sequence[Tensor]) -> Tensor:
    """As ``torch.stack``, but the batch's memory is in the order of the first one's: a clip's bytes go in one copy."""
    order = images[0].dim_order()
    batch = torch.stack([image.permute(order) for image in images])
    return batch.permute(0, *(1 + order.index(axis) for axis in range(len(order))))


def frames(images: Tensor) -> Tensor:
    """Clips (B, C, T, H, W) as their frames (B * T, C, H, W), a clip's one after the other; images as they are."""
    return images if images.ndim == 4 else images.transpose(1, 2).flatten(0, 1)


def to_tensor(image: Image.Image) -> Tensor:
    """RGB image -> uint8 (3, H, W)."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def to_channels(image: Tensor, channels: int) -> Tensor:
    """uint8 RGB (..., 3, H, W) -> itself for 3 channels, its grey for 1. TokbenchError for another number."""
    if wrong := check_channels("image", channels):
        raise TokbenchError(wrong)
    return to_grey(image) if channels == 1 else image


def to_grey(image: Tensor) -> Tensor:
    """uint8 RGB (..., 3, H, W) -> its luma (..., 1, H, W): ITU-R 601, .299 R + .587 G + .114 B, as Pillow's mode L.

    In Pillow's own whole numbers, so that the bytes are equal; an image that is grey already keeps its values.
    """
    red, green, blue = image.to(torch.int32).unbind(-3)
    return ((red * 19595 + green * 38470 + blue * 7471 + 32768) >> 16).to(torch.uint8).unsqueeze(-3)

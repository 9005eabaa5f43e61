"""What goes with an image and stands before its codes: another image, a depth map, or a map of labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from tokbench.config.condition import Partner
from tokbench.data.decode import UnreadableImage, load_image
from tokbench.data.formats import SUFFIXES
from tokbench.data.pixels import to_channels, to_float, to_tensor
from tokbench.errors import TokbenchError

PARTNERS = SUFFIXES | {".npy"}
"""How files end that may go with an image, in lower case."""


class Map:
    """A map of numbers, float (depth) or whole (labels), with what a crop asks of an image; labels are never mixed."""

    def __init__(self, image: Image.Image) -> None:
        self.image = image

    def __getattr__(self, name: str) -> Any:
        return getattr(self.image, name)

    def resize(self, size: tuple[int, int], resample: int = Image.Resampling.BICUBIC, **_: Any) -> Map:
        """Nearest for labels; depth as images are."""
        return Map(self.image.resize(size, Image.Resampling.NEAREST if self.image.mode == "I" else resample))

    def crop(self, box: tuple[int, int, int, int]) -> Map:
        """As an image's."""
        return Map(self.image.crop(box))

    def transpose(self, method: Image.Transpose) -> Map:
        """As an image's."""
        return Map(self.image.transpose(method))


def load_partner(path: Path, kind: Partner) -> Any:
    """A file as what a crop takes: an RGB image, or a :class:`Map`. Raises UnreadableImage.

    Depth (8 or 16 bits, floats, ``.npy``) is scaled to [-1, 1] by the file's own least and greatest, as MiDaS' is in
    CompVis/taming-transformers (``data/imagenet.py``). Labels are whole numbers: grey or palette PNG, ``.npy``.
    """
    if kind == "images":
        return load_image(path)
    values = _numbers(path)
    if kind == "depth":
        low, high = float(values.min()), float(values.max())
        if not np.isfinite([low, high]).all():
            raise UnreadableImage(str(path), "depth that is not finite")
        scaled = (values.astype(np.float64) - low) / max(high - low, 1e-8) * 2 - 1
        return Map(Image.fromarray(scaled.astype(np.float32)))
    if values.dtype.kind == "f":
        raise UnreadableImage(str(path), "labels are whole numbers, and these are floats")
    return Map(Image.fromarray(values.astype(np.int32)))


def _numbers(path: Path) -> np.ndarray:
    """The numbers (H, W) of a file of one channel."""
    try:
        if path.suffix.lower() == ".npy":
            values = np.load(path, allow_pickle=False)
        else:
            with Image.open(path) as image:
                values = np.asarray(image)
    except UnidentifiedImageError:
        raise UnreadableImage(str(path), "not an image in a known format") from None
    except Exception as error:  # Pillow's plug-ins and numpy raise whatever they like
        raise UnreadableImage(str(path), str(error).partition("\n")[0][:200]) from error
    if values.ndim != 2 or not values.size or values.dtype.kind not in "uif":
        raise UnreadableImage(str(path), f"one number a pixel is wanted, not {values.dtype} {values.shape}")
    return values


def partner_tensor(taken: Any, kind: Partner) -> Tensor:
    """What a crop left, as a sample has it: uint8 (3, H, W), depth float (1, H, W) or labels int64 (1, H, W)."""
    if kind == "images":
        return to_tensor(taken)
    values = torch.from_numpy(np.array(taken.image))[None]
    return values.clamp(-1, 1) if kind == "depth" else values.long()


def tokenizer_input(partners: Tensor, kind: Partner, channels: int) -> Tensor:
    """Such samples (B, ...) as the condition's tokenizer takes them: float (B, channels, H, W), labels as one-hot.

    Raises:
        TokbenchError: labels beyond its channels, or depth for a tokenizer of several.
    """
    if kind == "images":
        return to_float(to_channels(partners, channels))
    if kind == "depth":
        if channels != 1:
            raise TokbenchError(f"the condition's tokenizer takes images of {channels} channels, and depth has one")
        return partners
    low, high = int(partners.min()), int(partners.max())
    if low < 0 or high >= channels:
        raise TokbenchError(f"label {low if low < 0 else high} is outside the {channels} of the condition's tokenizer")
    return F.one_hot(partners[:, 0], channels).movedim(-1, 1).float()

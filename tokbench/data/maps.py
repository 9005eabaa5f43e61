"""Maps of numbers, labels or depth: read from a file, cropped as images are, given to a tokenizer, shown in colours."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from tokbench.config.kind import SHOWN, Kind
from tokbench.data.decode import UnreadableImage
from tokbench.data.formats import readable_formats
from tokbench.data.pixels import read_image, to_float, to_uint8
from tokbench.errors import TokbenchError

_NPY = b"\x93NUMPY"


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


def load_map(encoded: bytes | Path, kind: Kind, *, name: str | None = None, labels: int | None = None) -> Map:
    """A file, or its bytes, as what a crop takes. Raises UnreadableImage.

    Depth (8 or 16 bits, floats, ``.npy``) is scaled to [-1, 1] by the file's own least and greatest, as MiDaS' is in
    CompVis/taming-transformers (``data/imagenet.py``). Labels are whole numbers: grey or palette PNG, ``.npy``, within
    0 .. ``labels`` - 1 where that is given.
    """
    label = name or ("<bytes>" if isinstance(encoded, bytes) else str(encoded))
    values = _numbers(encoded, label)
    if kind == "depth":
        low, high = float(values.min()), float(values.max())
        if not np.isfinite([low, high]).all():
            raise UnreadableImage(label, "depth that is not finite")
        scaled = (values.astype(np.float64) - low) / max(high - low, 1e-8) * 2 - 1
        return Map(Image.fromarray(scaled.astype(np.float32)))
    if values.dtype.kind == "f":
        raise UnreadableImage(label, "labels are whole numbers, and these are floats")
    low, high = int(values.min()), int(values.max())
    most = 2**31 if labels is None else labels
    if low < 0 or high >= most:
        raise UnreadableImage(label, f"has label {low if low < 0 else high}, and labels are 0 to {most - 1}")
    return Map(Image.fromarray(values.astype(np.int32)))


def _numbers(encoded: bytes | Path, label: str) -> np.ndarray:
    """The numbers (H, W) of a file of one channel."""
    try:
        data = encoded if isinstance(encoded, bytes) else encoded.read_bytes()
        if data.startswith(_NPY):
            values = np.load(io.BytesIO(data), allow_pickle=False)
        else:
            with Image.open(io.BytesIO(data), formats=readable_formats()) as image:
                values = np.asarray(image)
    except UnidentifiedImageError:
        raise UnreadableImage(label, "not an image in a known format" if data else "the file is empty") from None
    except Exception as error:  # Pillow's plug-ins and numpy raise whatever they like
        raise UnreadableImage(label, str(error).partition("\n")[0][:200]) from error
    if values.dtype == np.bool_:  # a PNG of one bit
        values = values.astype(np.uint8)
    if values.ndim != 2 or not values.size or values.dtype.kind not in "uif":
        raise UnreadableImage(label, f"one number a pixel is wanted, not {values.dtype} {values.shape}")
    return values


def map_tensor(taken: Map, kind: Kind) -> Tensor:
    """What a crop left, as a sample has it: depth float (1, H, W) in [-1, 1], or labels int64 (1, H, W)."""
    values = torch.from_numpy(np.array(taken.image))[None]
    return values.clamp(-1, 1) if kind == "depth" else values.long()


def read_sample(path: Path, kind: Kind, channels: int) -> Tensor:
    """A file of any shape as a sample (C, H, W). Raises UnreadableImage, and TokbenchError as ``to_channels``."""
    if kind == "image":
        return read_image(path, channels, any_shape=True)
    return map_tensor(load_map(path, kind, labels=channels), kind)


def check_map(values: Tensor, kind: Kind, channels: int) -> None:
    """TokbenchError for a tensor that is not a sample (1, H, W) of the kind."""
    wanted = "int64 (1, H, W)" if kind == "labels" else "float32 (1, H, W) in [-1, 1]"
    right = values.dtype == (torch.int64 if kind == "labels" else torch.float32)
    if not right or values.ndim != 3 or len(values) != 1 or not values.numel():
        raise TokbenchError(f"{SHOWN[kind]} are {wanted}, got {values.dtype} {tuple(values.shape)}")
    low, high = values.aminmax()
    bounds = (0, channels - 1) if kind == "labels" else (-1, 1)
    if not bounds[0] <= low <= high <= bounds[1]:
        raise TokbenchError(f"{SHOWN[kind]} are within {bounds[0]} and {bounds[1]}, got {low.item()} to {high.item()}")


def to_model(samples: Tensor, kind: Kind, channels: int) -> Tensor:
    """Samples (B, ...) as a tokenizer takes them: float (B, channels, H, W), of labels one-hot. :func:`to_samples` is
    the inverse."""
    if kind == "labels":
        return F.one_hot(samples[:, 0], channels).movedim(-1, 1).float()
    return samples if kind == "depth" else to_float(samples)


def to_samples(made: Tensor, kind: Kind) -> Tensor:
    """What a tokenizer gives (B, C, ...) as samples are: bytes of images, the likeliest label, depth in [-1, 1]."""
    if kind == "labels":
        return made.argmax(1, keepdim=True)
    return made.float().clamp(-1, 1) if kind == "depth" else to_uint8(made)


def visible(samples: Tensor, kind: Kind) -> Tensor:
    """Samples (..., C, H, W) as uint8 images for people: labels in colours (..., 3, H, W), depth in greys."""
    if kind == "labels":
        return colours(samples.squeeze(-3)).movedim(-1, -3)
    return to_uint8(samples) if kind == "depth" else samples


def colours(labels: Tensor) -> Tensor:
    """Labels int64 (...) -> uint8 (..., 3), the colours of PASCAL VOC: the label's bits, three at a time, from the
    highest bit of red, green and blue down. Label 0 is black, and no two of the first 2^24 are the same."""
    found = torch.zeros((*labels.shape, 3), dtype=torch.int64, device=labels.device)
    for place in range(8):
        for channel in range(3):
            found[..., channel] |= (labels >> (3 * place + channel) & 1) << (7 - place)
    return found.to(torch.uint8)


def label_file(labels: Tensor) -> Image.Image:
    """Labels (H, W) as a PNG keeps them: 8 bits with their colours as a palette, or 16 bits where there are more."""
    values = labels.cpu().numpy()
    if values.max() > 255:
        return Image.fromarray(values.astype(np.uint16))
    image = Image.fromarray(values.astype(np.uint8), "P")
    image.putpalette(colours(torch.arange(256)).flatten().tolist())
    return image

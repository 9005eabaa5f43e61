"""What goes with an image and stands before its codes: another image, a depth map, or a map of labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from tokbench.config.condition import KIND_OF, Partner
from tokbench.data.decode import load_image
from tokbench.data.formats import MAP_SUFFIXES
from tokbench.data.maps import load_map, map_tensor, to_model
from tokbench.data.pixels import to_channels, to_tensor
from tokbench.errors import TokbenchError

PARTNERS = MAP_SUFFIXES
"""How files end that may go with an image, in lower case."""


def load_partner(encoded: bytes | Path, kind: Partner, name: str | None = None) -> Any:
    """A file, or its bytes, as what a crop takes: an RGB image, or a ``Map``. Raises UnreadableImage."""
    return load_image(encoded, name=name) if kind == "images" else load_map(encoded, KIND_OF[kind], name=name)


def partner_tensor(taken: Any, kind: Partner) -> Tensor:
    """What a crop left, as a sample has it: uint8 (3, H, W), depth float (1, H, W) or labels int64 (1, H, W)."""
    return to_tensor(taken) if kind == "images" else map_tensor(taken, KIND_OF[kind])


def tokenizer_input(partners: Tensor, kind: Partner, channels: int) -> Tensor:
    """Such samples (B, ...) as the condition's tokenizer takes them: float (B, channels, H, W), labels as one-hot.

    Raises:
        TokbenchError: labels beyond its channels, or depth for a tokenizer of several.
    """
    if kind == "images":
        return to_model(to_channels(partners, channels), "image", channels)
    if kind == "depth" and channels != 1:
        raise TokbenchError(f"the condition's tokenizer takes images of {channels} channels, and depth has one")
    low, high = int(partners.min()), int(partners.max())
    if kind == "masks" and (low < 0 or high >= channels):
        raise TokbenchError(f"label {low if low < 0 else high} is outside the {channels} of the condition's tokenizer")
    return to_model(partners, KIND_OF[kind], channels)

"""A tokenizer of videos as one of images, each of which is a clip of one frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from tokbench.config.grid import Size, axes
from tokbench.config.video_model import VideoArchitecture

if TYPE_CHECKING:
    from .tokenizer import Tokenizer


def for_samples(tokenizer: Any, size: Size) -> Any:
    """The tokenizer as samples of this size need it: of images one of videos is a ``OneFrame``."""
    model = getattr(getattr(tokenizer, "config", None), "model", None)
    return OneFrame(tokenizer) if isinstance(model, VideoArchitecture) and len(axes(size)) == 2 else tokenizer


class OneFrame:
    """What measures tokenizers of images takes it. Codes keep their axis of time, of length 1; all else is the
    tokenizer's own."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)

    def latents(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] -> (B, c, 1, h, w)."""
        return self.tokenizer.latents(images.unsqueeze(2))

    def encode(self, images: Tensor) -> Tensor:
        """(B, C, H, W) in [-1, 1] -> codes (B, 1, h, w, D)."""
        return self.tokenizer.encode(images.unsqueeze(2))

    def decode(self, codes: Tensor) -> Tensor:
        """Codes (B, 1, h, w, D) -> (B, C, H, W)."""
        return self.tokenizer.decode(codes).squeeze(2)

    def rate(self, size: Size) -> dict[str, Any]:
        """Of an image of that size."""
        return self.tokenizer.rate((1, *axes(size)))

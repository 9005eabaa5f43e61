"""Single-head attention over clips, factorised: within each frame, or of each position over time."""

from __future__ import annotations

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .blocks import attend
from .causal import CausalConv3d


class _ClipAttention(nn.Module):
    """``norm``: what the input (B, C, T, H, W) goes through first."""

    ends_in = "out"

    def __init__(self, norm: nn.Module, channels: int) -> None:
        super().__init__()
        self.norm = norm
        self.q, self.k, self.v, self.out = (CausalConv3d(channels, channels, (1, 1, 1)) for _ in range(4))


class FrameAttention(_ClipAttention):
    """Of every position to all of its frame, added to the input."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (rearrange(conv(h), "b c t h w -> (b t) (h w) c") for conv in (self.q, self.k, self.v))
        batch, _, _, height, _ = x.shape
        h = rearrange(attend(q, k, v), "(b t) (h w) c -> b c t h w", b=batch, h=height)
        return x + self.out(h)


class TimeAttention(_ClipAttention):
    """Of each position to itself in this frame and all before, added to the input."""

    sees_the_whole_clip = True  # what it would have to keep grows with the clip

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (rearrange(conv(h), "b c t h w -> b (h w) t c") for conv in (self.q, self.k, self.v))
        h = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # of four axes: ONNX has it of no other number
        return x + self.out(rearrange(h, "b (h w) t c -> b c t h w", h=x.shape[-2]))

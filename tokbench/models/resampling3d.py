"""MAGVIT-v2's layers between the levels of a video decoder: depth to space, and GroupNorm driven by the codes."""

from __future__ import annotations

from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from .causal import CausalConv3d, Normalization, Padding, Streamed, norm3d

Dropped = Literal["first", "second"]
"""The frame that an upsampling in time leaves out of the two that it makes of the first."""
Adaptive = Literal["position", "frame", "clip"]
"""What of the codes drives an adaptive GroupNorm: each position's, or their statistics over a frame or the clip."""


def depth_to_space3d(x: Tensor, factors: tuple[int, int, int]) -> Tensor:
    """(B, ft*fh*fw*C, T, H, W) -> (B, C, ft*T, fh*H, fw*W), block offsets varying slowest: time, height, width."""
    ft, fh, fw = factors
    x = rearrange(x, "b (ft fh fw c) t h w -> b (t ft) (h fh) (w fw) c", ft=ft, fh=fh, fw=fw)
    return rearrange(x, "b t h w c -> b c t h w")  # channels lie innermost, as the next convolution likes them


class DepthToSpace3d(Streamed):
    """Double the sides, and with ``frames`` 2 the frames too: a causal convolution, then depth to space.

    1 + t frames become 1 + 2t: of the two that the first frame gives, one is left out.
    """

    def __init__(
        self, channels: int, frames: int, drop: Dropped = "first", before: Padding = "zeros", kernel_frames: int = 3
    ) -> None:
        super().__init__()
        self.conv = CausalConv3d(channels, 4 * frames * channels, (kernel_frames, 3, 3), before=before)
        self.frames, self.drop = frames, drop

    def forward(self, x: Tensor) -> Tensor:
        first_piece = self.is_first_piece
        if self.past is not None:
            self.past["begun"] = x.new_ones(())
        x = depth_to_space3d(self.conv(x), (self.frames, 2, 2))
        if self.frames == 1 or not first_piece:
            return x
        return x[:, :, 1:] if self.drop == "first" else torch.cat([x[:, :, :1], x[:, :, 2:]], dim=2)


class AdaptiveNorm3d(nn.Module):
    """GroupNorm whose scale and shift are linear in the codes.

    Args:
        repeats: frames that one latent frame stands for at this level (the first stands for one).
        by: ``position``: 1 + scale and shift of the code at the position (cofe-ai/O2-MAGVIT2). ``clip``: of the codes'
            standard deviation (unbiased, variance plus epsilon) and mean over the clip (TencentARC/SEED-Voken), which
            is not causal. ``frame``: of those over each frame, as the image tokenizer has them.
    """

    def __init__(
        self,
        channels: int,
        code_channels: int,
        repeats: int,
        by: Adaptive = "position",
        groups: int = 32,
        over: Normalization = "frame",
        epsilon: float = 1e-6,
    ) -> None:
        super().__init__()
        self.norm = norm3d(channels, groups, over, epsilon, affine=False)
        self.scale = nn.Linear(code_channels, channels)
        self.shift = nn.Linear(code_channels, channels)
        self.repeats, self.by, self.sees_the_whole_clip = repeats, by, by == "clip"

    def forward(self, x: Tensor, codes: Tensor) -> Tensor:
        """x (B, C, T, H, W), codes (B, c, T', h, w) -> like x; the maps need only have the shape of the codes."""
        scale, shift = self._position(codes) if self.by == "position" else self._statistics(codes)
        if self.by != "clip" and self.repeats > 1:
            # The first frames of what a piece gives are those that upsampling left out.
            scale, shift = (m.repeat_interleave(self.repeats, dim=1)[:, -x.shape[2] :] for m in (scale, shift))
        # The maps are (B, T, h, w, C), each place that of a block of rows and columns of x.
        _, _, rows, columns, _ = scale.shape
        y = rearrange(self.norm(x), "b c t (h y) (w x) -> b t h y w x c", h=rows, w=columns)
        y = torch.addcmul(shift[:, :, :, None, :, None], y, scale[:, :, :, None, :, None])
        return rearrange(y, "b t h y w x c -> b c t (h y) (w x)")

    def _position(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        codes = codes.permute(0, 2, 3, 4, 1)
        return 1 + self.scale(codes), self.shift(codes)

    def _statistics(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Of the codes over a frame, (B, T', 1, 1, C), or over the clip, (B, 1, 1, 1, C)."""
        kept = (codes.transpose(1, 2) if self.by == "frame" else codes[:, None]).flatten(3)  # (B, T' or 1, c, n)
        deviation = (kept.var(dim=-1, correction=int(kept.shape[-1] > 1)) + 1e-6).sqrt()
        maps = self.scale(deviation), self.shift(kept.mean(dim=-1))
        return maps[0][:, :, None, None], maps[1][:, :, None, None]

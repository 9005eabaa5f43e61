"""Layers of video networks that look back in time and never ahead. Videos are (B, C, T, H, W).

A layer's output at a frame depends on that frame and those before it, so the first frames of a clip alone give what
they give inside the clip, and a clip of any length can go through piece by piece: in a :class:`CausalStream` every
layer keeps the few frames that its next output still needs.

Activations lie in memory as ``torch.channels_last_3d``, frame after frame. There the frames of a clip are a batch of
``torch.channels_last`` images without a copy, and convolutions pad in space by themselves.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from tokbench.errors import TokbenchError

from .blocks import Recomputed, fitting_groups
from .causal_conv import Shape, causal_conv3d
from .frame_norm import norm_of_frames

Padding = Literal["zeros", "first-frame"]
"""What stands before the first frame: zeros, or the first frame again."""


class Streamed(nn.Module):
    """A layer that carries something from one piece of a clip to the next."""

    past: dict[str, Tensor] | None = None
    """Empty before the first piece, None where clips come whole."""

    @property
    def is_first_piece(self) -> bool:
        """Whether what comes is a clip's beginning, or all of it."""
        return not self.past


class CausalStream:
    """A causal network for the pieces of one clip: what is given to it call after call is that clip's next piece.

    Between the calls the network serves others. TokbenchError for a network with layers that look at the whole clip.
    """

    def __init__(self, network: nn.Module) -> None:
        if (module := looks_at_every_frame(network)) is not None:
            raise TokbenchError(
                f"this network cannot take a clip in pieces: its {type(module).__name__} looks at every frame"
            )
        self._network = network
        self._past: dict[Streamed, dict[str, Tensor]] = {
            module: {} for module in network.modules() if isinstance(module, Streamed)
        }

    def __call__(self, piece: Tensor) -> Tensor:
        """The network's output for the frames of ``piece`` (B, C, T, H, W), those before being known."""
        try:
            for layer, past in self._past.items():
                layer.past = past
            out: Tensor = self._network(piece)
        finally:
            for layer in self._past:
                layer.past = None
        return out


def looks_at_every_frame(network: nn.Module) -> nn.Module | None:
    """The first layer that looks at the whole clip, for which a network cannot take it in pieces; None: it can."""
    return next((module for module in network.modules() if getattr(module, "sees_the_whole_clip", False)), None)


def frames_of(x: Tensor) -> Tensor:
    """(B, C, T, H, W) -> its frames (B*T, C, H, W)."""
    return rearrange(x, "b c t h w -> (b t) c h w")


def clips_of(frames: Tensor, batch: int) -> Tensor:
    """(B*T, C, H, W) -> (B, C, T, H, W)."""
    return rearrange(frames, "(b t) c h w -> b c t h w", b=batch)


class CausalConv3d(nn.Conv3d, Streamed):
    """A convolution that sees, of the frames, the present one and the ``kernel - 1`` before it.

    Args:
        kernel, stride: in time, height and width.
        before: what is taken for frames before the first.
        lead: frames that are put there; kernel - 1 in time where not said, which gives 1 + t frames for 1 + s*t.
        same: zeros around every frame, half a kernel wide; otherwise none.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: tuple[int, int, int] = (3, 3, 3),
        stride: tuple[int, int, int] = (1, 1, 1),
        *,
        bias: bool = True,
        before: Padding = "zeros",
        lead: int | None = None,
        same: bool = True,
    ) -> None:
        around = (0, kernel[1] // 2, kernel[2] // 2) if same else (0, 0, 0)
        super().__init__(channels_in, channels_out, kernel, stride, padding=around, bias=bias)
        self.before: Padding = before
        self.lead = kernel[0] - 1 if lead is None else lead

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, C', 1 + (T - 1)/s, H', W')."""
        if self.kernel_size[0] == self.stride[0] == 1:
            return clips_of(self._on_frames(frames_of(x)), x.shape[0])
        x, lacking = self._after_what_was(x)
        shape = Shape(self.stride, self.padding[1:], lacking)  # type: ignore[arg-type]
        return causal_conv3d(x, self.weight, self.bias, shape)

    def _on_frames(self, frames: Tensor) -> Tensor:
        weight = self.weight.squeeze(2)
        return F.conv2d(frames, weight, self.bias, self.stride[1:], self.padding[1:])  # type: ignore[arg-type]

    def _after_what_was(self, x: Tensor) -> tuple[Tensor, int]:
        """``x`` with the frames that its first outputs look back at, and the frames of zeros that are to be thought
        before it; keeps what the outputs of the next piece will look back at."""
        lacking = 0
        if self.past:
            x = torch.cat([self.past["frames"], x], dim=2)
        elif self.before == "zeros" and self.past is None:
            lacking = self.lead
        elif self.lead:
            first = x[:, :, :1] if self.before == "first-frame" else torch.zeros_like(x[:, :, :1])
            x = torch.cat([first.expand(-1, -1, self.lead, -1, -1), x], dim=2)
        if self.past is not None:
            kernel, stride = self.kernel_size[0], self.stride[0]
            outputs = (x.shape[2] - kernel) // stride + 1
            self.past["frames"] = x[:, :, outputs * stride :].clone()
        return x, lacking


class FrameGroupNorm(nn.GroupNorm):
    """GroupNorm with each frame's own statistics, so that no frame sees a later one."""

    def forward(self, x: Tensor, swish: bool = False) -> Tensor:
        settings = (self.num_groups, self.weight, self.bias, self.eps)
        return clips_of(norm_of_frames(frames_of(x), *settings, swish=swish), x.shape[0])


class ClipGroupNorm(nn.GroupNorm):
    """GroupNorm over all frames together, as PyTorch's own does. Not causal: the first frame sees the last."""

    sees_the_whole_clip = True

    def forward(self, x: Tensor, swish: bool = False) -> Tensor:
        y = super().forward(x)
        return F.silu(y) if swish else y


Norm3d: TypeAlias = FrameGroupNorm | ClipGroupNorm
Normalization = Literal["frame", "clip"]
_NORMS: dict[Normalization, type[Norm3d]] = {"frame": FrameGroupNorm, "clip": ClipGroupNorm}


def norm3d(
    channels: int, groups: int = 32, over: Normalization = "frame", epsilon: float = 1e-6, affine: bool = True
) -> Norm3d:
    """GroupNorm of videos over a frame or the clip, with the most groups up to ``groups`` that divide the channels."""
    return _NORMS[over](fitting_groups(channels, groups), channels, eps=epsilon, affine=affine)


class CausalResidual(Recomputed):
    """Twice norm, swish, causal ``frames`` x3x3 convolution without bias, added to the input (through a 1x1x1 where the
    channels change). MAGVIT-v2's residual block."""

    ends_in = "conv2"

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        groups: int = 32,
        over: Normalization = "frame",
        epsilon: float = 1e-6,
        before: Padding = "zeros",
        frames: int = 3,
    ) -> None:
        super().__init__()
        kernel = (frames, 3, 3)
        self.norm1 = norm3d(channels_in, groups, over, epsilon)
        self.conv1 = CausalConv3d(channels_in, channels_out, kernel, bias=False, before=before)
        self.norm2 = norm3d(channels_out, groups, over, epsilon)
        self.conv2 = CausalConv3d(channels_out, channels_out, kernel, bias=False, before=before)
        same = channels_in == channels_out
        self.shortcut: nn.Module = (
            nn.Identity() if same else CausalConv3d(channels_in, channels_out, (1, 1, 1), bias=False)
        )

    def _forward(self, x: Tensor) -> Tensor:
        h = self.conv1(self.norm1(x, swish=True))
        h = self.conv2(self.norm2(h, swish=True))
        return self.shortcut(x) + h

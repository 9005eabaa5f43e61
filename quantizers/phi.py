"""The convolutions that follow the way back up in multi-scale quantization (VAR, arXiv:2404.02905)."""

from __future__ import annotations

from torch import Tensor, nn


class Phi(nn.Conv2d):
    """(1 - r) h + r conv(h), on maps (B, d, H, W), in fp32 also where the model was cast to a smaller type."""

    def __init__(self, dim: int, ratio: float) -> None:
        super().__init__(dim, dim, 3, padding=1)
        self.ratio = ratio

    def forward(self, h: Tensor) -> Tensor:
        assert self.bias is not None
        return h.mul(1 - self.ratio) + self._conv_forward(h, self.weight.float(), self.bias.float()).mul(self.ratio)


def phi_of(scale: int, scales: int, count: int) -> int:
    """Which of ``count`` phi a scale has, by its number from 0: the nearest tick to its place from 0 to 1."""
    edge = 1 / 3 if count == 4 else 1 / 2  # VAR's ticks lie elsewhere where there are four of them
    place = scale / max(1, scales - 1)
    low, high = edge / count, 1 - edge / count
    ticks = [low + (high - low) * i / max(1, count - 1) for i in range(count)]
    return min(range(count), key=lambda i: abs(ticks[i] - place))

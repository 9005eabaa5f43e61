"""A small vision transformer that reads codes or pixel patches: equal but for its first layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokbench.config.grid import Grid
from tokbench.errors import TokbenchError


@dataclass(frozen=True)
class ProbeSettings:
    """The classifier and its training, the same whatever it reads.

    The defaults are ViT-Tiny's width and heads (Touvron et al. 2021, arXiv:2012.12877) at half its depth, so that two
    cores do; the learning rate warms up over the first tenth of the steps and decays by a cosine to nothing.
    """

    width: int = 192
    layers: int = 6
    heads: int = 3
    steps: int = 2000
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.05

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            least = 0 if name == "weight_decay" else 1e-12
            if not least <= value < math.inf:
                raise TokbenchError(f"{name} is {value}; it must be {'at least' if not least else 'above'} 0")
        if self.width % self.heads:
            raise TokbenchError(f"a width of {self.width} is not a multiple of {self.heads} heads")

    def factor(self, step: int) -> float:
        """The fraction of the learning rate at ``step``, counted from 0."""
        warmup = max(1, self.steps // 10)
        done = (step - warmup) / max(1, self.steps - warmup)
        return (step + 1) / (warmup + 1) if step < warmup else 0.5 * (1 + math.cos(math.pi * done))

    @property
    def trained(self) -> str:
        """How it is trained, in a version's characters."""
        return f"{self.steps}x{self.batch_size}-lr{self.learning_rate:g}-wd{self.weight_decay:g}"

    @property
    def label(self) -> str:
        """In a version's characters: figures of other classifiers never share a column."""
        return f"w{self.width}-l{self.layers}-h{self.heads}-{self.trained}"


class CodeInput(nn.Module):
    """Codes (B, \\*grid, D) to vectors (B, N, width): a learned embedding for each depth, summed over the depths.

    A vocabulary that a generator would factorise (2^18 codes) is read by the same sub-codes.
    """

    offsets: Tensor

    def __init__(self, quantizer: Any, width: int) -> None:
        super().__init__()
        sizes = [int(size) for size in quantizer.subcode_sizes]
        self.subcodes = quantizer.subcodes
        self.table = nn.Embedding(sum(sizes), width)
        nn.init.trunc_normal_(self.table.weight, std=0.02)
        offsets = [0, *accumulate(sizes)][:-1]
        self.register_buffer("offsets", torch.tensor(offsets), persistent=False)

    def forward(self, codes: Tensor) -> Tensor:
        embedded: Tensor = self.table(self.subcodes(codes) + self.offsets)
        return embedded.sum(-2).flatten(1, -2)


class PatchInput(nn.Module):
    """Pixels (B, C, \\*size) in [-1, 1] to vectors (B, N, width): one linear map on the patches of a grid.

    Where the grid does not divide an axis, as of 17 frames in 5 positions, the first slice is repeated in front: what
    a causal tokenizer's first position stands for is one frame.
    """

    def __init__(self, size: Sequence[int], channels: int, grid: Grid, width: int) -> None:
        super().__init__()
        if len(size) != len(grid):
            raise TokbenchError(
                f"{math.prod(grid)} codes of an image lie on no grid over it that patches could share: "
                "use --inputs codes"
            )
        self.patch = tuple(-(-side // count) for side, count in zip(size, grid, strict=True))
        self.front = tuple(p * n - side for p, n, side in zip(self.patch, grid, size, strict=True))
        self.linear = nn.Linear(channels * math.prod(self.patch), width)

    def forward(self, pixels: Tensor) -> Tensor:
        for axis, front in enumerate(self.front, start=2):
            if front:
                first = pixels.narrow(axis, 0, 1)
                pixels = torch.cat(
                    [first.expand(*(front if a == axis else -1 for a in range(first.ndim))), pixels], axis
                )
        for axis, patch in enumerate(self.patch, start=2):
            pixels = pixels.unfold(axis, patch, patch)  # (B, C, *grid, *patch)
        axes = len(self.patch)
        return self.linear(pixels.movedim(1, axes + 1).flatten(axes + 1).flatten(1, axes))


class Classifier(nn.Module):
    """Input, learned positions, pre-norm blocks (timm's), the mean over positions, and a linear layer."""

    def __init__(self, read: nn.Module, positions: int, classes: int, settings: ProbeSettings) -> None:
        super().__init__()
        from timm.models.vision_transformer import Block

        width = settings.width
        self.read = read
        self.positions = nn.Parameter(torch.empty(1, positions, width))
        nn.init.trunc_normal_(self.positions, std=0.02)
        self.blocks = nn.Sequential(*(Block(width, settings.heads, qkv_bias=True) for _ in range(settings.layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Codes or pixels -> logits (B, classes)."""
        return self.head(self.norm(self.blocks(self.read(x) + self.positions)).mean(1))

    def loss(self, x: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self(x), labels)

    @property
    def input_parameters(self) -> int:
        """Of what reads the input; all others are as many for codes as for pixels."""
        return sum(p.numel() for p in self.read.parameters())

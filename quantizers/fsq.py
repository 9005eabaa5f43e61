"""FSQ: each channel rounds to a few fixed levels; no codebook, no auxiliary loss."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from quantizers.checks import require_choice, require_one_code, require_positive
from quantizers.constant import Constant
from quantizers.functional.bits import MOST_BITS
from quantizers.functional.gradient import straight_through
from quantizers.registry import register
from quantizers.tunable import OneOf

# The level sets that the paper recommends (its table 1 and appendix), by vocabulary.
_RECOMMENDED = [[5, 3], [8, 8], [8, 6, 5], [8, 8, 8], [8, 5, 5, 5], [8, 8, 6, 5], [7, 5, 5, 5, 5], [8, 8, 8, 6, 5]] + [
    [8, 8, 8, 5, 5, 5]
]


@register("fsq")
class FSQ(Constant):
    """Finite scalar quantization: tanh-bounded channels, rounded; a code vector lies on a grid within [-1, 1].

    Args:
        levels: values a channel can take; their product is the vocabulary. [8, 5, 5, 5] is 1000.
        dim: channels of z; None is len(levels). Otherwise learned linear maps lie on either side.
        bound: "tanh", or "sigmoid", 2 sigmoid(1.6 z) - 1, under which the levels of a normal z are used more evenly
            (iFSQ, arXiv:2601.17124; odd levels there).

    The index counts the first channel fastest. There is nothing to add to the training loss: ``loss`` is 0.
    """

    summary = "channels rounded to a few levels each; no codebook and no loss"
    paper = "Mentzer et al. 2023, arXiv:2309.15505"
    tunable = (OneOf("bound", ("tanh", "sigmoid")),)

    levels: Tensor
    strides: Tensor

    def __init__(
        self,
        levels: Sequence[int],
        dim: int | None = None,
        *,
        bound: Literal["tanh", "sigmoid"] = "tanh",
        channel_first: bool = False,
        check_finite: bool = True,
    ) -> None:
        if not levels:
            raise ValueError("FSQ: levels is empty")
        for count in levels:
            require_positive("FSQ", levels=count)
        if min(levels) < 2:
            raise ValueError(f"FSQ: every channel needs 2 levels or more, not {list(levels)}")
        if (size := math.prod(levels)) > 2**MOST_BITS:
            raise ValueError(
                f"FSQ: {math.log2(size):.4g} bits are more than one int64 code holds ({MOST_BITS}); quantizer grouped "
                "has several, e.g. quantizer fsq with half of the levels and groups 2"
            )
        super().__init__(
            len(levels) if dim is None else dim,
            code_dim=len(levels),
            codebook_sizes=[size],
            channel_first=channel_first,
            check_finite=check_finite,
        )
        require_choice("FSQ", "bound", bound, ("tanh", "sigmoid"))
        self._levels, self.bound = tuple(levels), bound
        self.register_buffer("levels", torch.empty(len(levels), dtype=torch.int64), persistent=False)
        self.register_buffer("strides", torch.empty(len(levels), dtype=torch.int64), persistent=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """The grid's constants, which no state dict holds."""
        self.levels.copy_(torch.tensor(self._levels, device="cpu"))
        self.strides.copy_(torch.tensor([math.prod(self._levels[:i]) for i in range(len(self._levels))], device="cpu"))

    def residual_scale(self) -> Tensor:
        return 1 / (self.levels - 1).float()

    @property
    def half_width(self) -> Tensor:
        return self.levels // 2

    def _normalize(self, z: Tensor) -> Tensor:
        # The paper's bound: an even number of levels is off centre by half a step, and the range is slightly wider than
        # the outermost levels, so that these are reached.
        even = (self.levels % 2 == 0).float()
        wider, slope = (1e-3, 1.0) if self.bound == "tanh" else (1e-3 * even, 0.8)  # 2 sigmoid(2x) - 1 is tanh(x)
        half, offset = (self.levels - 1).float() * (1 + wider) / 2, 0.5 * even
        return (torch.tanh(slope * z + torch.atanh(offset / half)) * half - offset) / self.half_width

    def _grid(self, bounded: Tensor) -> Tensor:
        """Nearest grid point, in whole steps from 0 to levels - 1."""
        steps = torch.round(bounded * self.half_width) + self.half_width
        return torch.minimum(steps.clamp_min(0), self.levels - 1)

    def _encode(self, z: Tensor) -> Tensor:
        return (self._grid(z).long() * self.strides).sum(-1, keepdim=True)

    def _embed(self, codes: Tensor) -> Tensor:
        steps = (codes[..., None] // self.strides) % self.levels
        return (steps - self.half_width).float() / self.half_width

    def _train_step(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        codes = self._encode(z.detach())
        return straight_through(z, self._decode(codes)), codes, z.new_zeros(()), {}

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [{"dim": 3, "levels": [8, 5, 5]}, {"dim": 10, "levels": [4, 3], "bound": "sigmoid"}]

    @classmethod
    def configurations(
        cls, *, codebook_size: int | None = None, depth: int | None = None, bits: int | None = None
    ) -> list[dict[str, Any]]:
        """The level set recommended by the paper whose product is nearest, within a factor of 2."""
        require_one_code(cls.name, codebook_size, depth, bits)
        wanted = math.log2(codebook_size) if codebook_size is not None else float(bits or 0)
        best = min(_RECOMMENDED, key=lambda levels: abs(math.log2(math.prod(levels)) - wanted))
        if abs(math.log2(math.prod(best)) - wanted) > 1:
            near = f"nearest {best} = {math.prod(best)}"
            raise ValueError(f"fsq: no recommended levels near 2^{wanted:g} ({near}); give levels")
        return [{"levels": list(best)}]

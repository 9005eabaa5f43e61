"""Codes at scales: a row of them for a map, coarse to fine, whose first scales decode on their own."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import Tensor

from quantizers.base import Quantizer
from quantizers.functional import pyramid
from quantizers.functional.pyramid import Scale, scale_text


class Scaled(Quantizer):
    """Base class of a quantizer of maps (H, W) whose codes are a row (B, N, D) in order of ``scales``."""

    scales: tuple[Scale, ...]

    def begin(self, scales: Sequence[int | Sequence[int]] | None) -> None:
        """The scales as a constructor was given them; None: those that follow from the first map."""
        self.scales, self._derived = (), scales is None
        if scales is not None:
            self._set_scales(pyramid.checked_scales(self.label, scales))

    def _set_scales(self, scales: tuple[Scale, ...]) -> None:
        self.scales, self.latent_grid = scales, scales[-1]
        self.prefixes = tuple(itertools.accumulate(math.prod(scale) for scale in scales))
        self.prefix_names = tuple(map(scale_text, scales))
        self.usage.split(self.prefixes)

    def settle(self, grid: Sequence[int]) -> None:
        if len(grid) != 2:
            raise ValueError(f"{self.label} takes maps of two axes (H, W), not a grid of {scale_text(grid) or 'none'}")
        if self._derived:
            self._set_scales(pyramid.default_scales(grid))
        self.code_grid(grid)

    def code_grid(self, grid: Sequence[int]) -> tuple[int, ...]:
        if self.latent_grid is None:
            raise ValueError(
                f"{self.label} has no scales yet: give them, or call settle(grid) with that of the latent map"
            )
        if tuple(grid) != self.latent_grid:
            raise ValueError(
                f"{scale_text(grid)} is the latent's grid, and the scales end at {scale_text(self.latent_grid)}: "
                "give other scales, or images of the size they were made for"
            )
        return (self.prefixes[-1],)

    def _flatten(self, z: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        flat, positions = super()._flatten(z)
        if self.latent_grid is None:
            self.settle(positions[1:])
        self.code_grid(positions[1:])
        return flat, positions

    def split(self, codes: Tensor) -> list[Tensor]:
        """Codes (B, n, D) of a prefix -> those of each of its scales (B, h w, D). ValueError for other numbers n."""
        count = codes.shape[1]
        if count not in self.prefixes:
            known = ", ".join(map(str, self.prefixes))
            raise ValueError(f"{self.label} decodes the first {known} codes (whole scales), not {count}")
        ends = self.prefixes[: self.prefixes.index(count) + 1]
        return list(codes.split([end - start for start, end in zip((0, *ends)[:-1], ends, strict=True)], dim=1))

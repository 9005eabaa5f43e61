"""Parts of a code stack that decode on their own: coarse to fine."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from tokbench.errors import counted


class Prefix(NamedTuple):
    """The first codes: of the row of positions (scales of a pyramid, tokens), or of the depths of each position."""

    positions: int | None  # None: all
    depth: int

    @property
    def name(self) -> str:
        """As pictures and tables head it."""
        return f"depth {self.depth}" if self.positions is None else counted(self.positions, "code")

    def of(self, codes: Tensor) -> Tensor:
        """Codes (B, *grid, D), cut to this part; (B, N, D) where it counts positions."""
        return (codes if self.positions is None else codes[:, : self.positions])[..., : self.depth]

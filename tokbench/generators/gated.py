"""Gated convolutions whose outputs see only what lies before them in raster order; row by row where wanted.

Shape legend: B batch, C channels, H rows, W columns.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Made = TypeVar("Made")


class Told(NamedTuple):
    """A condition that is a sequence of N places, which every position attends to."""

    vectors: Tensor  # (B, C, 1, N)
    shown: Tensor | None  # bool (B, N): where there is something to see; None: everywhere


class Past:
    """What row-by-row evaluation keeps of the rows above: by module, tensors whose dimension ``axis`` are the rows.

    A row may be computed again and again while its codes appear; ``commit`` makes its latest state the past.
    """

    def __init__(self) -> None:
        self._rows: dict[nn.Module, Tensor] = {}
        self._latest: dict[nn.Module, Tensor] = {}
        self._once: dict[nn.Module, Any] = {}

    def once(self, module: nn.Module, make: Callable[[], Made]) -> Made:
        """What a module makes that does not change meanwhile: a convolution its weight."""
        if module not in self._once:
            self._once[module] = make()
        found: Made = self._once[module]
        return found

    def above(self, module: nn.Module) -> Tensor | None:
        """What was committed last."""
        return self._rows.get(module)

    def keep(self, module: nn.Module, rows: Tensor) -> None:
        """What is to be the past once the row is complete."""
        self._latest[module] = rows

    def commit(self) -> None:
        self._rows.update(self._latest)


class CausalConv(nn.Module):
    """A convolution with normalised weights (Salimans & Kingma 2016, arXiv:1602.07868).

    Args:
        kernel: (rows, columns); the last row is the output's own.
        before, after: columns of zeros on the left and on the right.
        masked: leave out, of the last row, the middle and what follows.
    """

    mask: Tensor | None

    def __init__(
        self,
        given: int,
        made: int,
        kernel: tuple[int, int] = (1, 1),
        before: int = 0,
        after: int = 0,
        masked: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.direction = nn.Parameter(torch.empty(made, given, *kernel))
        self.scale = nn.Parameter(torch.empty(made))
        self.bias = nn.Parameter(torch.zeros(made)) if bias else None
        self.padding, self.rows = (before, after), kernel[0] - 1
        mask = None
        if masked:
            mask = torch.ones(kernel)
            mask[-1, kernel[1] // 2 :] = 0
        self.register_buffer("mask", mask, persistent=False)
        with torch.no_grad():
            nn.init.kaiming_uniform_(self.direction, a=5**0.5)
            self.scale.copy_(self._directions().flatten(1).norm(dim=1))

    def _directions(self) -> Tensor:
        return self.direction if self.mask is None else self.direction * self.mask.to(self.direction.dtype)

    def weight(self) -> Tensor:
        """(made, given, rows, columns): of each output a direction of length 1 times its scale."""
        directions = self._directions()
        return directions * (self.scale / directions.flatten(1).norm(dim=1)).view(-1, 1, 1, 1)

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        """(B, given, H, W) -> (B, made, H, W). With a past, x is the rows that follow it; before it are zeros."""
        if self.rows:
            above = None if past is None else past.above(self)
            x = F.pad(x, (0, 0, self.rows, 0)) if above is None else torch.cat([above, x], dim=2)
            if past is not None:
                past.keep(self, x[:, :, -self.rows :])
        weight = self.weight() if past is None else past.once(self, self.weight)
        return F.conv2d(F.pad(x, self.padding), weight, self.bias)


class SymmetricConv(CausalConv):
    """The same with as many rows of zeros below as above: of a condition, which is known as a whole."""

    def __init__(self, given: int, made: int, side: int) -> None:
        super().__init__(given, made, (side, side), side // 2, side // 2)

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        return F.conv2d(x, self.weight(), self.bias, padding=self.padding[0])


class Gated(nn.Module):
    """x + gate(conv(drop(elu(conv(elu(x)) + side)))) (van den Oord et al. 2016, arXiv:1606.05328, with a residual).

    Args:
        first, second: the convolutions of channels width -> hidden -> 2 width.
        side: channels of a second input, added in between.
        condition: channels of a condition, added before the gate.
    """

    def __init__(
        self, first: CausalConv, second: CausalConv, dropout: float, side: int = 0, condition: int = 0
    ) -> None:
        super().__init__()
        width, hidden = first.direction.shape[1], first.direction.shape[0]
        self.first, self.second = first, second
        self.side = CausalConv(side, hidden) if side else None
        self.condition = CausalConv(condition, 2 * width, bias=False) if condition else None
        self.drop = nn.Dropout(dropout)

    @classmethod
    def pointwise(cls, width: int, hidden: int, dropout: float, side: int = 0) -> Gated:
        """Convolutions of kernel 1."""
        return cls(CausalConv(width, hidden), CausalConv(hidden, 2 * width), dropout, side)

    @classmethod
    def causal(cls, width: int, hidden: int, side: int, dropout: float, condition: int) -> Gated:
        """Each position sees the rows above and, of its own, what lies before."""

        def conv(given: int, made: int) -> CausalConv:
            return CausalConv(given, made, (side, side), side // 2, side // 2, masked=True)

        return cls(conv(width, hidden), conv(hidden, 2 * width), dropout, condition=condition)

    @classmethod
    def whole(cls, width: int, side: int, dropout: float) -> Gated:
        """Each position sees all around it."""
        return cls(SymmetricConv(width, width, side), SymmetricConv(width, 2 * width, side), dropout)

    def forward(
        self, x: Tensor, past: Past | None = None, side: Tensor | None = None, condition: Tensor | None = None
    ) -> Tensor:
        """(B, width, H, W), side and condition with channels of their own -> (B, width, H, W)."""
        y = self.first(F.elu(x), past)
        if self.side is not None and side is not None:
            y = y + self.side(F.elu(side), past)
        y = self.second(self.drop(F.elu(y)), past)
        if self.condition is not None and condition is not None:
            y = y + self.condition(condition, past)
        return x + F.glu(y, dim=1)


class StrictAttention(nn.Module):
    """Attention to all positions before, the own one left out, and to what is ``told``, of so many channels; the first
    position gets zeros where nothing is."""

    def __init__(self, query: int, key: int, made: int, heads: int, dropout: float, told: int = 0) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value = CausalConv(query, made), CausalConv(key, made), CausalConv(key, made)
        self.told = CausalConv(told, 2 * made) if told else None

    def _heads(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, heads, H W, C / heads)."""
        return x.flatten(2).unflatten(1, (self.heads, -1)).transpose(2, 3)

    def forward(self, query: Tensor, key: Tensor, past: Past | None = None, told: Told | None = None) -> Tensor:
        """Maps (B, C, H, W) -> (B, made, H, W)."""
        q, k, v = (
            self._heads(self.query(query, past)),
            self._heads(self.key(key, past)),
            self._heads(self.value(key, past)),
        )
        if told is not None:
            y = self._of_told(q, k, v, past, told)
        else:
            y = self._of_rows(q, k, v, past) if past is not None else self._of_all(q, k, v)
        return y.transpose(2, 3).flatten(1, 2).unflatten(2, query.shape[2:])

    def _of_all(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        # Keys one place back turn "before" into the usual "up to".
        chance = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q[:, :, 1:], k[:, :, :-1], v[:, :, :-1], is_causal=True, dropout_p=chance)
        return F.pad(y, (0, 0, 1, 0))

    def _of_rows(self, q: Tensor, k: Tensor, v: Tensor, past: Past) -> Tensor:
        k, v = self._with_rows_above(k, v, past)
        seen = _before(q, k)
        if k.shape[2] > q.shape[2]:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        y = F.scaled_dot_product_attention(q[:, :, 1:], k, v, attn_mask=seen[1:])
        return F.pad(y, (0, 0, 1, 0))

    def _of_told(self, q: Tensor, k: Tensor, v: Tensor, past: Past | None, told: Told) -> Tensor:
        assert self.told is not None
        read = functools.partial(self.told, told.vectors)
        if past is not None:
            k, v = self._with_rows_above(k, v, past)
        of_told: Tensor = read() if past is None else past.once(self, read)
        seen, (told_k, told_v) = _before(q, k), map(self._heads, of_told.chunk(2, dim=1))
        places = told_k.shape[2]
        if told.shown is None:
            seen = F.pad(seen, (places, 0), value=True)
        else:
            length, batch = q.shape[2], len(q)
            shown = told.shown[:, None, None].expand(batch, 1, length, places)
            seen = torch.cat([shown, seen.expand(batch, 1, *seen.shape)], dim=-1)
        k, v = torch.cat([told_k, k], dim=2), torch.cat([told_v, v], dim=2)
        chance = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=chance)

    def _with_rows_above(self, k: Tensor, v: Tensor, past: Past) -> tuple[Tensor, Tensor]:
        if (above := past.above(self)) is not None:
            k, v = (torch.cat([old, new], dim=2) for old, new in zip(above, (k, v), strict=True))
        past.keep(self, torch.stack([k, v]))
        return k, v


def _before(q: Tensor, k: Tensor) -> Tensor:
    """Queries (.., L, C) of the last of the places that keys (.., S, C) are of -> bool (L, S): the places before."""
    length, whole = q.shape[2], k.shape[2]
    return torch.ones(length, whole, dtype=torch.bool, device=q.device).tril(whole - length - 1)

"""What generators that draw code by code share: drawing in their order, and the decoder that they do it by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from tokbench.config.generator import GeneratorConfig
from tokbench.config.generator_model import Order
from tokbench.config.grid import Grid
from tokbench.errors import TokbenchError
from tokbench.generators.base import Drawing
from tokbench.generators.bits import BitHead
from tokbench.generators.condition import Given
from tokbench.generators.exact import Exact
from tokbench.generators.limits import NEVER, limited
from tokbench.generators.orders import order_of


class Decoder(Protocol):
    """A model's logits, code by code: ``restart(condition)``, then for every position ``begin(t)`` and for its depths
    ``logits(t, d)`` and ``push(t, d, codes)``.

    Encoding and decoding a compressed file, and drawing with and without given codes, all go through these calls in the
    same order, so they see the same numbers.
    """

    def restart(self, condition: Tensor, codes: Tensor | None = None) -> None:
        """Begin with these conditions (R, ...), in the same memory; at position t, after codes (R, t, D), where they
        are given."""

    def begin(self, t: int) -> None:
        """The step of position ``t``."""

    def logits(self, t: int, d: int) -> Tensor:
        """(R, K_d), given everything before depth ``d`` of position ``t``; where a ``bit_head`` says the codes, what it
        reads for the unit that begins there, (R, C)."""

    def push(self, t: int, d: int, codes: Tensor) -> None:
        """Codes (R,) of depth ``d`` at position ``t`` are settled."""


class Autoregressive(Exact):
    """p(codes | condition) = product over positions t and depths d of p(S_{t,d} | S_{<t}, S_{t,<d}, condition), the
    positions in raster order or in that of ``order``, int64 (T,)."""

    takes_targets = True
    order: Tensor | None
    ordinals: Tensor | None

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(config)
        self.order_name: Order = getattr(config.generator, "order", "raster")
        order = None if self.order_name == "raster" else order_of(self.order_name, self.grid)
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("ordinals", None if order is None else order.argsort(), persistent=False)

    def within(self, logits: Tensor, place: int | slice = slice(None), fill: float = NEVER) -> Tensor:
        """Logits (..., T, K) in the order of drawing, or (..., K) of one place, without codes that are not there."""
        limits = self.limits_in_order
        return logits if limits is None else limited(logits, limits[place], fill)

    @property
    def limits_in_order(self) -> Tensor | None:
        """``limits``, the positions in the order of drawing."""
        return self.limits if self.limits is None or self.order is None else self.limits[self.order]

    def in_order(self, x: Tensor) -> Tensor:
        """(B, T, ...) in raster order -> in the order of drawing."""
        return x if self.order is None else x[:, self.order]

    def in_place(self, x: Tensor) -> Tensor:
        """The inverse of ``in_order``."""
        return x if self.ordinals is None else x[:, self.ordinals]

    def sequence(self, codes: Tensor, grid: Grid | None = None) -> Tensor:
        """Codes (B, *grid, D) as (B, T, D) in the order of drawing, checked for shape and type."""
        found = super().sequence(codes, grid)
        return found if grid is not None else self.in_order(found)

    def _read(self, sequence: Tensor, condition: Tensor) -> tuple[Tensor | None, Tensor | list[Tensor]]:
        """The outputs (B, N - 1, C) at the places of the condition but the last, if it has any, and ``_logits``, of
        depths with one classifier as one tensor (B, T, D, K)."""
        return None, self._logits(sequence, condition)

    @property
    def units(self) -> list[range]:
        """Depths that are drawn together, given one context: one by one, but for those that one head of bits says."""
        return [range(d, d + 1) for d in range(self.depth)]

    def bit_head(self, unit: range) -> BitHead | None:
        """What says these depths' codes bit by bit, given a context; None: logits of whole codes."""
        return None

    def decoder(self, batch: int) -> Decoder:
        """What draws ``batch`` stacks side by side."""
        raise NotImplementedError

    def logits(self, codes: Tensor, condition: Given = None) -> list[Tensor]:
        """Codes (B, *grid, D) -> logits (B, T, K_d) for each depth, or (B, T, 2) for each bit, the positions in raster
        order, conditioned on all that is drawn before."""
        return [self.in_place(x) for x in super().logits(codes, condition)]

    def _loss(self, sequence: Tensor, condition: Tensor, targets: Sequence[Tensor] | None, keys: Tensor) -> Tensor:
        before, logits = self._read(self.read(sequence, keys[: len(sequence)]), condition)
        aims = sequence if targets is None else [self.in_order(target) for target in targets]
        loss = self.cross_entropy(logits, aims)
        return loss if before is None else self.condition.with_loss(loss, before, condition)

    def read(self, sequence: Tensor, keys: Tensor) -> Tensor:
        """Training codes (B, T, D) as the model reads them, those that it predicts being the same all the while."""
        return sequence

    def _draw(self, drawing: Drawing) -> Tensor:
        from tokbench.generators.ar_decoding import draw_codes
        from tokbench.generators.sliding import slide_codes

        slide = drawing.slide
        if slide is None and self.order is not None:
            known = None if drawing.known is None else self.in_order(drawing.known)
            drawing = drawing._replace(known=known, kept=self.in_order(drawing.kept))
        if bool((drawing.kept[:, 1:] & ~drawing.kept[:, :-1]).any()):
            order = self.order_name
            first = "the first ones (keep the top)" if order == "raster" else "the first ones of that"
            raise TokbenchError(
                f"{self.config.generator.name} completes in {order} order: the kept positions must be {first}"
            )
        if slide is not None:
            return slide_codes(self, drawing, slide).unflatten(1, slide.map)
        return self.in_place(draw_codes(self, drawing)).unflatten(1, self.grid)

"""What generators share that say the probability of every code in one pass: logits, the loss, an exact code length."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tokbench.generators.base import Generator
from tokbench.generators.bits import symbols
from tokbench.generators.condition import Given


class Exact(Generator):
    """p(codes | condition) as a product over codes, each given those that its class puts before it."""

    exact_nll = True

    def _logits(self, sequence: Tensor, condition: Tensor) -> list[Tensor]:
        """Codes (B, T, D) and checked conditions -> logits (B, T, K_d) for each depth, or (B, T, 2) for each bit where
        a head says those (``symbols``), in the order of ``sequence``."""
        raise NotImplementedError

    def logits(self, codes: Tensor, condition: Given = None) -> list[Tensor]:
        """Codes (B, *grid, D) -> logits (B, T, K_d) for each depth, or (B, T, 2) for each bit, each conditioned on all
        before it."""
        return self._logits(self.sequence(codes), self.condition.check(condition, len(codes)))

    def cross_entropy(self, logits: Tensor | Sequence[Tensor], targets: Tensor | Sequence[Tensor]) -> Tensor:
        """The mean in nats over codes that the condition does not give: of logits (B, T, D, K), or (B, T, K_d) for each
        depth, against codes (B, T, D) or soft targets (B, T, K_d) for each depth."""
        if isinstance(logits, Tensor) and isinstance(targets, Tensor):
            return F.cross_entropy(logits[:, self.settled :].flatten(0, -2), targets[:, self.settled :].flatten())
        each = logits.unbind(2) if isinstance(logits, Tensor) else logits
        aims = targets.unbind(2) if isinstance(targets, Tensor) else targets
        parts = [
            F.cross_entropy(x[:, self.settled :].flatten(0, 1), target[:, self.settled :].flatten(0, 1))
            for x, target in zip(each, aims, strict=True)
        ]
        return torch.stack(parts).mean()

    def nll(self, codes: Tensor, condition: Given = None) -> Tensor:
        return self.nll_by_position(codes, condition).sum(1)

    @torch.no_grad()
    def nll_by_position(self, codes: Tensor, condition: Given = None) -> Tensor:
        """(B, T) float64: nats of all codes of each position, in the order in which the generator says them; of the
        positions that the condition does not give."""
        self.check_codes(codes)
        sequence = self.sequence(codes)
        total = torch.zeros(sequence.shape[:2], dtype=torch.float64, device=codes.device)
        logits = self._logits(sequence, self.condition.check(condition, len(codes)))
        for x, symbol in zip(logits, symbols(sequence, self.by_bits).unbind(-1), strict=True):
            total += F.cross_entropy(x.float().transpose(1, 2), symbol, reduction="none")
        return total[:, self.settled :]

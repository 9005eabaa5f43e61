"""What generators share that say the probability of every code in one pass: logits, the loss, an exact code length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

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
            rows, codes = logits[:, self.settled :].flatten(0, -2), targets[:, self.settled :].flatten()
            if rows.device.type != "cpu" or torch.compiler.is_compiling():
                return F.cross_entropy(rows, codes)
            loss: Tensor = _CrossEntropy.apply(rows, codes)  # type: ignore[no-untyped-call]
            return loss
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


class _CrossEntropy(torch.autograd.Function):
    """``F.cross_entropy`` of logits (N, K) and codes (N,). Its gradient passes less often over what is the largest
    tensor of a step."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, codes: Tensor) -> Tensor:
        logs = logits.log_softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))
        ctx.save_for_backward(logs, codes)
        return F.nll_loss(logs, codes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        logs, codes = ctx.saved_tensors
        errors = logs.exp()
        errors.scatter_add_(1, codes[:, None], errors.new_full((), -1.0).expand(len(codes), 1))
        return errors.mul_(gradient / len(codes)), None

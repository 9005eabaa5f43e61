"""A head that says codes bit by bit, so that a vocabulary of 2^64 needs no row for each code.

In order, each bit is predicted given the context and the bits before it, which is an exact distribution over codes. A
head trained on masks (``masked``) predicts any bits given any others, after BAR (2026, arXiv:2602.09024): a few steps
then draw all of them. Read in order it is exact as well, of another distribution than a few steps draw from.

Shape legend: n bits, C width; any number of axes before.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from quantizers.functional.bits import bits_to_index, index_to_bits
from tokbench.generators.noise import place_keys, uniform
from tokbench.generators.sampling import Sampling, guided

# Noise of training masks lies beyond all places that codes have noise of their own at.
_MASKS = 2**32


class BitHead(nn.Module):
    """A residual MLP over a context and the bits that are known: +1 and -1, and 0 for those that are not.

    Args:
        width: C, of the context and within.
        bits: n.
        layers: of the MLP.
        masked: trained on masks by chance instead of in order.
    """

    def __init__(self, width: int, bits: int, layers: int, masked: bool) -> None:
        super().__init__()
        self.bits, self.masked = bits, masked
        self.context = nn.Linear(width, width)
        self.known = nn.Linear(bits, width, bias=False)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, bits)

    def hidden(self, context: Tensor, known: Tensor) -> Tensor:
        """``self.context`` of contexts (..., C) and known bits (..., n) in -1, 0, +1 -> (..., C)."""
        x = context + self.known(known.to(context.dtype))
        for block in self.blocks:
            x = x + block(x)
        return self.norm(x)

    def in_order(self, context: Tensor, bits: Tensor) -> Tensor:
        """Contexts (..., C), bits (..., n) -> logits (..., n) of each bit, given those before it."""
        before = torch.ones(self.bits, self.bits, dtype=torch.bool, device=bits.device).tril(-1)
        known = signs(bits)[..., None, :] * before
        x = self.hidden(self.context(context)[..., None, :], known)
        return (x * self.out.weight).sum(-1) + self.out.bias

    def logits(self, context: Tensor, known: Tensor) -> Tensor:
        """``self.context`` of contexts (..., C) and known bits (..., n) -> logits (..., n) of all bits, given those."""
        return self.out(self.hidden(context, known))

    def nats(self, context: Tensor, bits: Tensor, keys: Tensor, smoothing: float = 0.0) -> Tensor:
        """What the bits (..., n) cost in training, (...): in order, or an unbiased estimate of what they cost in an
        order by chance, of one mask a row (Hoogeboom et al. 2021, arXiv:2110.02037, eq. 4) under its key (...)."""
        if not self.masked:
            return cross_entropy(self.in_order(context, bits), bits, smoothing).sum(-1)
        count = (uniform(place_keys(keys, _MASKS)) * self.bits).ceil()  # 1 .. n
        hidden = ranks(place_keys(keys[..., None], _MASKS + 1), self.bits) < count[..., None]
        x = self.hidden(self.context(context), signs(bits) * ~hidden)
        return (cross_entropy(self.out(x), bits, smoothing) * hidden).sum(-1) * (self.bits / count)

    def draw(self, context: Tensor, keys: Tensor, sampling: Sampling, scale: float | None) -> tuple[Tensor, Tensor]:
        """Bits (m, ..., n), bool, and the log-probability (m, ...) of each row before temperature.

        Args:
            context: (m, ..., C), or (2m, ..., C), those with the condition first, where there is a scale.
            keys: (m, ...), which the noise depends on.
            scale: of the guidance; None: there is none.
        """
        context, n = self.context(context), self.bits
        known = context.new_zeros(*keys.shape, n)
        u = uniform(place_keys(keys[..., None], torch.arange(n, device=keys.device))).clamp_max(1 - 2.0**-24)
        noise = sampling.temperature * (u.log() - (-u).log1p())
        one_by_one = torch.arange(n, device=keys.device).expand_as(u)
        order = one_by_one if sampling.bit_steps is None else ranks(keys[..., None], n)
        steps = n if sampling.bit_steps is None else min(sampling.bit_steps, n)
        total = torch.zeros_like(u[..., 0])
        for step in range(steps):
            both = known if scale is None else torch.cat([known, known])
            logits = self.logits(context, both).float()
            logits = logits if scale is None else guided(logits, scale)
            now = (order >= step * n // steps) & (order < (step + 1) * n // steps)
            drawn = signs(logits + noise > 0)
            total = total + (F.logsigmoid(drawn * logits) * now).sum(-1)
            known = torch.where(now, drawn.to(known.dtype), known)
        return known > 0, total


def signs(bits: Tensor) -> Tensor:
    """Bool or 0, 1 -> -1, +1 in fp32."""
    return bits.float() * 2 - 1


def two_logits(logit: Tensor) -> Tensor:
    """The logit (...) of a bit being 1 -> logits (..., 2)."""
    return torch.stack([torch.zeros_like(logit), logit], dim=-1)


def cross_entropy(logits: Tensor, bits: Tensor, smoothing: float) -> Tensor:
    """Nats of each bit, with as much of either value as ``smoothing`` says."""
    wanted = bits.float() * (1 - smoothing) + smoothing / 2
    return F.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="none")


def ranks(keys: Tensor, count: int) -> Tensor:
    """Keys (..., 1) -> an order by chance of ``count`` things, (..., count)."""
    return place_keys(keys, -1 - torch.arange(count, device=keys.device)).argsort(-1).argsort(-1)


def to_bits(codes: Tensor, widths: Sequence[int]) -> Tensor:
    """Codes (..., D) of so many bits each -> their bits side by side (..., sum of widths), bool, low ones first."""
    return torch.cat([index_to_bits(codes[..., d], n) for d, n in enumerate(widths)], dim=-1)


def symbols(sequence: Tensor, widths: Sequence[int]) -> Tensor:
    """What logits are of: codes (..., D), or their bits (..., n) as 0 and 1 where there are widths."""
    return to_bits(sequence, widths).long() if widths else sequence


def to_codes(bits: Tensor, widths: Sequence[int]) -> Tensor:
    """The inverse."""
    return torch.stack([bits_to_index(part) for part in bits.split(list(widths), dim=-1)], dim=-1)

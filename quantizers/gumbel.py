"""Gumbel-softmax: a code is drawn from logits, and its gradient is that of a softened draw."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quantizers.base import Quantizer, _linear
from quantizers.checks import require_between
from quantizers.graphs import is_recomputing
from quantizers.registry import register
from quantizers.tunable import Between, OneOf
from quantizers.vq import one_code_configurations


@register("gumbel")
class Gumbel(Quantizer):
    """Gumbel-softmax over K logits: k = argmax (logits + Gumbel noise) in training, argmax logits otherwise.

    taming's own class draws in evaluation too; ``sample(z)`` does that here.

    Args:
        dim: channels of z, of which a linear map makes the logits, and of the code vectors.
        codebook_size: K.
        straight_through: pass on the drawn code's vector, with the gradient of the softened draw (taming); false: the
            softened draw itself, a mixture of all vectors (DALL-E).
        temperature_start, temperature_end, temperature_steps: of the softened draw, falling along half a cosine over
            that many optimizer steps (DALL-E's: from 1 to 1/16 over 150,000); 0 steps: the end from the start.
        one_hot: z is the logits, and a code's vector is an axis of its own, so that ``dim`` is K and what is learned
            lies outside (DALL-E); false: a linear map and K vectors, learned here (taming).
        kl_weight: of KL(softmax(logits) || uniform) in nats per position. 5e-4 is the official class's, 1e-8 that of
            released f8 model.

    losses: ``kl`` in nats, and ``temperature``.
    """

    summary = "a draw from logits, its gradient that of a softened draw"
    paper = "Jang et al. 2017, arXiv:1611.01144; Ramesh et al. 2021, arXiv:2102.12092 (DALL-E)"
    tunable = (
        Between("temperature_start", 0.3, 3.0),
        Between("temperature_end", 0.01, 1.0),
        Between("temperature_steps", 100, 300_000),
        Between("kl_weight", 1e-8, 1e-2),
        OneOf("straight_through", (True, False)),
    )

    step: Tensor

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        straight_through: bool = True,
        temperature_start: float = 1.0,
        temperature_end: float = 0.0625,
        temperature_steps: int = 150_000,
        kl_weight: float = 5e-4,
        one_hot: bool = False,
        channel_first: bool = False,
        check_finite: bool = True,
    ) -> None:
        super().__init__(
            dim, code_dim=dim, codebook_sizes=[codebook_size], channel_first=channel_first, check_finite=check_finite
        )
        low = 1e-6  # below it the softened draw is no longer finite in fp32
        require_between("Gumbel", low, math.inf, temperature_start=temperature_start, temperature_end=temperature_end)
        require_between("Gumbel", 0, math.inf, temperature_steps=temperature_steps, kl_weight=kl_weight)
        if one_hot and dim != codebook_size:
            raise ValueError(f"Gumbel: one_hot has a channel for each of the {codebook_size} codes, not dim={dim}")
        self.straight_through, self.kl_weight, self.one_hot = straight_through, kl_weight, one_hot
        self.temperature_start, self.temperature_end = temperature_start, temperature_end
        self.temperature_steps = temperature_steps
        if not one_hot:
            self.logits = nn.Linear(dim, codebook_size)
            self.weight = nn.Parameter(torch.randn(codebook_size, dim))
        self.register_buffer("step", torch.tensor(0))
        self.update_every = 1  # forward passes an optimizer step: the temperature falls with the latter

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """The beginning: code vectors from N(0, 1), the temperature at its start."""
        if not self.one_hot:
            self.weight.normal_()
        self.step.zero_()

    @property
    def codebook(self) -> Tensor:
        """(K, d)."""
        if self.one_hot:
            return torch.eye(self.dim, dtype=torch.float32, device=self.step.device)
        return self.weight.float()

    @torch.no_grad()
    def load_codebook(self, codebook: Tensor, *, logits: Tensor, bias: Tensor) -> None:
        """Take over code vectors (K, d) and the map to the logits (K, d) with its bias (K,)."""
        if self.one_hot:
            raise ValueError("Gumbel: with one_hot there is no codebook to take over")
        for name, ours, given in (
            ("codebook", self.weight, codebook), ("map to the logits", self.logits.weight, logits),
            ("bias of the logits", self.logits.bias, bias),
        ):  # fmt: skip
            if given.shape != ours.shape:
                raise ValueError(f"the {name} is {tuple(ours.shape)}, not {tuple(given.shape)}")
            ours.copy_(given)

    def temperature(self) -> Tensor:
        """Of the softened draw at the present step."""
        # A forward pass that is computed again has been counted already.
        step, steps = (self.step - int(is_recomputing())) // self.update_every, self.temperature_steps
        done = (step.float() / steps).clamp(max=1.0) if steps else torch.ones_like(step, dtype=torch.float32)
        fall = (1 + torch.cos(math.pi * done)) / 2
        return self.temperature_end + (self.temperature_start - self.temperature_end) * fall

    @torch.no_grad()
    def soft_targets(self, z: Tensor, temperature: float = 1.0) -> Tensor:
        """softmax of logits / temperature: (B, ..., 1, K)."""
        flat, positions = self._flatten(z)
        return (self._logits(flat) / temperature).softmax(-1).reshape(*positions, 1, -1)

    @torch.no_grad()
    def sample(self, z: Tensor, temperature: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """Codes (B, ..., 1) drawn from ``soft_targets``; at temperature 1 what taming's class does in evaluation."""
        soft = self.soft_targets(z, temperature)
        drawn = torch.multinomial(soft.reshape(-1, soft.shape[-1]), 1, generator=generator)
        return drawn.reshape(*soft.shape[:-1])

    def _encode(self, z: Tensor) -> Tensor:
        return self._logits(z).argmax(-1, keepdim=True)

    def _embed(self, codes: Tensor) -> Tensor:
        if self.one_hot:
            zeros = torch.zeros(*codes.shape, self.dim, dtype=torch.float32, device=codes.device)
            return zeros.scatter(-1, codes[..., None], 1.0)
        return F.embedding(codes, self.weight).float()

    def _logits(self, z: Tensor) -> Tensor:
        return z if self.one_hot else _linear(z, self.logits)

    def _mixture(self, weights: Tensor, learned: bool) -> Tensor:
        """Weights (B, T, K) of the code vectors -> their sum (B, T, d); whether the vectors learn from it."""
        if self.one_hot:
            return weights
        return weights @ (self.codebook if learned else self.codebook.detach())

    def _train_step(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        logits, temperature = self._logits(z), self.temperature()
        noise = -torch.empty_like(logits).exponential_().log()
        soft = ((logits + noise) / temperature).softmax(-1)
        codes = soft.argmax(-1, keepdim=True)
        if self.straight_through:
            quantized = self._decode(codes) + self._mixture(soft - soft.detach(), learned=False)
        else:
            quantized = self._mixture(soft, learned=True)
        p = logits.softmax(-1)
        kl = (p * (p * self.codebook_sizes[0] + 1e-10).log()).sum(-1).mean()  # the official epsilon
        if not is_recomputing():
            self.step += 1
        return quantized, codes, self.kl_weight * kl, {"kl": kl.detach(), "temperature": temperature}

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            {"dim": 8, "codebook_size": 16},
            {"dim": 6, "codebook_size": 40, "straight_through": False, "temperature_steps": 0},
            {"dim": 16, "codebook_size": 16, "one_hot": True},
        ]

    @classmethod
    def configurations(
        cls, *, codebook_size: int | None = None, depth: int | None = None, bits: int | None = None
    ) -> list[dict[str, Any]]:
        return one_code_configurations(cls.name, codebook_size, depth, bits)

"""The transformer of the next-scale generator: adaptive norms, attention over all scales so far.

Shape legend: B batch, N sequence, C width, h heads, c channels a head.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokbench.config.generator_model import VARGeneratorConfig
from tokbench.generators.transformer import Cache, Heads

EPS = 1e-6  # of norms: VAR's ``norm_eps``
_LARGEST = math.log(100)  # of an attention's learned scale


class ScaleAttention(Heads):
    """Self-attention; with ``qk_norm`` between unit vectors, at a learned scale for each head."""

    def __init__(self, width: int, heads: int, qk_norm: bool) -> None:
        super().__init__(width, heads)
        self.log_scale = nn.Parameter(torch.full((heads,), math.log(4.0))) if qk_norm else None

    def forward(self, x: Tensor, mask: Tensor | None, cache: Cache | None, at: int) -> Tensor:
        """x (B, N, C) -> (B, N, C). With a cache x stands from place ``at`` on, and sees all before and itself."""
        q, k, v = self.split(x)
        scale = None
        if self.log_scale is not None:
            scale = 1.0
            q = F.normalize(q, dim=-1) * self.log_scale.clamp_max(_LARGEST).exp()[:, None, None]
            k = F.normalize(k, dim=-1)
        if cache is not None:
            k, v = cache.extended(at, k, v)
        y = F.scaled_dot_product_attention(q, k.to(q.dtype), v, attn_mask=mask, scale=scale)
        return self.join(y)


class ScaleBlock(nn.Module):
    """Norm, attention, norm, GELU MLP, both residual. Unless the condition is a prefix, it scales and shifts what the
    norms give and scales what is added: by a linear map of its own, or by one for all blocks plus its own ``offsets``.
    """

    def __init__(self, settings: VARGeneratorConfig, drop_path: float) -> None:
        super().__init__()
        width, hidden = settings.width, round(settings.width * settings.mlp_ratio)
        adaptive = settings.condition_by != "prefix"
        self.norm1 = nn.LayerNorm(width, EPS, elementwise_affine=not adaptive)
        self.attention = ScaleAttention(width, settings.heads, settings.qk_norm)
        self.norm2 = nn.LayerNorm(width, EPS, elementwise_affine=not adaptive)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU("tanh"), nn.Linear(hidden, width))
        self.modulation = nn.Linear(width, 6 * width) if settings.condition_by == "adaln" else None
        shared = settings.condition_by == "shared-adaln"
        self.offsets = nn.Parameter(torch.randn(6, width) / width**0.5) if shared else None
        self.drop = nn.Dropout(settings.dropout)
        self.drop_path = drop_path

    def forward(
        self, x: Tensor, condition: Tensor | None, mask: Tensor | None = None, cache: Cache | None = None, at: int = 0
    ) -> Tensor:
        """x (B, N, C); the condition after its SiLU (B, C), or (B, 6, C) where one map serves all blocks."""
        if condition is None:
            x = x + self._kept(self.attention(self.norm1(x), mask, cache, at))
            return x + self._kept(self.mlp(self.norm2(x)))
        if self.modulation is not None:
            condition = self.modulation(condition).unflatten(-1, (6, -1))
        elif self.offsets is not None:
            condition = condition + self.offsets
        gate1, gate2, scale1, scale2, shift1, shift2 = condition[:, :, None].unbind(1)
        x = x + self._kept(self.attention(self.norm1(x) * (1 + scale1) + shift1, mask, cache, at) * gate1)
        return x + self._kept(self.mlp(self.norm2(x) * (1 + scale2) + shift2) * gate2)

    def _kept(self, y: Tensor) -> Tensor:
        """What is added: with dropout, and for a share of the samples nothing at all."""
        y = self.drop(y)
        if not self.training or not self.drop_path:
            return y
        kept = torch.rand(len(y), 1, 1, device=y.device) >= self.drop_path
        return y * kept / (1 - self.drop_path)


@torch.no_grad()
def initialise(model: nn.Module, width: int, layers: int) -> None:
    """VAR's: N(0, 1/(3C)) throughout, less where a block adds to the stream and next to nothing for the gates."""
    std = math.sqrt(1 / width / 3)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.trunc_normal_(module.weight, std=std)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
            if name.endswith(("attention.out", "mlp.2")):
                module.weight /= math.sqrt(2 * layers)
            elif name.endswith("modulation"):
                module.weight *= 0.5
                if module.out_features == 6 * width:
                    module.weight[: 2 * width] *= 2e-5
            elif "classifiers" in name:
                module.weight *= 0.02

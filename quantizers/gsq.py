"""GSQ: groups of channels on unit spheres that share one codebook. Grouped spherical quantization."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quantizers.base import Quantizer
from quantizers.checks import require_between, require_codebook, require_positive
from quantizers.functional.gradient import straight_through
from quantizers.functional.nearest import nearest_code
from quantizers.grouped import grouped_configurations
from quantizers.registry import register
from quantizers.tunable import Between
from quantizers.vq import codebook_loss


@register("gsq")
class GSQ(Quantizer):
    """Grouped spherical quantization: each of G groups of channels, at length 1, to the nearest of K directions.

    Args:
        dim: channels of z, divisible by ``groups``.
        codebook_size: K, of the one codebook that all groups share (the paper's V).
        groups: G.
        commitment_weight: of |sg[e] - z|^2, z at length 1.
        codebook_weight: of |e - sg[z]|^2.

    Code vectors begin at length 1 and are compared at length 1; ``quantized`` has them as they are, as the official
    code. losses: ``commitment``, ``codebook``.
    """

    summary = "groups of channels on unit spheres, one codebook for all groups"
    paper = "Wang et al. 2024, arXiv:2412.02632"
    tunable = (Between("commitment_weight", 0.01, 4.0), Between("codebook_weight", 0.01, 4.0))

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        groups: int = 8,
        *,
        commitment_weight: float = 0.25,
        codebook_weight: float = 1.0,
        channel_first: bool = False,
        check_finite: bool = True,
    ) -> None:
        require_positive("GSQ", dim=dim, groups=groups, codebook_size=codebook_size)
        if dim % groups:
            raise ValueError(f"GSQ: dim {dim} does not divide into {groups} groups")
        super().__init__(
            dim,
            code_dim=dim,
            codebook_sizes=[codebook_size] * groups,
            channel_first=channel_first,
            check_finite=check_finite,
        )
        require_between("GSQ", 0, math.inf, commitment_weight=commitment_weight, codebook_weight=codebook_weight)
        self.groups = groups
        self.commitment_weight, self.codebook_weight = commitment_weight, codebook_weight
        self.weight = nn.Parameter(torch.empty(codebook_size, dim // groups))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Directions drawn evenly over the sphere."""
        self.weight.copy_(F.normalize(torch.randn_like(self.weight), dim=-1))

    @torch.no_grad()
    def load_codebook(self, codebook: Tensor) -> None:
        """Take over code vectors (K, dim / groups)."""
        require_codebook(codebook, self.weight)
        self.weight.copy_(codebook)

    def _normalize(self, z: Tensor) -> Tensor:
        return F.normalize(z.unflatten(-1, (self.groups, -1)), dim=-1).flatten(-2)

    def _encode(self, z: Tensor) -> Tensor:
        return nearest_code(z.unflatten(-1, (self.groups, -1)), F.normalize(self.weight.float(), dim=-1))

    def _embed(self, codes: Tensor) -> Tensor:
        # Group g's vector is zero but for its own channels, so that the groups' sum is the whole.
        place = torch.eye(self.groups, device=codes.device)[..., None]
        return (F.embedding(codes, self.weight).float()[..., None, :] * place).flatten(-2)

    def _decode(self, codes: Tensor) -> Tensor:
        return F.embedding(codes, self.weight).float().flatten(-2)

    def _train_step(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        with torch.no_grad():
            codes = self._encode(z)
        chosen = self._decode(codes)
        loss, losses = codebook_loss(z, chosen, self.commitment_weight, self.codebook_weight)
        return straight_through(z, chosen), codes, loss, losses

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [{"dim": 12, "codebook_size": 16, "groups": 3}, {"dim": 8, "codebook_size": 10, "groups": 4}]

    @classmethod
    def configurations(
        cls, *, codebook_size: int | None = None, depth: int | None = None, bits: int | None = None
    ) -> list[dict[str, Any]]:
        return grouped_configurations(cls.name, codebook_size, depth, bits)

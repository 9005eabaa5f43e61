"""SimVQ: a frozen codebook seen through one learned linear map, so that every code moves with every step."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quantizers.base import Quantizer
from quantizers.checks import require_codebook
from quantizers.functional.gradient import rotate_to, straight_through
from quantizers.functional.nearest import nearest_code
from quantizers.registry import register
from quantizers.tunable import Between, OneOf
from quantizers.vq import codebook_loss, loss_weights, one_code_configurations


@register("simvq")
class SimVQ(Quantizer):
    """Vector quantization with the codebook W c_k + b, c_k ~ N(0, 1/d) frozen, W and b learned.

    Args:
        dim: channels of z.
        codebook_size: K.
        codebook_dim: channels of the code vectors, with learned linear maps to and from ``dim``.
        commitment_weight: of |sg[e] - z|^2; 0.25 where nothing is said, as in the paper.
        codebook_weight: of |e - sg[z]|^2, 1 where nothing is said.
        beta, beta_on: the original code's spelling of the same, as for VQ.
        rotation_trick: pass gradients by rotation instead of straight through.

    losses: ``commitment``, ``codebook``.
    """

    summary = "frozen codebook behind one learned linear map: large vocabularies without collapse"
    paper = "Zhu et al. 2024, arXiv:2411.02038"
    tunable = (
        Between("commitment_weight", 0.01, 4.0, unset=0.25),
        Between("codebook_weight", 0.01, 4.0, unset=1.0),
        OneOf("rotation_trick", (False, True)),
    )

    frozen: Tensor

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        codebook_dim: int | None = None,
        commitment_weight: float | None = None,
        codebook_weight: float | None = None,
        beta: float | None = None,
        beta_on: Literal["commitment", "codebook"] = "commitment",
        rotation_trick: bool = False,
        channel_first: bool = False,
        check_finite: bool = True,
    ) -> None:
        super().__init__(
            dim,
            code_dim=dim if codebook_dim is None else codebook_dim,
            codebook_sizes=[codebook_size],
            channel_first=channel_first,
            check_finite=check_finite,
        )
        self.commitment_weight, self.codebook_weight = loss_weights(
            "SimVQ", commitment_weight, codebook_weight, beta, beta_on
        )
        self.rotation_trick = rotation_trick
        self.register_buffer("frozen", torch.empty(codebook_size, self.code_dim))
        self.reset_parameters()
        self.map = nn.Linear(self.code_dim, self.code_dim)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """N(0, 1/d) for the frozen codes; the map is a module of its own."""
        self.frozen.normal_(std=self.code_dim**-0.5)

    @property
    def codebook(self) -> Tensor:
        """(K, d), mapped."""
        return F.linear(self.frozen.float(), self.map.weight.float(), self.map.bias.float())

    @torch.no_grad()
    def load_codebook(self, codebook: Tensor) -> None:
        """Take over code vectors (K, d): frozen as they are, the map reset to the identity."""
        require_codebook(codebook, self.frozen)
        self.frozen.copy_(codebook)
        nn.init.eye_(self.map.weight)
        nn.init.zeros_(self.map.bias)

    def _encode(self, z: Tensor) -> Tensor:
        return nearest_code(z, self.codebook)[..., None]

    def _embed(self, codes: Tensor) -> Tensor:
        return F.linear(F.embedding(codes, self.frozen).float(), self.map.weight.float(), self.map.bias.float())

    def _train_step(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        with torch.no_grad():
            codes = self._encode(z)
        # Mapping the chosen vectors again costs N rows; the gradient through all K would cost K.
        chosen = self._decode(codes)
        loss, losses = codebook_loss(z, chosen, self.commitment_weight, self.codebook_weight)
        quantized = rotate_to(z, chosen) if self.rotation_trick else straight_through(z, chosen)
        return quantized, codes, loss, losses

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            {"dim": 8, "codebook_size": 16},
            {"dim": 6, "codebook_size": 70, "codebook_dim": 3, "beta_on": "codebook", "rotation_trick": True},
        ]

    @classmethod
    def configurations(
        cls, *, codebook_size: int | None = None, depth: int | None = None, bits: int | None = None
    ) -> list[dict[str, Any]]:
        return one_code_configurations(cls.name, codebook_size, depth, bits)

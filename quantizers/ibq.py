"""IBQ: straight-through on the one-hot of a softmax over all codes, so that every code gets a gradient."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quantizers.base import Quantizer
from quantizers.checks import require_between, require_codebook
from quantizers.functional.entropy import assignment_entropy, in_pieces
from quantizers.functional.nearest import most_aligned_code
from quantizers.registry import register
from quantizers.tunable import Between
from quantizers.vq import loss_weights, one_code_configurations


@register("ibq")
class IBQ(Quantizer):
    """Index backpropagation: k = argmax <z, e_k>, gradient of softmax(<z, e>) in place of that of the one-hot.

    Args:
        dim: channels of z.
        codebook_size: K.
        codebook_dim: channels of the code vectors, with learned linear maps to and from ``dim``.
        commitment_weight, codebook_weight: of |sg[e] - z|^2 and |e - sg[z]|^2, 1 and 0.25 where nothing is said, as in
            the official code; |e - z|^2 through the softmax has weight 1.
        beta: the official code's name of ``codebook_weight``.
        entropy_weight: of per-sample entropy - codebook entropy of softmax(<z, e> / entropy_temperature); 0 is
            none. The default is that of the official imagenet_ibqgan_16384.yaml.
        entropy_temperature: 0.01 in the official code.

    losses: ``commitment`` |sg[e] - z|^2, ``codebook`` |e - sg[z]|^2, ``joint`` |e - z|^2 through the softmax; with an
    entropy weight ``per_sample_entropy``, ``codebook_entropy`` in nats.
    """

    summary = "gradient to all codes through the softmax: large codebooks stay in use"
    paper = "Shi et al. 2024, arXiv:2412.02692"
    tunable = (
        Between("commitment_weight", 0.01, 4.0, unset=1.0),
        Between("codebook_weight", 0.01, 4.0, unset=0.25),
        Between("entropy_weight", 1e-3, 1.0),
        Between("entropy_temperature", 0.003, 3.0),
    )

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        codebook_dim: int | None = None,
        commitment_weight: float | None = None,
        codebook_weight: float | None = None,
        beta: float | None = None,
        entropy_weight: float = 0.05,
        entropy_temperature: float = 0.01,
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
        require_between("IBQ", 0, math.inf, entropy_weight=entropy_weight)
        require_between("IBQ", 1e-6, math.inf, entropy_temperature=entropy_temperature)
        beta_on = "commitment" if beta is None else "codebook"
        self.commitment_weight, self.codebook_weight = loss_weights(
            "IBQ", commitment_weight, codebook_weight, beta, beta_on, unsaid=(1.0, 0.25)
        )
        self.entropy_weight, self.entropy_temperature = entropy_weight, entropy_temperature
        self.weight = nn.Parameter(torch.empty(codebook_size, self.code_dim))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """N(0, 1), as the official code has it: codes near zero differ in length alone, and a few win for good."""
        self.weight.normal_()

    @property
    def codebook(self) -> Tensor:
        """(K, d)."""
        return self.weight.float()

    @torch.no_grad()
    def load_codebook(self, codebook: Tensor) -> None:
        """Take over code vectors (K, d)."""
        require_codebook(codebook, self.weight)
        self.weight.copy_(codebook)

    def _encode(self, z: Tensor) -> Tensor:
        return most_aligned_code(z, self.codebook)[..., None]

    def _embed(self, codes: Tensor) -> Tensor:
        return F.embedding(codes, self.weight).float()

    def _train_step(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        codes = self._encode(z)
        chosen = self._decode(codes)
        soft = torch.cat(in_pieces(_softmax_gradient, z, self.codebook))
        quantized = chosen + soft.reshape(z.shape)
        losses = {
            "commitment": F.mse_loss(z, chosen.detach()),
            "codebook": F.mse_loss(chosen, z.detach()),
            "joint": F.mse_loss(quantized, z),
        }
        loss = (
            losses["joint"] + self.commitment_weight * losses["commitment"] + self.codebook_weight * losses["codebook"]
        )
        if self.entropy_weight:
            per_sample, codebook = assignment_entropy(z, self.codebook, self.entropy_temperature)
            losses["per_sample_entropy"], losses["codebook_entropy"] = per_sample, codebook
            loss = loss + self.entropy_weight * (per_sample - codebook)
        return quantized, codes, loss, {k: v.detach() for k, v in losses.items()}

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            {"dim": 8, "codebook_size": 16},
            {"dim": 6, "codebook_size": 70, "codebook_dim": 3, "entropy_weight": 0.0},
        ]

    @classmethod
    def configurations(
        cls, *, codebook_size: int | None = None, depth: int | None = None, bits: int | None = None
    ) -> list[dict[str, Any]]:
        return one_code_configurations(cls.name, codebook_size, depth, bits)


def _softmax_gradient(z: Tensor, codebook: Tensor) -> Tensor:
    """Zero (n, d), with the gradient of softmax(z codebook^T) codebook with the last factor held constant."""
    p = (z @ codebook.T).softmax(-1)
    return (p - p.detach()) @ codebook

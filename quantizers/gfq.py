"""GFQ: lookup-free quantization in groups, so that 64 bits a position and more are several small codes. WeTok."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from quantizers.base import Quantizer
from quantizers.bit_codes import default_split
from quantizers.checks import power_of_two_bits, require_between, require_choice, require_positive
from quantizers.functional.bits import bits_to_index, factorize, index_to_bits, join
from quantizers.functional.entropy import lfq_entropy
from quantizers.functional.gradient import straight_through
from quantizers.grouped import grouped_configurations
from quantizers.registry import register
from quantizers.tunable import Between


@register("gfq")
class GFQ(Quantizer):
    """Group-wise lookup-free quantization: G groups of n = log2(codebook_size) signs each, a code a group.

    Args:
        codebook_size: K = 2^n, the vocabulary of each group's code.
        groups: G; n * G is the bits of a position, without a limit.
        dim: channels of z; None is n * G. Otherwise learned linear maps lie on either side.
        temperature: of the softmax whose entropies are the loss.
        entropy_weight: of per-sample entropy - diversity_weight * codebook entropy; both are of one group's code, the
            average distribution being taken over positions and groups alike.
        diversity_weight: of the codebook entropy.
        commitment_weight: of mean((z - sg[quantized])^2).
        commitment_over: "all" values of the batch, or "upstream": those of its samples 1, 2, 4, ..., 2^(n-1) alone,
            as the code of WeTok and BitDance has it by a name used twice (a batch of more than 2^(n-1) is needed).
        log_eps: inside the logarithm of the codebook entropy; 0 is exact, 1e-5 is upstream's.

    Channel i of a group is bit i of its code. losses: ``commitment``, ``per_sample_entropy``, ``codebook_entropy``;
    entropies in nats.
    """

    summary = "lookup-free in groups: 64 bits a position and more as several small codes"
    paper = "Zhuang et al. 2025, arXiv:2508.05599"
    corners = True
    tunable = (
        Between("entropy_weight", 1e-4, 1.0),
        Between("temperature", 0.003, 3.0),
        Between("diversity_weight", 0.3, 3.0),
        Between("commitment_weight", 0.01, 4.0),
    )

    def __init__(
        self,
        codebook_size: int = 2**8,
        groups: int = 8,
        dim: int | None = None,
        temperature: float = 0.01,
        *,
        entropy_weight: float = 0.1,
        diversity_weight: float = 1.0,
        commitment_weight: float = 0.25,
        commitment_over: Literal["all", "upstream"] = "all",
        log_eps: float = 0.0,
        channel_first: bool = False,
        check_finite: bool = True,
    ) -> None:
        n = power_of_two_bits("gfq", codebook_size)
        require_positive("GFQ", groups=groups)
        if n > 26:
            raise ValueError(f"GFQ: the codebook entropy at 2^{n} does not fit in memory; take more groups, smaller")
        super().__init__(
            n * groups if dim is None else dim,
            code_dim=n * groups,
            codebook_sizes=[codebook_size] * groups,
            channel_first=channel_first,
            check_finite=check_finite,
        )
        require_choice("GFQ", "commitment_over", commitment_over, ("all", "upstream"))
        require_between("GFQ", 1e-6, math.inf, temperature=temperature)
        require_between("GFQ", 0, math.inf, entropy_weight=entropy_weight, diversity_weight=diversity_weight)
        require_between("GFQ", 0, math.inf, commitment_weight=commitment_weight, log_eps=log_eps)
        self.bits, self.groups, self.temperature, self.log_eps = n, groups, temperature, log_eps
        self.entropy_weight, self.diversity_weight = entropy_weight, diversity_weight
        self.commitment_weight, self.commitment_over = commitment_weight, commitment_over
        self.factor_bits = default_split(n)

    def subcodes(self, codes: Tensor) -> Tensor:
        return factorize(codes, self.factor_bits).flatten(-2)

    def join(self, subcodes: Tensor) -> Tensor:
        return join(subcodes.unflatten(-1, (-1, len(self.factor_bits))), self.factor_bits)

    @property
    def subcode_sizes(self) -> tuple[int, ...]:
        return tuple(2**b for b in self.factor_bits) * self.groups

    def _encode(self, z: Tensor) -> Tensor:
        return bits_to_index((z > 0).unflatten(-1, (self.groups, self.bits)))

    def _embed(self, codes: Tensor) -> Tensor:
        # Group g's vector is zero but for its own channels, so that the groups' sum is the whole.
        place = torch.eye(self.groups, device=codes.device)[..., None]
        return (self._signs(codes)[..., None, :] * place).flatten(-2)

    def _decode(self, codes: Tensor) -> Tensor:
        return self._signs(codes).flatten(-2)

    def _signs(self, codes: Tensor) -> Tensor:
        """codes (..., G) -> (..., G, n)."""
        return index_to_bits(codes, self.bits).float() * 2 - 1

    def _train_step(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        codes = self._encode(z)
        signs = self._decode(codes)
        per_sample, codebook = lfq_entropy(
            z.unflatten(-1, (self.groups, self.bits)), self.temperature, log_eps=self.log_eps, joined=True
        )
        chosen = self._samples_of_commitment(len(z))
        commitment = F.mse_loss(z, signs) if chosen is None else F.mse_loss(z[chosen], signs[chosen])
        entropy = per_sample - self.diversity_weight * codebook
        loss = self.commitment_weight * commitment + self.entropy_weight * entropy
        losses = {"commitment": commitment, "per_sample_entropy": per_sample, "codebook_entropy": codebook}
        return straight_through(z, signs), codes, loss, {k: v.detach() for k, v in losses.items()}

    def _samples_of_commitment(self, batch: int) -> list[int] | None:
        """Of upstream's commitment, the samples; None is all of them."""
        if self.commitment_over == "all":
            return None
        chosen = [2**i for i in range(self.bits)]
        if batch <= chosen[-1]:
            raise ValueError(
                f'GFQ: commitment_over="upstream" at {self.bits} bits a group needs a batch of more than {chosen[-1]}, '
                f'not {batch}; "all" takes any'
            )
        return chosen

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            {"dim": 12, "codebook_size": 16, "groups": 3},
            {"dim": 6, "codebook_size": 2, "groups": 4, "log_eps": 1e-5},
            {"dim": 9, "codebook_size": 2**16, "groups": 5},
        ]

    @classmethod
    def configurations(
        cls, *, codebook_size: int | None = None, depth: int | None = None, bits: int | None = None
    ) -> list[dict[str, Any]]:
        found = grouped_configurations(cls.name, codebook_size, depth, bits)
        power_of_two_bits("gfq", found[0]["codebook_size"])
        return found

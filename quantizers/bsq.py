"""BSQ: lookup-free quantization on the unit sphere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from quantizers.bit_codes import BitCodes, check_split
from quantizers.checks import power_of_two_bits, require_between, require_one_code
from quantizers.functional.entropy import lfq_entropy
from quantizers.functional.gradient import straight_through
from quantizers.registry import register
from quantizers.tunable import Between


@register("bsq")
class BSQ(BitCodes):
    """Binary spherical quantization: z / |z| to the nearest corner of the cube inside the sphere, sign(z) / sqrt(n).

    Args:
        bits: n, bits per position; past 62 they are several codes of as equal width as it goes.
        dim: channels of z; None is n. Otherwise learned linear maps lie on either side.
        temperature: of the soft assignment.
        entropy_weight: zeta, of temperature * (per-sample entropy - diversity_weight * codebook entropy). The official
            code has temperature 0.01 and zeta 0.1; the defaults here keep the codes in use in short runs too.
        diversity_weight: gamma.
        commitment_weight: beta, of mean over positions of |z - sg[quantized]|^2.
        entropy_groups: bits of the groups whose codebook entropies are summed, as the official code approximates them.
            None: nines, the rest last. [n] is exact and needs 2^n numbers.
        factor_bits: how ``subcodes`` splits an index for a generator, low bits first. None: two halves from 16 bits up,
            of each code.

    Channel 0 is the most significant bit (of the first code). The gradient through the sign is 1, so that of
    ``quantized`` with respect to the normalised z is 1 / sqrt(n). losses: ``commitment``, ``per_sample_entropy``,
    ``codebook_entropy``; entropies in nats.
    """

    summary = "lookup-free on the unit sphere: bounded error, entropies that factorise"
    paper = "Zhao et al. 2024, arXiv:2406.07548"
    tunable = (
        Between("entropy_weight", 1e-3, 10.0),
        Between("temperature", 0.003, 3.0),
        Between("diversity_weight", 0.3, 3.0),
        Between("commitment_weight", 0.01, 4.0),
    )

    def __init__(
        self,
        bits: int,
        dim: int | None = None,
        *,
        temperature: float = 0.1,
        entropy_weight: float = 1.0,
        diversity_weight: float = 1.0,
        commitment_weight: float = 0.25,
        entropy_groups: Sequence[int] | None = None,
        factor_bits: Sequence[int] | None = None,
        channel_first: bool = False,
        check_finite: bool = True,
    ) -> None:
        super().__init__(
            "BSQ", bits, dim, factor_bits, channel_first=channel_first, check_finite=check_finite, msb_first=True
        )
        require_between("BSQ", 1e-6, math.inf, temperature=temperature)
        require_between("BSQ", 0, math.inf, entropy_weight=entropy_weight, diversity_weight=diversity_weight)
        require_between("BSQ", 0, math.inf, commitment_weight=commitment_weight)
        check_split("BSQ", "entropy_groups", entropy_groups, bits)
        if entropy_groups is None:
            entropy_groups = [9] * (bits // 9) + [bits % 9] * (bits % 9 > 0)
        self.temperature, self.entropy_groups = temperature, tuple(entropy_groups)
        self.entropy_weight, self.diversity_weight = entropy_weight, diversity_weight
        self.commitment_weight = commitment_weight

    def _normalize(self, z: Tensor) -> Tensor:
        return F.normalize(z, dim=-1)

    def _embed(self, codes: Tensor) -> Tensor:
        return self._signs(codes) / self.bits**0.5

    def _train_step(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        corner = ((z > 0).float() * 2 - 1) / self.bits**0.5
        # Softmax over corners c / sqrt(n) at inverse temperature t is that over c of z / sqrt(n).
        unit = z / self.bits**0.5
        per_sample, codebook = lfq_entropy(unit, self.temperature, groups=self.entropy_groups, joined=True)
        commitment = (z - corner).square().sum(-1).mean()
        entropy = self.temperature * (per_sample - self.diversity_weight * codebook)
        loss = self.commitment_weight * commitment + self.entropy_weight * entropy
        losses = {"commitment": commitment, "per_sample_entropy": per_sample, "codebook_entropy": codebook}
        quantized = straight_through(z / self.bits**0.5, corner)
        return quantized, self._encode(z), loss, {k: v.detach() for k, v in losses.items()}

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [{"dim": 6, "bits": 6}, {"dim": 8, "bits": 20, "factor_bits": [5, 15]}, {"dim": 4, "bits": 67}]

    @classmethod
    def configurations(
        cls, *, codebook_size: int | None = None, depth: int | None = None, bits: int | None = None
    ) -> list[dict[str, Any]]:
        require_one_code(cls.name, codebook_size, depth, bits)
        return [{"bits": bits if codebook_size is None else power_of_two_bits("bsq", codebook_size)}]

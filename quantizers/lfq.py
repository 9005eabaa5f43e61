"""LFQ: the sign of each channel is a bit; no codebook to look up. MAGVIT-v2."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from quantizers.bit_codes import BitCodes, check_split
from quantizers.checks import power_of_two_bits, require_between, require_choice, require_may_learn, require_one_code
from quantizers.functional.bits import MOST_BITS
from quantizers.functional.entropy import lfq_entropy
from quantizers.functional.gradient import straight_through
from quantizers.graphs import is_recomputing
from quantizers.registry import register
from quantizers.tunable import Between, OneOf


@register("lfq")
class LFQ(BitCodes):
    """Lookup-free quantization: n = log2(codebook_size) channels, quantized = sign(z) with 0 -> -1.

    Args:
        codebook_size: K = 2^n; past 2^62 a position has several codes of as equal width as it goes.
        bits: n, in place of codebook_size.
        dim: channels of z; None is n. Otherwise learned linear maps lie on either side.
        temperature: of the softmax whose entropies are the loss.
        entropy_weight: of per-sample entropy - diversity_weight * codebook entropy.
        diversity_weight: gamma, of the codebook entropy.
        commitment_weight: of mean((z - sg[quantized])^2).
        entropy_anneal_scale, entropy_anneal_steps: the entropy weight starts ``scale`` times as large and falls
            linearly to 1 over so many training steps (MAGVIT-v2: 3 over the first 2000). Steps 0 is no annealing.
        log_eps: inside the logarithm of the codebook entropy; 0 is exact, 1e-5 is Open-MAGVIT2's.
        entropy_groups: bits of groups whose separate codebook entropies are summed, an approximation from above; None
            is the exact entropy, possible up to 26 bits or so.
        bit_order: "lsb_first", channel i is bit i (the paper's eq. 4, Open-MAGVIT2, maskbit), or "msb_first"
            (vector-quantize-pytorch, Cosmos).
        norm: "layer" normalises each vector, "group" each sample over positions and channels, both without learned
            scale, before the sign (advice of MAGVIT-v2's author, vector-quantize-pytorch#88); "none".
        factor_bits: how ``subcodes`` splits an index for a generator, low bits first: (9, 9) in the paper. None: two
            halves from 2^16 up, whole below, of each code.

    losses: ``commitment``, ``per_sample_entropy``, ``codebook_entropy``; entropies in nats.
    """

    summary = "the sign of each channel is a bit: vocabularies of 2^18 without a codebook"
    paper = "Yu et al. 2023, arXiv:2310.05737"
    tunable = (
        Between("entropy_weight", 1e-4, 1.0),
        Between("temperature", 0.003, 3.0),
        Between("commitment_weight", 0.01, 4.0),
        Between("entropy_anneal_steps", 0, 2000, "linear"),
        OneOf("norm", ("none", "layer", "group")),
    )

    step: Tensor

    def __init__(
        self,
        codebook_size: int = 2**18,
        dim: int | None = None,
        temperature: float = 0.01,
        *,
        bits: int | None = None,
        entropy_weight: float = 0.1,
        diversity_weight: float = 1.0,
        commitment_weight: float = 0.25,
        entropy_anneal_scale: float = 3.0,
        entropy_anneal_steps: int = 2000,
        log_eps: float = 0.0,
        entropy_groups: Sequence[int] | None = None,
        bit_order: Literal["lsb_first", "msb_first"] = "lsb_first",
        norm: Literal["none", "layer", "group"] = "none",
        factor_bits: Sequence[int] | None = None,
        channel_first: bool = False,
        check_finite: bool = True,
    ) -> None:
        if bits is not None and codebook_size != 2**18:
            raise ValueError(f"LFQ takes codebook_size or bits, not both ({codebook_size}, {bits})")
        n = power_of_two_bits("lfq", codebook_size) if bits is None else bits
        super().__init__(
            "LFQ", n, dim, factor_bits, channel_first=channel_first, check_finite=check_finite,
            msb_first=bit_order == "msb_first",
        )  # fmt: skip
        require_choice("LFQ", "bit_order", bit_order, ("lsb_first", "msb_first"))
        require_choice("LFQ", "norm", norm, ("none", "layer", "group"))
        require_between("LFQ", 1e-6, math.inf, temperature=temperature)
        require_between("LFQ", 0, math.inf, entropy_weight=entropy_weight, diversity_weight=diversity_weight)
        require_between("LFQ", 0, math.inf, commitment_weight=commitment_weight, log_eps=log_eps)
        require_between("LFQ", 0, math.inf, entropy_anneal_scale=entropy_anneal_scale)
        require_between("LFQ", 0, math.inf, entropy_anneal_steps=entropy_anneal_steps)
        check_split("LFQ", "entropy_groups", entropy_groups, n)
        if n > 26 and entropy_groups is None:
            raise ValueError(f"LFQ: the exact codebook entropy at 2^{n} does not fit in memory; give entropy_groups")
        self.temperature = temperature
        self.entropy_weight, self.diversity_weight = entropy_weight, diversity_weight
        self.commitment_weight, self.log_eps, self.entropy_groups = commitment_weight, log_eps, entropy_groups
        self.entropy_anneal_scale, self.entropy_anneal_steps = entropy_anneal_scale, entropy_anneal_steps
        self.norm = norm
        self.register_buffer("step", torch.tensor(0))
        self.update_every = 1  # forward passes an optimizer step: annealing counts the latter

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Annealing starts over."""
        self.step.zero_()

    def annealed_entropy_weight(self) -> Tensor:
        """The weight of the entropy loss at the present step."""
        if not self.entropy_anneal_steps:
            return torch.full_like(self.step, self.entropy_weight, dtype=torch.float32)
        left = (1 - (self.step // self.update_every).float() / self.entropy_anneal_steps).clamp_min(0)
        return self.entropy_weight * (1 + (self.entropy_anneal_scale - 1) * left)

    def _normalize(self, z: Tensor) -> Tensor:
        if self.norm == "none":
            return z
        return F.layer_norm(z, z.shape[-1:] if self.norm == "layer" else z.shape[1:])

    def _embed(self, codes: Tensor) -> Tensor:
        return self._signs(codes)

    def _train_step(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        signs = (z > 0).float() * 2 - 1
        # The entropies are wanted bit 0 first, whichever channel that is.
        bits = z.flip(-1) if self.msb_first else z
        per_sample, codebook = lfq_entropy(
            bits, self.temperature, log_eps=self.log_eps, groups=self.entropy_groups, joined=True
        )
        commitment = F.mse_loss(z, signs)
        entropy = per_sample - self.diversity_weight * codebook
        loss = self.commitment_weight * commitment + self.annealed_entropy_weight() * entropy
        if not is_recomputing():
            require_may_learn("LFQ")
            self.step += 1
        losses = {"commitment": commitment, "per_sample_entropy": per_sample, "codebook_entropy": codebook}
        return straight_through(z, signs), self._encode(z), loss, {k: v.detach() for k, v in losses.items()}

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            {"dim": 6, "codebook_size": 64},
            {"dim": 9, "codebook_size": 16, "norm": "group", "bit_order": "msb_first", "entropy_anneal_steps": 0},
            {"dim": 18, "codebook_size": 2**18, "norm": "layer", "factor_bits": [6, 12], "entropy_groups": [9, 9]},
            {"dim": 4, "bits": 67, "entropy_groups": [7] * 9 + [4]},
        ]

    @classmethod
    def configurations(
        cls, *, codebook_size: int | None = None, depth: int | None = None, bits: int | None = None
    ) -> list[dict[str, Any]]:
        require_one_code(cls.name, codebook_size, depth, bits)
        if bits is not None and bits > MOST_BITS:
            return [{"bits": bits}]
        size = 2**bits if codebook_size is None else codebook_size  # type: ignore[operator]
        power_of_two_bits("lfq", size)
        return [{"codebook_size": size}]

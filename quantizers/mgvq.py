"""MGVQ: groups with codebooks of their own, of which training leaves out the last ones by chance. Coarse to fine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from quantizers.checks import require_between
from quantizers.grouped import Grouped, grouped_configurations
from quantizers.registry import register
from quantizers.tunable import Between


@register("mgvq")
class MGVQ(Grouped):
    """Multi-group quantization: ``Grouped`` over VQ by gradient at length 1, in which any first groups decode.

    Args:
        dim: channels of z, divisible by ``groups``.
        codebook_size: K, of each group's codebook (the official ``codebook_size`` is K * groups).
        groups: G.
        group_dropout: the chance, group by group, that a training batch goes without it and all after it; it rises
            and begins with 0. The official first stage has 0, 0.2, 0.3, 0.4; None, as its second, is never.
        commitment_weight, codebook_weight: of |sg[e] - z|^2 and of |e - sg[z]|^2, z and e of length 1.
        restart_threshold: hits a batch below which a code restarts, as for VQ. (The official code moves all codes
            towards the batch, the less they are used the further.)

    losses: ``commitment``, ``codebook``, means over the groups that are there.
    """

    summary = "a codebook on the unit sphere for each group, nested: any first groups decode"
    paper = "Jia et al. 2025, arXiv:2507.07997"
    tunable = (
        Between("commitment_weight", 0.01, 4.0),
        Between("codebook_weight", 0.01, 4.0),
        Between("restart_threshold", 0.01, 4.0),
    )
    decodes_prefix = True

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        groups: int = 8,
        *,
        group_dropout: Sequence[float] | None = None,
        commitment_weight: float = 0.25,
        codebook_weight: float = 1.0,
        restart_threshold: float = 1.0,
        channel_first: bool = False,
        check_finite: bool = True,
    ) -> None:
        super().__init__(
            "vq",
            groups,
            dim,
            codebook_size=codebook_size,
            l2_norm=True,
            codebook_update="gradient",
            commitment_weight=commitment_weight,
            codebook_weight=codebook_weight,
            restart_threshold=restart_threshold,
            channel_first=channel_first,
            check_finite=check_finite,
        )
        chances = [0.0] * groups if group_dropout is None else list(group_dropout)
        for chance in chances:
            require_between("MGVQ", 0, 1, group_dropout=chance)
        if len(chances) != groups or chances[0] != 0 or chances != sorted(chances):
            raise ValueError(
                f"MGVQ: group_dropout {chances} must have a chance for each of {groups} groups, rising from 0"
            )
        self.group_dropout = tuple(chances)

    def _decode(self, codes: Tensor) -> Tensor:
        found = super()._decode(codes)
        return F.pad(found, (0, self.dim - found.shape[-1]))

    def _train_step(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        steps = [part._train_step(share) for part, share in zip(self.parts, self._shares(z), strict=True)]
        # All groups learn their part and get a gradient, zero where they are left out: DDP waits for it.
        there = (torch.rand((), device=z.device) >= z.new_tensor(self.group_dropout)).float()
        quantized = torch.cat([step[0] * here for step, here in zip(steps, there, strict=True)], dim=-1)
        share = there / there.sum()
        losses = {name: (torch.stack([step[3][name] for step in steps]) * share).sum() for name in steps[0][3]}
        loss = (torch.stack([step[2] for step in steps]) * share).sum()
        return quantized, torch.cat([step[1] for step in steps], dim=-1), loss, losses

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            {"dim": 12, "codebook_size": 16, "groups": 3},
            {"dim": 8, "codebook_size": 10, "groups": 2, "group_dropout": [0, 0.5]},
        ]

    @classmethod
    def configurations(
        cls, *, codebook_size: int | None = None, depth: int | None = None, bits: int | None = None
    ) -> list[dict[str, Any]]:
        return grouped_configurations(cls.name, codebook_size, depth, bits)

"""Residual: any one-code quantizer in stages, each on what is left over. Residual LFQ, FSQ, BSQ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from quantizers.base import Quantizer
from quantizers.checks import require_positive
from quantizers.functional.gradient import rotate_to, straight_through
from quantizers.grouped import join_subcodes, make_parts, split_subcodes
from quantizers.registry import get, register


@register("residual")
class Residual(Quantizer):
    """``depth`` stages of a quantizer: stage i quantizes (z - what the stages before gave) / s^i and multiplies by s^i.

    s is the quantizer's own ``residual_scale``: 1/2 for LFQ and BSQ, 1/(levels-1) for FSQ, 1 for codebooks (RQ is the
    better form of those). A bound or norm is applied once, before the first stage.

    Args:
        quantizer: of one stage, with one code a position: a Quantizer over its own code channels, or a registered name,
            whose options follow as keywords.
        depth: D.
        dim: channels of z, needed with a name; learned linear maps lie on either side where it is not the stage's.

    Stages with a ``rotation_trick`` have the gradient of the rotation that carries z onto the sum of its codes, as RQ.
    loss: the mean over stages of s^i times theirs, so that stages pull on z alike. losses: their means over stages, and
    each ``.._per_depth`` (D,).
    """

    summary = "stages of LFQ, FSQ or BSQ, each on what is left over"
    paper = "Lee et al. 2022, arXiv:2203.01941, with other quantizers in its stages"
    decodes_prefix = True

    def __init__(
        self,
        quantizer: Quantizer | str,
        depth: int,
        dim: int | None = None,
        *,
        channel_first: bool = False,
        check_finite: bool = True,
        **options: Any,
    ) -> None:
        require_positive("Residual", depth=depth)
        inner = code_channels("Residual", quantizer, dim, options) if isinstance(quantizer, str) else None
        stages = make_parts("Residual", quantizer, depth, inner, options)
        first = stages[0]
        if first.num_codebooks != 1 or first.code_dim != first.dim:
            raise ValueError(f"Residual: a stage has one code and no linear maps of its own, unlike {first}")
        super().__init__(
            first.dim if dim is None else dim,
            code_dim=first.dim,
            codebook_sizes=[stage.codebook_sizes[0] for stage in stages],
            channel_first=channel_first,
            check_finite=check_finite,
        )
        self.depth = depth
        self.stages = cast("Sequence[Quantizer]", nn.ModuleList(stages))

    def subcodes(self, codes: Tensor) -> Tensor:
        return split_subcodes(self.stages, codes)

    def join(self, subcodes: Tensor) -> Tensor:
        return join_subcodes(self.stages, subcodes)

    @property
    def subcode_sizes(self) -> tuple[int, ...]:
        return tuple(k for stage in self.stages for k in stage.subcode_sizes)

    def _scale(self, depth: int) -> float | Tensor:
        return self.stages[0].residual_scale() ** depth

    def _normalize(self, z: Tensor) -> Tensor:
        return self.stages[0]._normalize(z)

    def _encode(self, z: Tensor) -> Tensor:
        residual, codes = z, []
        for d, stage in enumerate(self.stages):
            codes.append(stage._encode(residual / self._scale(d)))
            residual = residual - stage._decode(codes[-1]) * self._scale(d)
        return torch.cat(codes, dim=-1)

    def _embed(self, codes: Tensor) -> Tensor:
        depths = codes.split(1, dim=-1)
        return torch.cat([self.stages[d]._embed(c) * self._scale(d) for d, c in enumerate(depths)], dim=-2)

    def _train_step(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        residual, steps, weighted = z, [], []
        for d, stage in enumerate(self.stages):
            scale = self._scale(d)
            step = stage._train_step(residual / scale)
            residual = residual - step[0].detach() * scale
            steps.append(step)
            weighted.append(step[2] * (scale.mean() if isinstance(scale, Tensor) else scale))
        codes = torch.cat([step[1] for step in steps], dim=-1)
        losses = with_means({k: torch.stack([step[3][k] for step in steps]) for k in steps[0][3]}, "per_depth")
        pass_on = rotate_to if getattr(self.stages[0], "rotation_trick", False) else straight_through
        return pass_on(z, z - residual), codes, torch.stack(weighted).mean(), losses

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            {"dim": 4, "quantizer": "lfq", "depth": 3, "codebook_size": 16},
            {"dim": 6, "quantizer": "fsq", "depth": 2, "levels": [5, 4, 3]},
            {"dim": 5, "quantizer": "bsq", "depth": 2, "bits": 5},
            {"dim": 5, "quantizer": "vq", "depth": 2, "codebook_size": 12},
        ]


def with_means(losses: dict[str, Tensor], suffix: str) -> dict[str, Tensor]:
    """Losses of the stages (D,) by name -> their means, and beside each the losses themselves as ``NAME_suffix``."""
    found = {}
    for name, each in losses.items():
        found[name], found[f"{name}_{suffix}"] = each.detach().mean(0), each.detach()
    return found


def code_channels(label: str, name: str, dim: int | None, options: dict[str, Any]) -> int:
    """Channels of the stage's code vectors: what it takes when not told a dim, else dim."""
    if "codebook_dim" in options:
        return int(options.pop("codebook_dim"))
    try:
        return get(name)(check_finite=False, **options).dim
    except TypeError:
        if dim is None:
            raise ValueError(f"{label}: {name!r} needs dim") from None
        return dim

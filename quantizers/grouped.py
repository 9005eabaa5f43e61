"""Grouped: product quantization, the channels split into groups that are quantized separately."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from quantizers.base import Quantizer
from quantizers.checks import require_positive, require_size_or_bits
from quantizers.registry import build, register


@register("grouped")
class Grouped(Quantizer):
    """One quantizer for each of ``groups`` equal parts of the channels; codes of the groups lie side by side.

    Args:
        quantizer: of one group: a Quantizer over dim / groups channels (each group gets its own, freshly initialised),
            or a registered name, whose options follow as keywords.
        groups: G.
        dim: channels of z, needed with a name.

    D is G times that of one group. losses: means over groups of theirs.
    """

    summary = "product quantization: one quantizer for each group of channels"
    paper = "Jegou et al. 2011, doi:10.1109/TPAMI.2010.57"

    def __init__(
        self,
        quantizer: Quantizer | str,
        groups: int,
        dim: int | None = None,
        *,
        channel_first: bool = False,
        check_finite: bool = True,
        **options: Any,
    ) -> None:
        require_positive(self.label, groups=groups)
        share = None if dim is None else _share(self.label, dim, groups)
        parts = make_parts(self.label, quantizer, groups, share, options)
        whole = parts[0].dim * groups
        if dim is not None and dim != whole:
            raise ValueError(f"Grouped: {groups} groups of {parts[0].dim} channels make {whole}, not dim={dim}")
        super().__init__(
            whole,
            code_dim=whole,
            codebook_sizes=[k for part in parts for k in part.codebook_sizes],
            channel_first=channel_first,
            check_finite=check_finite,
        )
        self.groups = groups
        self.parts = cast("Sequence[Quantizer]", nn.ModuleList(parts))

    def subcodes(self, codes: Tensor) -> Tensor:
        return split_subcodes(self.parts, codes)

    def join(self, subcodes: Tensor) -> Tensor:
        return join_subcodes(self.parts, subcodes)

    @property
    def subcode_sizes(self) -> tuple[int, ...]:
        return tuple(k for part in self.parts for k in part.subcode_sizes)

    def _shares(self, z: Tensor) -> list[Tensor]:
        """z (B, T, dim) -> each group's channels, in its own code space."""
        shares = z.chunk(self.groups, dim=-1)
        return [part._into_code_space(share) for part, share in zip(self.parts, shares, strict=True)]

    def _with_codes(self, codes: Tensor) -> list[tuple[Quantizer, Tensor]]:
        """Each group with its codes; the first groups where the codes are theirs alone."""
        parts = self.parts[: codes.shape[-1] // self.parts[0].num_codebooks]
        return list(zip(parts, split_codes(parts, codes), strict=True))

    def _encode(self, z: Tensor) -> Tensor:
        return torch.cat([p._encode(s) for p, s in zip(self.parts, self._shares(z), strict=True)], dim=-1)

    def _embed(self, codes: Tensor) -> Tensor:
        embedded, width = [], self.parts[0].dim
        for g, (part, own) in enumerate(self._with_codes(codes)):
            vectors = part._embed_outside(own)
            embedded.append(nn.functional.pad(vectors, (g * width, self.dim - (g + 1) * width)))
        return torch.cat(embedded, dim=-2)

    def _decode(self, codes: Tensor) -> Tensor:
        return torch.cat([p._out_of_code_space(p._decode(own)) for p, own in self._with_codes(codes)], dim=-1)

    def _train_step(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
        steps = [p._train_step(s) for p, s in zip(self.parts, self._shares(z), strict=True)]
        quantized = [p._out_of_code_space(s[0]) for p, s in zip(self.parts, steps, strict=True)]
        losses = {name: torch.stack([s[3][name] for s in steps]).mean(0) for name in steps[0][3]}
        loss = torch.stack([s[2] for s in steps]).mean()
        return torch.cat(quantized, dim=-1), torch.cat([s[1] for s in steps], dim=-1), loss, losses

    @classmethod
    def examples(cls) -> list[dict[str, Any]]:
        return [
            {"dim": 8, "quantizer": "vq", "groups": 2, "codebook_size": 16},
            {"dim": 12, "quantizer": "rq", "groups": 3, "codebook_size": 8, "depth": 2},
            {"dim": 12, "quantizer": "lfq", "groups": 2, "codebook_size": 2**17},
        ]


def make_parts(
    label: str, quantizer: Quantizer | str, count: int, dim: int | None, options: dict[str, Any]
) -> list[Quantizer]:
    """``count`` quantizers: by name and options, or fresh copies of one that is given."""
    if isinstance(quantizer, str):
        if dim is None:
            raise ValueError(f"{label}: a quantizer given by name needs dim")
        parts = [build(quantizer, dim=dim, check_finite=False, **options) for _ in range(count)]
        return _of_any_position(label, parts)
    if options:
        raise ValueError(f"{label}: {', '.join(options)} belong to a quantizer given by name, not to one that is built")
    parts = [quantizer] + [copy.deepcopy(quantizer) for _ in range(count - 1)]
    for part in parts[1:]:
        for module in part.modules():
            reset = getattr(module, "reset_parameters", None)
            if reset is not None:
                reset()
    for part in parts:
        part.channel_first = part.check_finite = False
    return _of_any_position(label, parts)


def _of_any_position(label: str, parts: list[Quantizer]) -> list[Quantizer]:
    """ValueError where which codes there are depends on the position, which no part is told."""
    if parts[0].position_sizes((1,)):
        raise ValueError(f"{label}: {parts[0].name} counts the positions of a whole map; use it alone")
    return parts


def split_codes(parts: Sequence[Quantizer], codes: Tensor) -> tuple[Tensor, ...]:
    """Codes side by side -> those of each part."""
    return codes.split([part.num_codebooks for part in parts], dim=-1)


def split_subcodes(parts: Sequence[Quantizer], codes: Tensor) -> Tensor:
    """``subcodes`` of parts side by side."""
    return torch.cat([p.subcodes(c) for p, c in zip(parts, split_codes(parts, codes), strict=True)], dim=-1)


def join_subcodes(parts: Sequence[Quantizer], subcodes: Tensor) -> Tensor:
    """The inverse of ``split_subcodes``."""
    shares = subcodes.split([len(part.subcode_sizes) for part in parts], dim=-1)
    return torch.cat([p.join(s) for p, s in zip(parts, shares, strict=True)], dim=-1)


def grouped_configurations(
    name: str, codebook_size: int | None, depth: int | None, bits: int | None
) -> list[dict[str, Any]]:
    """Sweep configurations of equal groups, ``depth`` of them; where nothing is said, 8 (WeTok, UniTok)."""
    require_size_or_bits(name, codebook_size, bits)
    if bits is None:
        return [{"codebook_size": codebook_size, "groups": 8 if depth is None else depth}]
    # Codes of 4 to 16 bits, as anyone trains them.
    groups = [g for g in (2, 4, 8) if bits % g == 0 and 4 <= bits // g <= 16] if depth is None else [depth]
    if not groups or bits % groups[0]:
        asked = "2, 4 or 8" if depth is None else str(depth)
        raise ValueError(f"{name} cannot split {bits} bits evenly over {asked} groups of 4 to 16 bits")
    return [{"codebook_size": 2 ** (bits // g), "groups": g} for g in groups]


def _share(label: str, dim: int, groups: int) -> int:
    if dim % groups:
        raise ValueError(f"{label}: dim {dim} does not divide into {groups} groups")
    return dim // groups

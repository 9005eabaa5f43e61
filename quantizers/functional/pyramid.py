"""A pyramid of scales over a map: which there are, and the way down to one and back up. Tian et al. 2024,
arXiv:2404.02905."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from quantizers.functional.bits import MOST_BITS

Scale = tuple[int, int]
Mode = Literal["bicubic", "bilinear"]

VAR_SCALES = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)
"""Sides of the published ten, over a map of 16x16."""


def default_scales(grid: Sequence[int]) -> tuple[Scale, ...]:
    """VAR's ten scales in proportion to a map (H, W), those once that round to the same; the first is always 1x1.

    Of 16x16 the published ones, of 8x8 the sides 1, 2, 3, 4, 5, 6, 8, of 4x4 all four.
    """
    height, width = grid
    found = [(max(1, round(height * side / 16)), max(1, round(width * side / 16))) for side in VAR_SCALES]
    return tuple(dict.fromkeys([(1, 1), *found]))


def checked_scales(label: str, scales: Sequence[int | Sequence[int]]) -> tuple[Scale, ...]:
    """Sides or (h, w) as (h, w). ValueError in one line where they do not rise, or are no sides."""
    pairs = [(scale, scale) if isinstance(scale, int) else tuple(scale) for scale in scales]
    for scale, pair in zip(scales, pairs, strict=True):
        if len(pair) != 2 or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in pair):
            raise ValueError(f"{label}: scales are sides of at least 1, or pairs [h, w], not {scale!r}")
    if not pairs:
        raise ValueError(f"{label}: scales is empty; leave it out for those that follow from the latent's grid")
    for small, large in zip(pairs, pairs[1:], strict=False):
        if small == large or small[0] > large[0] or small[1] > large[1]:
            raise ValueError(f"{label}: scales must rise: {scale_text(large)} follows {scale_text(small)}")
    return tuple((pair[0], pair[1]) for pair in pairs)


def shared_bits(label: str, scales: Sequence[Scale], bits: int) -> float:
    """Bits of each code of a pyramid where they are ``bits`` a position of its last scale in all.

    ValueError in one line where that is less than one, or more than an int64 code holds.
    """
    count = sum(map(math.prod, scales))
    share = bits * math.prod(scales[-1]) / count
    if not 1 <= share <= MOST_BITS:
        each = f"{share:.3g} for each of its {count} codes, which hold 1 to {MOST_BITS}"
        raise ValueError(f"{label}: {bits} bits a position are {each}")
    return share


def scale_text(scale: Sequence[int]) -> str:
    """``4x4``."""
    return "x".join(map(str, scale))


def shrunk(x: Tensor, scale: Scale) -> Tensor:
    """A map (B, d, H, W) at a scale: the mean over the area of each of its positions, (B, d, h, w)."""
    return x if tuple(x.shape[-2:]) == scale else F.interpolate(x, scale, mode="area")


def enlarged(x: Tensor, scale: Scale, mode: Mode) -> Tensor:
    """(B, d, h, w) -> (B, d, H, W); what has that size already stays as it is."""
    return x if tuple(x.shape[-2:]) == scale else F.interpolate(x, scale, mode=mode)


@functools.lru_cache(maxsize=256)
def enlarging(small: Scale, large: Scale, mode: Mode, device: torch.device) -> Tensor:
    """(H W, h w): ``enlarged`` as a matrix on rows, which takes a tenth of its time where gradients come back."""
    with torch.inference_mode(False), torch.no_grad():
        units = torch.eye(small[0] * small[1], device=device, dtype=torch.float32).unflatten(1, small)[:, None]
        return enlarged(units, large, mode).flatten(1).t().contiguous()


def as_map(rows: Tensor, scale: Scale) -> Tensor:
    """(B, h w, d) in raster order -> (B, d, h, w)."""
    return rows.transpose(1, 2).unflatten(2, scale)


def as_rows(x: Tensor) -> Tensor:
    """(B, d, h, w) -> (B, h w, d)."""
    return x.flatten(2).transpose(1, 2)

"""A size, and the grid of positions that an architecture makes of it. Torch-free; everybody else asks here.

A size is the side of a square, (H, W), or (T, H, W) frames of a clip. A grid is what a code stack (B, *grid, D) has
between batch and depth: (H/f, W/f) of an image, (1 + (T-1)/4, H/8, W/8) of a causal clip, (N,) of N latent queries.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

from pydantic import BeforeValidator, TypeAdapter

from tokbench.config.base import Side
from tokbench.errors import TokbenchError, shown, size_text
from tokbench.errors import typed as typed

Grid: TypeAlias = tuple[int, ...]

_side = TypeAdapter(Side)


def _checked(value: Any) -> int | Grid:
    """A side as it is; (S, S) as S, so that one size has one content address. ValueError for anything else."""
    if isinstance(value, str) and "x" in value:
        value = value.split("x")
    if not isinstance(value, list | tuple):
        return _side.validate_python(value)
    if len(value) not in (2, 3):
        raise ValueError(f"a size is a side, [H, W] or [T, H, W] (frames first), not {len(value)} numbers")
    return plain(tuple(_side.validate_python(part) for part in value))


Size: TypeAlias = Annotated[int | tuple[int, ...], BeforeValidator(_checked)]
"""Pixels: a side, (H, W), or (T, H, W) with frames first."""


def plain(size: Sequence[int]) -> int | Grid:
    """The shape of an image or a clip, without its channels, as a size: (S, S) is S."""
    return size[0] if len(size) == 2 and size[0] == size[1] else tuple(size)


def axes(size: Size) -> Grid:
    """(H, W) or (T, H, W)."""
    return (size, size) if isinstance(size, int) else size


def pixels(size: Size) -> int:
    """Of an image, or of all frames of a clip."""
    return math.prod(axes(size))


def shortest(size: Size) -> int:
    """The shorter of height and width."""
    return min(axes(size)[-2:])


def parse_size(text: str, option: str = "size") -> Size:
    """``64``, ``64x96`` or ``17x64x64`` as typed. Raises TokbenchError naming ``option``."""
    try:
        return _checked(text)
    except ValueError:
        raise TokbenchError(
            f"{option} {text}: a size is a side such as 64, HEIGHTxWIDTH, or FRAMESxHEIGHTxWIDTH, 65536 at most"
        ) from None


def checked_size(size: Any, option: str) -> Size:
    """A size that a script gave; TokbenchError naming ``option`` where it is none."""
    try:
        if isinstance(size, bool | float | str):
            raise ValueError
        return _checked(size)
    except ValueError:
        raise TokbenchError(
            f"{option} is {shown(size)}; it must be a side in pixels, (H, W), or (T, H, W) of clips, each 1 to 65536"
        ) from None


def divided(size: Size, factors: Sequence[int], *, causal: bool = False) -> Grid:
    """The positions along each axis of ``size``, one of them ``factors`` pixels (or frames) long.

    For clips an image is a clip of one frame. ``causal``: the first frame is a position of its own, 1 + (T-1)/f.

    Raises:
        ValueError: one line, which begins with the size: it has other axes, or is not a multiple.
    """
    given = axes(size)
    if len(given) == len(factors) - 1:
        given = (1, *given)
    if len(given) != len(factors):
        kinds = {2: "an image's (H, W)", 3: "a clip's (T, H, W)"}
        raise ValueError(f"{size_text(size)} is {kinds[len(given)]}; the model takes {kinds[len(factors)]}")
    alone = [int(causal and axis == 0) for axis in range(len(given))]
    if any(n < 1 or (n - a) % f for n, f, a in zip(given, factors, alone, strict=True)):
        raise ValueError(_no_multiple(size, given, factors, alone))
    return tuple(a + (n - a) // f for n, f, a in zip(given, factors, alone, strict=True))


def _no_multiple(size: Size, given: Grid, factors: Sequence[int], alone: Sequence[int]) -> str:
    """What is wrong, with the nearest sizes that are right: both neighbours of a side, all rounded down and all up."""
    down = [max(n - (n - a) % f, a or f) for n, f, a in zip(given, factors, alone, strict=True)]
    up = [n + (a - n) % f for n, f, a in zip(given, factors, alone, strict=True)]
    both = dict.fromkeys(str(c[-1]) if isinstance(size, int) else size_text(c) for c in (down, up))
    frames = f" after the first of {given[0]} frames" if alone[0] else ""
    wrong = f"{typed(size)} is not a multiple of the downsampling {factor_text(factors)}{frames}"
    return f"{wrong}; nearest: {', '.join(both)}"


def factor_text(factors: Sequence[int]) -> str:
    """``8``, or ``4x8x8`` where the axes differ."""
    return str(factors[0]) if len(set(factors)) == 1 else "x".join(map(str, factors))

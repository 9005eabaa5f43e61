"""How the sheets of a run's images are laid out: what draws them and the page that cuts them up again agree here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

COLUMNS, MOST = 4, 8  # images in a row of a sheet, and on it
GAP = 2  # pixels between two images
FRAMES = 6  # of a clip, side by side


def extent(count: int, side: int) -> int:
    """Pixels that so many images take, one after the other."""
    return count * (side + GAP) - GAP


def zoom(width: int) -> int:
    """How many pixels of a sheet a pixel of images of this width is wide and high."""
    return max(1, 128 // width)


class Sheet(NamedTuple):
    """So many ``tiles`` of ``width`` times ``height`` pixels, in rows of ``columns``."""

    width: int
    height: int
    columns: int
    tiles: int

    @classmethod
    def of(cls, size: int | Sequence[int], n: int, pixels: tuple[int, int]) -> Sheet | None:
        """The sheet of a run's images; None where it is not one of these.

        Args:
            size: of an image: a side, (H, W), or of a clip (T, H, W).
            n: how many images there were to show.
            pixels: the sheet's width and height.
        """
        axes = (size, size) if isinstance(size, int) else tuple(size)
        if len(axes) < 2:  # of codes of something that is not an image
            return None
        *frames, height, width = axes
        shown = min(MOST, n)
        columns, rows = min(COLUMNS, shown), -(-shown // COLUMNS)
        scale = zoom(width) if width else 1
        tile = width * scale * min(FRAMES, frames[0] if frames else 1), height * scale
        right = (extent(columns, tile[0]), extent(rows, tile[1]))
        return cls(*tile, columns, shown) if shown and pixels == right else None

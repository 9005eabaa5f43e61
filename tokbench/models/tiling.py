"""An image too large for memory, encoded and decoded in tiles that overlap: one code map, as of the whole.

Of each tile the border that convolutions fill from beyond its edge is thrown away as far as they reach, and from one
tile to the next the values are blended. The codes are those of one grid, since it is the latents that are put together.
What is global in the network is not the same: GroupNorm's statistics are estimated for the whole image
(``normalised_together``), and attention looks no further than its tile.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tokbench.memory import available_memory, is_out_of_memory

from .extent import Extent
from .norms import Found, normalised_together

SIDES = (4096, 2048, 1024, 512, 256, 128, 64)
"""Of a tile, in pixels: the first that fits is taken."""

MOST_ATTENDED = 2**15
"""Positions that attention looks over at once: with N of them it takes N^2 steps, hours for a photograph's millions."""

_SHARE = 0.5  # of the memory there is: the images themselves and their metrics need some too
_WINDOWS = 8  # windows a side, at most, from which GroupNorm's statistics come, each of four margins at least
_log = logging.getLogger("tokbench")  # without a handler, a warning is one plain line on stderr
_said: set[tuple[str, int, int, int]] = set()


@dataclass(frozen=True)
class Tiles:
    """Sides in latent positions: of the tiles, of the border that is thrown away, and of the blend beyond it."""

    height: int
    width: int
    margin: int
    blend: int

    def starts(self, length: int, side: int) -> list[int]:
        """Where tiles of ``side`` begin so that they cover ``length``, evenly spread."""
        if side >= length:
            return [0]
        count = math.ceil((length - (overlap := 2 * self.margin + self.blend)) / (side - overlap))
        return [round(i * (length - side) / (count - 1)) for i in range(count)]

    def of(self, rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
        """The tiles of a map, in raster order."""
        for top in self.starts(rows, self.height):
            for left in self.starts(columns, self.width):
                yield slice(top, top + self.height), slice(left, left + self.width)

    def weights(self, at: slice, length: int, factor: int) -> Tensor:
        """How much each of a tile's rows (or columns) counts, ``factor`` to a position: 1, and less at inner edges."""
        size = (at.stop - at.start) * factor
        inward = torch.arange(size) + 0.5
        weights = torch.ones(size)
        for distance, inner in ((inward, at.start > 0), (size - inward, at.stop < length)):
            if inner:
                weights = weights * ((distance - self.margin * factor) / (self.blend * factor)).clamp(0, 1)
        return weights


def plan(extent: Extent, height: int, width: int, factor: int, most: int) -> int | None:
    """The side in pixels of the tiles that an image of ``height`` x ``width`` goes through in, None for whole.

    factor: pixels per side of one latent position. most: bytes that the network may hold.
    """

    def fits(pixels: int) -> bool:
        return extent.bytes_per_pixel * pixels <= most and extent.positions_per_pixel * pixels <= MOST_ATTENDED

    if fits(height * width):
        return None
    sides = [_whole(side, factor) for side in SIDES]
    return next((side for side in sides if fits(min(side, height) * min(side, width))), sides[-1])


def _whole(side: int, factor: int) -> int:
    """The side as a multiple of ``factor``, of at least 16 positions: an overlap must fit in."""
    return max(side // factor, 16) * factor


def in_pieces(network: nn.Module, given: Tensor, extent: Extent, factor: int, what: str, up: bool) -> Tensor:
    """``network(given)`` without gradients: whole where that fits, else image by image, else in tiles, said in a line.

    given: images (B, C, H, W), or with ``up`` latents (B, c, h, w) of which a decoder makes images. Takes
    smaller tiles where memory runs out all the same.
    """
    height, width = (n * (factor if up else 1) for n in given.shape[-2:])
    free = available_memory(given.device)
    side = plan(extent, height, width, factor, int(_SHARE * free))
    if side is None:
        together = plan(extent, height * len(given), width, factor, int(_SHARE * free)) is None
        return network(given) if together else torch.cat([network(image) for image in given.split(1)])
    while True:
        tiles = tiles_of(side, height, width, factor, extent.reach)
        count = len(list(tiles.of(height // factor, width // factor)))
        try:
            made = torch.cat([_tiled(network, image, tiles, factor, up) for image in given.split(1)])
        except (RuntimeError, MemoryError) as error:
            smaller = next((s for s in (_whole(s, factor) for s in SIDES) if s < side), None)
            if not is_out_of_memory(error) or smaller is None:
                raise
            side = smaller
            continue
        if (case := (what, width, height, side)) not in _said:
            _said.add(case)
            needed, attended = (each * height * width for each in (extent.bytes_per_pixel, extent.positions_per_pixel))
            why = f"about {needed / 2**30:.3g} of the {free / 2**30:.3g} GiB there are"
            if attended > MOST_ATTENDED:
                why += f", and attention over {attended:,.0f} positions"
            _log.warning(
                f"{width}x{height} pixels {what} in {count} tiles of {min(side, width)}x{min(side, height)} that "
                f"overlap by {(2 * tiles.margin + tiles.blend) * factor} (the whole would take {why}); "
                "values differ a little from the whole's"
            )
        return made


def tiles_of(side: int, height: int, width: int, factor: int, reach: int) -> Tiles:
    """Tiles of ``side`` pixels for an image: their margin is the reach, but an eighth of a tile at most."""
    margin = max(1, min(math.ceil(reach / factor), side // factor // 8))
    return Tiles(min(side, height) // factor, min(side, width) // factor, margin, max(1, margin // 2))


def _tiled(network: nn.Module, given: Tensor, tiles: Tiles, factor: int, up: bool) -> Tensor:
    """One image (1, C, H, W) through ``network.forward``: a compiled graph would not see the norms change."""
    into, out = (1, factor) if up else (factor, 1)  # a position's side in what goes in, and in what comes out
    rows, columns = (n // into for n in given.shape[-2:])
    found: Found = {}
    with normalised_together(network, found, given if up else None):
        network.forward(_windows(given, tiles, into))
        total: Tensor | None = None
        weight = given.new_zeros(rows * out, columns * out)
        for down, across in tiles.of(rows, columns):
            piece = network.forward(given[..., _times(down, into), _times(across, into)])
            if total is None:
                total = piece.new_zeros(1, piece.shape[1], rows * out, columns * out)
            vertical, horizontal = tiles.weights(down, rows, out), tiles.weights(across, columns, out)
            share = torch.outer(vertical, horizontal).to(piece)
            total[..., _times(down, out), _times(across, out)] += piece * share
            weight[_times(down, out), _times(across, out)] += share
    assert total is not None
    return total.div_(weight)


def _windows(given: Tensor, tiles: Tiles, into: int) -> Tensor:
    """Windows spread evenly over the image, as large together as one tile: (64 or fewer, C, h, w)."""
    rows, columns = (n // into for n in given.shape[-2:])
    spread = []
    for length, side in ((rows, tiles.height), (columns, tiles.width)):
        count = max(2, min(_WINDOWS, side // (4 * tiles.margin))) if side < length else 1
        size = side // count
        spread.append([slice(s, s + size) for s in _evenly(count, length - size)])
    return torch.cat([given[..., _times(a, into), _times(b, into)] for a in spread[0] for b in spread[1]])


def _evenly(count: int, last: int) -> list[int]:
    """``count`` numbers in 0..last, in the middle of as many equal stretches."""
    return [round((2 * i + 1) * last / (2 * count)) for i in range(count)]


def _times(part: slice, factor: int) -> slice:
    return slice(part.start * factor, part.stop * factor)

"""How a quantizer looks: one colour and one marker, the same in every figure and page.

Colours are those of Okabe and Ito (Color Universal Design, 2008), told apart by colour-blind readers too; markers
differ as well, so that grey prints work.
"""

from __future__ import annotations

import zlib
from typing import Literal, NamedTuple

_COLOURS = {
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "black": "#000000",
    "yellow": "#B8A800",  # darkened: the original #F0E442 is too faint for a line on white
}


class Style(NamedTuple):
    """A colour (hex), a matplotlib marker and plotly's name of the same marker."""

    colour: str
    marker: str
    symbol: str


_MARKERS = {
    "o": "circle",
    "s": "square",
    "^": "triangle-up",
    "D": "diamond",
    "v": "triangle-down",
    "P": "cross",
    "X": "x",
    "p": "pentagon",
    "<": "triangle-left",
    ">": "triangle-right",
    "h": "hexagon",
    "*": "star",
}

_KNOWN = {
    "vq": ("blue", "o"),
    "rq": ("vermillion", "s"),
    "lfq": ("green", "^"),
    "fsq": ("purple", "D"),
    "bsq": ("orange", "v"),
    "simvq": ("sky", "P"),
    "ibq": ("black", "X"),
    "gumbel": ("yellow", "p"),
    "gfq": ("green", "v"),
    "mcq": ("blue", "D"),
    "mgvq": ("blue", "X"),
    "gsq": ("sky", "s"),
    "fvq": ("sky", "^"),
    "leech": ("purple", "h"),
    "ms-rq": ("vermillion", "P"),
    "grouped": ("blue", "<"),
    "pq": ("blue", ">"),
    "grq": ("vermillion", "h"),
    "rotation": ("yellow", "*"),
    "none": ("black", "*"),
    # codecs of videos, which stand beside them
    "x264": ("vermillion", "X"),
    "x265": ("orange", "<"),
    "kvazaar": ("yellow", "v"),
    "vvenc": ("black", "D"),
    "svt-av1": ("sky", "v"),
}

# Of one rate: how many bits are really spent. Solid is what is stored, the others what a coder would need.
RATES: dict[str, tuple[str, Literal["-", "--", ":"]]] = {
    "fixed": ("fixed-length", "-"),
    "entropy": ("entropy-coded", "--"),
    "model": ("model-coded", ":"),
}
GREY = "#444444"  # of what belongs to no quantizer


def style(quantizer: str | None) -> Style:
    """The look of a quantizer by its registered name; an unknown name always gets the same one as well."""
    name = quantizer or "none"
    if name in _KNOWN:
        colour, marker = _KNOWN[name]
    else:
        # crc32, unlike hash(), is the same in every process.
        number = zlib.crc32(name.encode())
        colour = list(_COLOURS)[number % len(_COLOURS)]
        marker = list(_MARKERS)[number // len(_COLOURS) % len(_MARKERS)]
    return Style(_COLOURS[colour], marker, _MARKERS[marker])

"""One-D-Piece (turingmotors/One-D-Piece): TiTok trained on its first tokens, any number of which decode."""

from __future__ import annotations

from functools import partial

from . import titok
from .importer import Importer, register

register(Importer("one-d-piece", titok.recognises, partial(titok.read, tail_drop=True), like="titok"))

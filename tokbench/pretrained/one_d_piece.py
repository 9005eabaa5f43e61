"""One-D-Piece (turingmotors/One-D-Piece): TiTok trained on its first tokens, any number of which decode."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from . import titok
from .importer import Importer, TokenizerPlan, register


def read(given: dict[str, Tensor], config: dict[str, Any], path: str) -> TokenizerPlan:
    """A plan from the weights and the configuration, as TiTok's."""
    return titok.read(given, config, path, tail_drop=True)


register(Importer("one-d-piece", titok.recognises, read, like="titok"))

"""What pairs are encoded with: the tokenizer of what goes with the images, and the condition that its codes are."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from tokbench.config.condition import CodesConfig, partner_of
from tokbench.config.grid import Size
from tokbench.errors import TokbenchError
from tokbench.generators.building import codes_of, partner_codes
from tokbench.models.tokenizer import Tokenizer


class Conditioned(NamedTuple):
    """What pairs are encoded with beside the images: the condition that it makes, and its tokenizer."""

    config: CodesConfig
    tokenizer: Tokenizer

    @property
    def labels(self) -> int:
        """How many labels there may be in a map of them."""
        return self.tokenizer.config.channels

    def codes(self, partners: Tensor) -> Tensor:
        """As ``partner_codes``."""
        assert self.config.partner is not None
        return partner_codes(self.tokenizer, self.config.partner, partners)


def conditioned(data: str, source: str | None, size: Size, device: Any) -> Conditioned | None:
    """For the pairs of a spec and the tokenizer named for them; None where there are neither.

    Raises:
        TokbenchError: one without the other, or as ``codes_of``.
    """
    partner = partner_of(data)[1]
    if partner is None and source is None:
        return None
    if partner is None or source is None:
        need = f"name the tokenizer of its {partner} with --condition" if partner else "--condition goes with pairs"
        raise TokbenchError(f"{data}: {need}{'' if partner else ': folder:IMAGES,masks=MAPS'}")
    tokenizer = Tokenizer.from_pretrained(source).to(device).eval()
    return Conditioned(codes_of(tokenizer, partner, source=source, image_size=size), tokenizer)

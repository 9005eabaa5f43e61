"""Bits of coarser scales flipped by chance in what a next-scale generator reads: Infinity's bitwise self-correction
(Han et al. 2024, arXiv:2412.04431, section 3.4; FoundationVision/Infinity ``bitwise_self_correction.py``)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from quantizers.bsq import BSQ
from quantizers.functional import bits_to_index
from quantizers.gfq import GFQ
from quantizers.lfq import LFQ
from quantizers.ms_rq import MSRQ
from tokbench.errors import TokbenchError
from tokbench.models import Tokenizer


class FlippedBits:
    """Training codes of which a generator reads some bits wrong, and the codes that would make up for them.

    Args:
        most: of each scale of each image the chance of a flip is drawn evenly from 0 to this.
        scales: how many of the first scales have flips; None: all.
    """

    def __init__(self, tokenizer: Tokenizer, most: float, scales: int | None = None) -> None:
        quantizer = tokenizer.quantizer
        if not isinstance(quantizer, MSRQ) or not isinstance(quantizer.inner, BSQ | LFQ | GFQ):
            of = quantizer.inner if isinstance(quantizer, MSRQ) else quantizer
            raise TokbenchError(
                f"generator.bit_flips: the codes of {of.name} are not bits; it is for ms-rq over bsq, lfq or gfq"
            )
        self.quantizer, self.most = quantizer, most
        self.scales = len(quantizer.scales) if scales is None else min(scales, len(quantizer.scales))
        self.bits = [size.bit_length() - 1 for size in quantizer.codebook_sizes]

    wanted = drawn = True  # latents are needed, and what is read is drawn from the keys

    @torch.no_grad()
    def __call__(
        self, latents: Tensor, codes: Tensor | None = None, keys: Sequence[int] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Latents in the quantizer's layout -> codes that are read (B, N, D) and, of each subcode, those that are right
        (B, N). Each image's flips follow from its own of the B ``keys``, or all from torch's own generator."""
        noise = [torch.Generator().manual_seed(key) for key in keys] if keys is not None else [None] * len(latents)
        masks = torch.stack([self._mask(generator) for generator in noise]).to(latents.device)
        ends = (0, *self.quantizer.prefixes)
        right, known = self.quantizer.corrected(
            latents, lambda own, scale: own ^ masks[:, ends[scale] : ends[scale + 1]]
        )
        return known, list(self.quantizer.subcodes(right).unbind(-1))

    def _mask(self, generator: torch.Generator | None) -> Tensor:
        """The bits that are flipped, as codes (N, D)."""
        q = self.quantizer
        chance = self.most * torch.rand(len(q.scales), generator=generator)
        chance[self.scales :] = 0
        counts = torch.tensor([height * width for height, width in q.scales])
        each = chance.repeat_interleave(counts)[:, None]
        drawn = [torch.rand(len(each), bits, generator=generator) < each for bits in self.bits]
        return torch.stack([bits_to_index(flips) for flips in drawn], dim=-1)

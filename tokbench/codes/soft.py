"""Training codes and targets that a quantizer's latents give: soft targets, stochastic codes, flipped bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tokbench.codes.flips import FlippedBits
from tokbench.errors import TokbenchError
from tokbench.models import Tokenizer


class SoftCodes:
    """Training codes and targets of RQ-Transformer's section 3.2.3: soft targets, stochastic codes, or both.

    Args:
        soft: temperature of the targets, None for hard ones.
        stochastic: temperature at which codes are drawn, None for the nearest ones.
    """

    def __init__(self, tokenizer: Tokenizer, soft: float | None, stochastic: float | None) -> None:
        self.quantizer: Any = tokenizer.quantizer
        self.soft, self.stochastic = soft, stochastic
        name = type(self.quantizer).__name__
        for wanted, key, method in ((soft, "soft_targets", "soft_targets"), (stochastic, "stochastic_codes", "sample")):
            if wanted is not None and not hasattr(self.quantizer, method):
                raise TokbenchError(f"generator.{key}: {name} has no code vectors to take distances to")
        self.path = soft is not None and stochastic is not None and self.quantizer.num_codebooks > 1
        # In the space where the quantizer compares: with codebook_dim that of its own linear map of the latents.
        self.tables = compared_vectors(self.quantizer) if self.path else []

    @property
    def wanted(self) -> bool:
        """Whether latents are needed at all."""
        return self.soft is not None or self.stochastic is not None

    @property
    def drawn(self) -> bool:
        """Whether the codes depend on the keys."""
        return self.stochastic is not None

    @torch.no_grad()
    def __call__(
        self, latents: Tensor, codes: Tensor | None = None, keys: Sequence[int] | None = None
    ) -> tuple[Tensor, list[Tensor] | None]:
        """Latents in the quantizer's layout -> codes (B, *grid, D) and targets (B, T, K_d) of each depth, or None.

        Codes that are known (from a cache) are not computed again, unless they are to be drawn: each image's from its
        own of the B ``keys``, in whatever batch it is, or all from torch's own generator.
        """
        q = self.quantizer
        if self.stochastic is not None and keys is not None:
            noise = [torch.Generator(latents.device).manual_seed(key) for key in keys]
            rows = zip(latents.split(1), noise, strict=True)
            codes = torch.cat([q.sample(row, self.stochastic, generator) for row, generator in rows])
        elif self.stochastic is not None:
            codes = q.sample(latents, self.stochastic)
        elif codes is None:
            codes = q.encode(latents)
        if self.soft is None:
            return codes, None
        if self.path:
            flat = (latents.movedim(1, -1) if q.channel_first else latents).flatten(1, -2)
            compared = flat if q.project_in is None else q.project_in(flat)
            return codes, targets_along(self.tables, compared, codes.flatten(1, -2), self.soft)
        soft = q.soft_targets(latents, self.soft).flatten(1, -3)
        return codes, list(soft.unbind(-2))


NEED_LATENTS = ("soft_targets", "stochastic_codes", "bit_flips")


def need_latents(generator: Any) -> bool:
    """Whether the settings of a generator ask for codes or targets that latents alone give."""
    return any(getattr(generator, key, None) for key in NEED_LATENTS)


def training_codes(tokenizer: Tokenizer, generator: Any) -> SoftCodes | FlippedBits:
    """As the settings of a generator say; those without such settings (``mlm``) take the codes as they are."""
    if flips := getattr(generator, "bit_flips", 0.0):
        return FlippedBits(tokenizer, flips, generator.flipped_scales)
    return SoftCodes(tokenizer, getattr(generator, "soft_targets", None), getattr(generator, "stochastic_codes", None))


def compared_vectors(quantizer: Any) -> list[Tensor]:
    """The code vectors (K, d) of each depth as a residual quantizer compares them with its (mapped) latents."""
    book: Tensor = quantizer.codebook.detach().float()
    return list(book) if book.dim() == 3 else [book] * int(quantizer.num_codebooks)


def targets_along(tables: Sequence[Tensor], latents: Tensor, codes: Tensor, temperature: float) -> list[Tensor]:
    """softmax over k of -|r_{d-1} - e_k|^2 / temperature with the residuals of the *given* codes.

    Args:
        tables: code vectors (K_d, dim) of each depth.
        latents: (B, T, dim), in the space of the tables.
        codes: (B, T, D).
    """
    residual, found = latents.float(), []
    for depth, table in enumerate(tables):
        table = table.to(residual.device)
        found.append(((2 * residual @ table.T - table.square().sum(1)) / temperature).softmax(-1))
        residual = residual - table[codes[..., depth]]
    return found

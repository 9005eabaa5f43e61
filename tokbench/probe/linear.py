"""Linear probes: one layer on what frozen networks make of codes. How much of a class stands there for the taking."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokbench.errors import TokbenchError
from tokbench.generators import AR

Features = Callable[[Tensor], Tensor]
"""Codes (B, *grid, D) -> (B, F), without gradient."""


class LinearClassifier(nn.Module):
    """Features, each brought to mean 0 and variance 1 over the batches seen (a BatchNorm without weights, as He et al.
    2022, arXiv:2111.06377, have before a linear probe), and a linear layer."""

    input_parameters = 0

    def __init__(self, features: Features, width: int, classes: int) -> None:
        super().__init__()
        self._frozen = (features,)  # a tuple: their weights are no part of this
        self.norm = nn.BatchNorm1d(width, affine=False)
        self.head = nn.Linear(width, classes)

    def forward(self, codes: Tensor) -> Tensor:
        """Codes -> logits (B, classes)."""
        with torch.no_grad():
            found = self._frozen[0](codes)
        logits: Tensor = self.head(self.norm(found))
        return logits

    def loss(self, codes: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self(codes), labels)


def of_tokenizer(quantizer: Any) -> Features:
    """The code vectors of all positions side by side: the map that the decoder is given."""

    def features(codes: Tensor) -> Tensor:
        found: Tensor = quantizer.decode(codes)
        return found.flatten(1)

    return features


def of_generator(generator: Any, quantizer: Any, block: int | None = None) -> tuple[Features, int]:
    """The mean over positions of what an AR has after ``block`` blocks, half of them where nothing is said, as GigaTok
    (Xiong et al. 2025, arXiv:2504.08736) probes its AR models; and that block. Classes are not told.

    Raises:
        TokbenchError: a generator of another kind, one with a condition of another kind, or no such block.
    """
    if not isinstance(generator, AR):
        raise TokbenchError(f"a probe reads the blocks of an ar, and this is {generator.config.generator.name}")
    blocks = generator.settings.layers
    chosen = max(1, blocks // 2) if block is None else block
    if not 1 <= chosen <= blocks:
        raise TokbenchError(f"--block {chosen}: the generator has {blocks}, counted from 1")
    generator.after_block(torch.zeros(1, *generator.shape, dtype=torch.int64, device=generator.device), chosen)

    def features(codes: Tensor) -> Tensor:
        return generator.after_block(quantizer.subcodes(codes), chosen).mean(1)

    return features, chosen

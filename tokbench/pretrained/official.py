"""What the writers of official layouts share: weights by official names, and quantizers that a layout cannot hold."""

from __future__ import annotations

from typing import Any

from torch import Tensor

import quantizers
from tokbench.errors import TokbenchError
from tokbench.models import Tokenizer

from .names import Layout


def autoencoder(tokenizer: Tokenizer, layout: Layout) -> dict[str, Tensor]:
    """Encoder and decoder by official names, on the CPU. TokbenchError for a weight that has none."""
    model: Any = tokenizer.config.model
    tensors = {}
    for name, tensor in tokenizer.state_dict().items():
        if name.startswith("quantizer."):
            continue
        official = layout.official(name, len(model.multipliers))
        if official is None:
            raise TokbenchError(f"the layout has no place for {name} {list(tensor.shape)}")
        tensors[official] = tensor.detach().cpu().contiguous().clone()
    return tensors


def plain(quantizer: quantizers.Quantizer, holder: str) -> None:
    """TokbenchError for maps around the codebook, which ``holder`` has no place for."""
    if quantizer.project_in is not None or quantizer.project_out is not None:
        raise TokbenchError(f"{holder} has no maps around its codebook; this quantizer has (codebook_dim)")


def plain_vq(quantizer: quantizers.Quantizer, holder: str) -> quantizers.VQ:
    """The quantizer, a plain codebook as ``holder`` has it; TokbenchError for another."""
    if not isinstance(quantizer, quantizers.VQ) or quantizer.name != "vq":  # vcq is one whose positions count
        raise TokbenchError(f"{holder} holds a vq quantizer, this tokenizer has {quantizer.name}")
    plain(quantizer, holder)
    if quantizer.codes.l2_norm:
        raise TokbenchError(f"{holder} has no l2-normalised codebook")
    return quantizer

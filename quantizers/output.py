"""What a quantizer returns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import overload

import torch
from torch import Tensor


@dataclass(eq=False)
class QuantizerOutput:
    """Read by name, or as the three values ``quantized, indices, loss``: unpacked, indexed, sliced.

    quantized: shape and dtype of the input. indices: int64 (B, ..., D). loss: scalar to add to a reconstruction loss,
    already weighted; 0 in eval mode. losses: its unweighted parts by name, detached; empty in eval mode.
    """

    quantized: Tensor
    indices: Tensor
    loss: Tensor
    losses: dict[str, Tensor] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.quantized, self.indices, self.loss))

    def __len__(self) -> int:
        return 3

    @overload
    def __getitem__(self, index: int) -> Tensor: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Tensor, ...]: ...

    def __getitem__(self, index: int | slice) -> Tensor | tuple[Tensor, ...]:
        return tuple(self)[index]


# A tree of tensors for torch.export, torch.func and torch.utils.checkpoint.
torch.export.register_dataclass(QuantizerOutput, serialized_type_name="quantizers.QuantizerOutput")

"""Quantizers whose codes are constants: buffers that no state dict holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from quantizers.base import Quantizer


class Constant(Quantizer):
    """Base class. A subclass registers its constants as buffers that are not persistent, and fills them in
    ``reset_parameters``; they are there again after ``to_empty``, and after weights took the place of meta tensors."""

    def reset_parameters(self) -> None:
        """Fill the constants in, whatever they held."""
        raise NotImplementedError

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Constant:
        super()._apply(fn, recurse)
        self.reset_parameters()  # ``to_empty`` left them without values
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *rest)
        meta = any(buffer is not None and buffer.is_meta for buffer in self._buffers.values())
        if meta and rest[0].get("assign_to_params_buffers"):
            # Weights take the place of those on the meta device, and with them the constants.
            device = next((t.device for t in state_dict.values() if isinstance(t, Tensor)), torch.device("cpu"))
            self.to_empty(device=device, recurse=False)

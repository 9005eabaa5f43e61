"""The model FLOPs of one training step, counted while the step runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class StepFlops(TorchDispatchMode):
    """Adds up the matrix products, convolutions and attention of what runs inside, by torch's own formulas.

    Not FlopCounterMode itself: it takes composite operators apart and hangs hooks on every module, and a step that is
    counted must be the same step. What activation checkpointing computes a second time is no work of the model
    (Chowdhery et al. 2022, arXiv:2204.02311, appendix B) and is left out where ``recomputes`` is set.
    """

    def __init__(self, recomputes: bool = False) -> None:
        super().__init__()
        self.recomputes, self.total = recomputes, 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        formula = flop_registry.get(getattr(func, "_overloadpacket", None))
        if formula is not None and not (self.recomputes and _recomputing()):
            self.total += int(formula(*args, **(kwargs or {}), out_val=result))
        return result


def _recomputing() -> bool:
    # Within a backward pass gradients are recorded only while a forward pass is being repeated.
    return torch._C._current_graph_task_id() != -1 and torch.is_grad_enabled()

"""Whether a call computes values or is recorded: what a branch on data, a counter or an average must ask first."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._subclasses import FakeTensor


def is_exporting() -> bool:
    """Whether the call becomes a program that runs without this library: torch.export, torch.onnx, torch.jit.trace."""
    return _exporting() or torch.jit.is_tracing()


def is_compiling() -> bool:
    """Whether torch.compile traces the call: it runs in this process, with this library's operators and state."""
    return torch.compiler.is_compiling() and not _exporting()


def _exporting() -> bool:
    # The torch.compile of torch 2.11 takes torch.compiler.is_exporting() for true whatever it traces; what that
    # answers outside of it stands here.
    return torch.compiler._is_exporting_flag


def has_values(tensor: Tensor) -> bool:
    """Whether ``tensor`` can be looked at and counted.

    False while a graph is recorded, on the meta device, and inside the transforms of torch.func.
    """
    if torch.compiler.is_compiling() or is_exporting():
        return False
    if tensor.device.type == "meta" or isinstance(tensor, FakeTensor):
        return False
    return not is_transformed()


def is_transformed() -> bool:
    """Whether the call is inside a transform of torch.func (vmap, grad, ...), whose functions may not change state."""
    return torch._C._are_functorch_transforms_active()


def is_recomputing() -> bool:
    """Whether a backward pass runs this forward pass again, as activation checkpointing does: it has been counted."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1

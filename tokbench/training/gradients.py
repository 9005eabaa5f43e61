"""Gradients of one optimizer step: their norm, clipping, and vectors of them over all processes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from accelerate import Accelerator
from torch import Tensor, nn


def clip_gradients(
    accelerator: Accelerator, optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter], limit: float | None
) -> Tensor:
    """The global norm before clipping to ``limit`` (None: no clipping). Unscales this optimizer's gradients first."""
    # Not accelerator.clip_grad_norm_: it unscales every optimizer, which fp16 allows once a step.
    accelerator.unscale_gradients(optimizer)
    parameters = [p for p in parameters if p.grad is not None]
    if limit is not None:
        norm = nn.utils.clip_grad_norm_(parameters, limit)
    else:
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    # Of sharded gradients each process has its part of the norm until it is asked for the whole.
    return norm.full_tensor() if hasattr(norm, "full_tensor") else norm


def average_over_processes(accelerator: Accelerator, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Each tensor's mean over the processes, in one message."""
    if accelerator.num_processes == 1:
        return list(tensors)
    flat = accelerator.reduce(torch.cat([t.reshape(-1).float() for t in tensors]), "mean")
    parts = flat.split([t.numel() for t in tensors])
    return [part.view(t.shape) for part, t in zip(parts, tensors, strict=True)]


def loss_scale(accelerator: Accelerator) -> Tensor | float:
    """What fp16 training multiplies losses by so that small gradients survive; 1 in other precisions."""
    scaler = accelerator.scaler
    return scaler.get_scale() if scaler is not None and scaler.is_enabled() else 1.0

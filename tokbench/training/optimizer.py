"""The optimizer of everything that is trained here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch


def adamw(
    parameters: Iterable[Any], *, lr: float, betas: tuple[float, float], weight_decay: float = 0.0
) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) over parameters or groups of them, in one kernel.

    Fused it passes once over weights, gradients and moments where the loop over parameters passes a dozen times: a
    fifth of the loop's time on a CPU, where VQ-GAN's optimizer was a seventh of a small batch's step.
    """
    return torch.optim.AdamW(parameters, lr=lr, betas=betas, weight_decay=weight_decay, fused=True)

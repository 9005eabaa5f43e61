"""LeCam regularisation: real logits are held near the average generated logit, and the other way round."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LeCam(nn.Module):
    """E[relu(D(x) - a_fake)^2] + E[relu(a_real - D(x'))^2], a the moving averages of the logits, from 0.

    Tseng et al. 2021, arXiv:2104.03310; this one-sided form is google/lecam-gan's and Open-MAGVIT2's. The averages are
    those of the steps before: call ``update`` after the step, with means over all processes and micro-batches.
    """

    real: Tensor
    fake: Tensor

    def __init__(self, decay: float = 0.999) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("real", torch.zeros(()))
        self.register_buffer("fake", torch.zeros(()))

    def forward(self, real: Tensor, fake: Tensor) -> Tensor:
        """Logits of any shape -> the unweighted regulariser."""
        return F.relu(real.float() - self.fake).square().mean() + F.relu(self.real - fake.float()).square().mean()

    @torch.no_grad()
    def update(self, real: Tensor, fake: Tensor) -> None:
        """Move the averages towards the mean logits of one step."""
        self.real.lerp_(real.float(), 1 - self.decay)
        self.fake.lerp_(fake.float(), 1 - self.decay)

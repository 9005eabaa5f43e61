"""R1: the discriminator must be flat where the real images are."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def r1_penalty(discriminator: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """E |d D(x) / d x|^2 over real images (B, C, H, W), an image's logits summed; the caller multiplies by gamma / 2.

    Mescheder et al. 2018, arXiv:1801.04406, eq. 9. The gradient is itself differentiated, which rules out a compiled
    ``discriminator``.
    """
    images = images.detach().float().requires_grad_(True)
    with torch.autocast(images.device.type, enabled=False):
        logits = discriminator(images)
        (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()

"""VQ-GAN's adaptive weight: the discriminator pulls as hard on the last layer as everything else."""

from __future__ import annotations

from torch import Tensor


def adaptive_weight(nll_gradient: Tensor, generator_gradient: Tensor, delta: float | Tensor, maximum: float) -> Tensor:
    """lambda = clamp(|grad nll| / (|grad g| + delta), 0, maximum) (Esser et al. 2021, arXiv:2012.09841, eq. 7).

    Both gradients are those of the decoder's last layer, averaged over whatever makes one optimizer step: the norm of
    an average is not the average of norms. delta is 1e-6 in the paper and 1e-4 in its code.
    """
    ratio = nll_gradient.float().norm() / (generator_gradient.float().norm() + delta)
    return ratio.clamp(0.0, maximum).detach()

"""GAN losses on logits of any shape (B, ...): one number per image or patch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def discriminator_loss(kind: str, real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's loss, halved as in taming-transformers ``vqperceptual.py``.

    hinge: (E[relu(1 - D(x))] + E[relu(1 + D(x'))]) / 2. non-saturating: (E[softplus(-D(x))] + E[softplus(D(x'))]) / 2
    (Goodfellow et al. 2014; taming's "vanilla"). least-squares: (E[(D(x) - 1)^2] + E[D(x')^2]) / 2 (Mao et al. 2017,
    arXiv:1611.04076, eq. 9).
    """
    real, fake = real.float(), fake.float()
    if kind == "hinge":
        return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())
    if kind == "non-saturating":
        return 0.5 * (F.softplus(-real).mean() + F.softplus(fake).mean())
    if kind == "least-squares":
        return 0.5 * ((real - 1).square().mean() + fake.square().mean())
    raise ValueError(f"no GAN loss {kind!r}: hinge, non-saturating or least-squares")


def generator_loss(kind: str, fake: Tensor) -> Tensor:
    """The generator's term for logits of its images.

    hinge: -E[D(x')]. non-saturating: E[softplus(-D(x'))]. least-squares: E[(D(x') - 1)^2] / 2.
    non-saturating-mean: the same of each image's mean logit, as in Open-MAGVIT2's ``non_saturate_gen_loss``.
    """
    fake = fake.float()
    if kind == "hinge":
        return -fake.mean()
    if kind == "non-saturating":
        return F.softplus(-fake).mean()
    if kind == "non-saturating-mean":
        return F.softplus(-fake.flatten(1).mean(1)).mean()
    if kind == "least-squares":
        return 0.5 * (fake - 1).square().mean()
    raise ValueError(f"no GAN loss {kind!r}: hinge, non-saturating, non-saturating-mean or least-squares")


def accuracy(kind: str, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Fractions of the real and of the generated logits on the right side of the border."""
    border = 0.5 if kind == "least-squares" else 0.0
    return (real > border).float().mean(), (fake < border).float().mean()

"""The terms of a tokenizer's loss, one idea a file."""

from tokbench.losses.adaptive import adaptive_weight
from tokbench.losses.adversarial import discriminator_loss, generator_loss
from tokbench.losses.augment import augment
from tokbench.losses.discriminator import DiscriminatorObjective
from tokbench.losses.lecam import LeCam
from tokbench.losses.penalty import r1_penalty
from tokbench.losses.reconstruction import ReconstructionLoss

__all__ = [
    "DiscriminatorObjective",
    "LeCam",
    "ReconstructionLoss",
    "adaptive_weight",
    "augment",
    "discriminator_loss",
    "generator_loss",
    "r1_penalty",
]

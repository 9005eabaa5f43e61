"""What the discriminator minimises, as one module: one forward under DDP covers every parameter."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tokbench.config.loss import AdversarialConfig
from tokbench.losses.adversarial import accuracy, discriminator_loss, generator_loss
from tokbench.losses.augment import augment
from tokbench.losses.lecam import LeCam
from tokbench.losses.penalty import r1_penalty


class DiscriminatorObjective(nn.Module):
    """A discriminator network with its loss, regularisers and the state these keep."""

    def __init__(self, network: nn.Module, config: AdversarialConfig) -> None:
        super().__init__()
        self.network, self.config = network, config
        self.lecam = LeCam(config.lecam_decay) if config.lecam else None

    def forward(self, real: Tensor, fake: Tensor, penalise: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
        """Real and generated images (B, C, H, W) in [-1, 1] -> loss with its gradient, values to log.

        ``penalise`` adds R1, times the steps between such penalties (Karras et al. 2020, arXiv:1912.04958, section 3).
        """
        config = self.config
        # Apart, not joined: batch statistics are of one kind of image, as in taming.
        real_logits = self.network(augment(real, config.augment))
        fake_logits = self.network(augment(fake.detach(), config.augment))
        loss = discriminator_loss(config.loss, real_logits, fake_logits)
        right, caught = accuracy(config.loss, real_logits, fake_logits)
        values = {
            "discriminator": loss,
            "accuracy_real": right,
            "accuracy_fake": caught,
            "logits_real": real_logits.float().mean(),
            "logits_fake": fake_logits.float().mean(),
        }
        if self.lecam is not None:
            values["lecam"] = self.lecam(real_logits, fake_logits)
            loss = loss + config.lecam * values["lecam"]
        if penalise:
            # ``forward`` and not the call: a compiled network cannot be differentiated twice.
            values["r1"] = r1_penalty(self.network.forward, real)
            loss = loss + 0.5 * config.r1 * config.r1_every * values["r1"]
        return loss, {name: value.detach() for name, value in values.items()}

    def generator_term(self, fake: Tensor) -> Tensor:
        """The unweighted term of the autoencoder's loss, with its gradient to ``fake``."""
        kind = self.config.generator_loss or self.config.loss
        return generator_loss(kind, self.network(augment(fake, self.config.augment)))

    @torch.no_grad()
    def remember(self, real_logits: Tensor, fake_logits: Tensor) -> None:
        """After a step: its mean logits, over all processes, for LeCam."""
        if self.lecam is not None:
            self.lecam.update(real_logits, fake_logits)

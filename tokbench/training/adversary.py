"""The discriminator's side of a step, and how its gradient joins the autoencoder's."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from tokbench.config.loss import AdversarialConfig
from tokbench.config.recipe import TokenizerRecipe
from tokbench.losses import DiscriminatorObjective, adaptive_weight
from tokbench.models.discriminator import build_discriminator
from tokbench.models.layout import channels_last_
from tokbench.training.finite import check_finite
from tokbench.training.gradients import average_over_processes, clip_gradients, loss_scale
from tokbench.training.optimizer import adamw

Values = dict[str, Tensor]


class Adversary:
    """Discriminator and its optimizer. It counts no steps: it is told the autoencoder's.

    BatchNorm in the discriminator works on one process's images, so with it two processes differ from one with the
    joined batch (as taming's do); with ``norm: group`` or ``none`` they are equal.
    """

    def __init__(self, recipe: TokenizerRecipe, config: AdversarialConfig, accelerator: Accelerator) -> None:
        self.config, self.accelerator = config, accelerator
        training = recipe.training
        self.learning_rate = config.learning_rate or training.learning_rate
        network = build_discriminator(config.discriminator, recipe.data.image_size, recipe.data.channels)
        self.bare = DiscriminatorObjective(network, config)
        if training.channels_last:
            channels_last_(self.bare)
        if training.compile:
            network.compile()
        optimizer = adamw(
            self.bare.parameters(), lr=self.learning_rate, betas=config.betas, weight_decay=config.weight_decay
        )
        self.objective, self.optimizer = accelerator.prepare(self.bare, optimizer)

    def gradients(self, real: Sequence[Tensor], fake: Sequence[Tensor], step: int, factor: float) -> Values:
        """Gradients for one optimizer step over micro-batches of real and generated images; values to log.

        Raises NotFinite.
        """
        accelerator, config = self.accelerator, self.config
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * factor
        self.objective.train()
        self.optimizer.zero_grad(set_to_none=True)
        penalise = config.r1 > 0 and (step - config.start) % config.r1_every == 0
        sums: Values = {}
        for i, (x, y) in enumerate(zip(real, fake, strict=True)):
            last = i == len(real) - 1
            with nullcontext() if last else accelerator.no_sync(self.objective):
                with accelerator.autocast():
                    loss, values = self.objective(x, y, penalise)
                accelerator.backward(loss / len(real))
            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + value.float() / len(real)
        sums["discriminator_gradient_norm"] = clip_gradients(
            accelerator, self.optimizer, self.objective.parameters(), config.gradient_clip
        )
        check_finite(accelerator, sums, "discriminator", "discriminator_gradient_norm")
        return sums

    def remember(self, sums: Values) -> None:
        """After the optimizer step whose values these are: its mean logits, for LeCam."""
        if self.config.lecam:
            logits = [sums["logits_real"], sums["logits_fake"]]
            self.bare.remember(*average_over_processes(self.accelerator, logits))

    def state_dict(self) -> dict[str, Any]:
        return {"objective": self.bare.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.bare.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])


class AdversarialBackward:
    """The backward pass of ``nll + quantizer + factor * weight * lambda * g`` over the micro-batches of one step.

    Losses on the image are differentiated to the image only, once each, and their gradients joined there: the
    autoencoder is passed through once, as without a discriminator, and the discriminator collects no gradients.

    lambda depends on the gradients of the whole step. With one micro-batch these are known before the autoencoder's
    backward pass. With several, and the adaptive weight, g's gradients are kept apart and joined at the end: that
    costs a second backward pass and the memory of one more set of gradients.
    """

    def __init__(
        self,
        adversary: Adversary,
        parameters: Sequence[nn.Parameter],
        last_layer: Tensor,
        micro_batches: int,
        factor: float,
    ) -> None:
        self.adversary, self.accelerator, self.config = adversary, adversary.accelerator, adversary.config
        self.parameters, self.last_layer = parameters, last_layer
        self.count, self.factor = micro_batches, factor
        self.scale = loss_scale(self.accelerator)
        self.apart = self.config.weighting == "adaptive" and micro_batches > 1
        self.kept: list[Tensor | None] = [None] * len(parameters)
        self.generator = torch.zeros((), device=self.accelerator.device)
        self.weight = torch.ones((), device=self.accelerator.device)

    def __call__(self, reconstruction: Tensor, nll: Tensor, quantizer_loss: Tensor) -> None:
        """One micro-batch. ``reconstruction`` fp32 with its graph; ``nll`` depends on the model through it alone."""
        with self.accelerator.autocast():
            term = self.adversary.bare.generator_term(reconstruction)
        self.generator += term.detach() / self.count
        # In the loss's scale until the end, or fp16 gradients of single pixels vanish.
        (from_nll,) = torch.autograd.grad(nll * self.scale, reconstruction)
        (from_term,) = torch.autograd.grad(term * self.scale, reconstruction)
        if self.apart:
            self._keep(reconstruction, from_term)
            joined = from_nll
        else:
            if self.config.weighting == "adaptive":
                self.weight = self._adaptive(reconstruction, from_nll, from_term)
            joined = from_nll + self._coefficient() * from_term
        # Its gradient to the reconstruction is exactly ``joined``.
        carrier = (reconstruction * (joined / self.scale)).sum() + quantizer_loss
        self.accelerator.backward(carrier / self.count)

    def finish(self) -> Values:
        """Call after the last micro-batch and before clipping. The generator's term, its weight, their product."""
        if self.apart:
            kept = [(p, g) for p, g in zip(self.parameters, self.kept, strict=True) if g is not None]
            averaged = average_over_processes(self.accelerator, [g for _, g in kept])
            ours = next(g for (p, _), g in zip(kept, averaged, strict=True) if p is self.last_layer)
            theirs = self.last_layer.grad
            assert theirs is not None
            config = self.config
            self.weight = adaptive_weight(theirs, ours, config.adaptive_delta * self.scale, config.adaptive_max)
            for (parameter, _), gradient in zip(kept, averaged, strict=True):
                share = (self._coefficient() * gradient).to(parameter.dtype)
                parameter.grad = share if parameter.grad is None else parameter.grad.add_(share)
        added = self._coefficient() * self.generator
        return {"generator": self.generator, "lambda": self.weight, "adversarial": added}

    def _coefficient(self) -> Tensor:
        return self.weight * (self.config.weight * self.factor)

    def _adaptive(self, reconstruction: Tensor, from_nll: Tensor, from_term: Tensor) -> Tensor:
        gradients = [
            torch.autograd.grad(reconstruction, self.last_layer, v, retain_graph=True)[0] for v in (from_nll, from_term)
        ]
        nll, term = average_over_processes(self.accelerator, gradients)
        return adaptive_weight(nll, term, self.config.adaptive_delta * self.scale, self.config.adaptive_max)

    def _keep(self, reconstruction: Tensor, from_term: Tensor) -> None:
        found = torch.autograd.grad(
            reconstruction, self.parameters, from_term / self.count, retain_graph=True, allow_unused=True
        )
        for i, gradient in enumerate(found):
            if gradient is not None:
                before = self.kept[i]
                self.kept[i] = gradient if before is None else before + gradient


def owner_of(weight: Tensor, module: nn.Module) -> nn.Module:
    """The layer of ``module`` whose weight it is."""
    return next(m for m in module.modules() if getattr(m, "weight", None) is weight)

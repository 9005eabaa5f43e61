"""Stage 1: what one optimizer step of a tokenizer is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from tokbench.config.recipe import TokenizerRecipe
from tokbench.config.training import Part
from tokbench.data import Batch, loader, open_split
from tokbench.data.maps import to_model, to_samples, visible
from tokbench.errors import TokbenchError
from tokbench.losses import ReconstructionLoss
from tokbench.models import Tokenizer
from tokbench.models.inflation import start_from
from tokbench.models.layout import channels_last, channels_last_
from tokbench.pictures import grid, save_picture
from tokbench.training.adversary import AdversarialBackward, Adversary, owner_of
from tokbench.training.collapse import least_used, usage_of_window
from tokbench.training.compiling import keep_eager
from tokbench.training.ema import averaged
from tokbench.training.finite import check_finite, guard_latents, step_guard, step_together
from tokbench.training.gradients import clip_gradients
from tokbench.training.optimizer import adamw
from tokbench.training.resuming import trained_on


class TokenizerObjective(nn.Module):
    """The tokenizer as what one forward under DDP covers: every parameter, and no loss on the image.

    The parts in ``frozen`` have no gradient and stay in evaluation mode.
    """

    def __init__(self, tokenizer: Tokenizer, frozen: Sequence[Part] = ()):
        super().__init__()
        self.tokenizer = tokenizer
        self.frozen = [tokenizer.get_submodule(part).requires_grad_(False) for part in frozen]

    def train(self, mode: bool = True) -> TokenizerObjective:
        """As ever, for what is not frozen."""
        super().train(mode)
        for part in self.frozen:
            part.eval()
        return self

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Images in [-1, 1] -> reconstruction, the quantizer's loss, its unweighted terms by name."""
        out = self.tokenizer(images)
        terms = {name: value.detach() for name, value in out.losses.items() if value.dim() == 0}
        return out.reconstruction, out.loss, {"quantizer": out.loss.detach(), **terms}


class TokenizerTask:
    """Holds tokenizer, discriminator, both optimizers and averaged weights; the loop calls ``step``."""

    product = "tokenizer"

    def __init__(self, recipe: TokenizerRecipe, accelerator: Accelerator):
        self.recipe, self.accelerator = recipe, accelerator
        training = recipe.training
        self.tokenizer = Tokenizer(recipe.tokenizer)
        if recipe.start_from is not None:
            for line in start_from(self.tokenizer, recipe.start_from):
                accelerator.print(f"start_from: {line}")
        self.parameters = self.tokenizer.parameter_count
        self.tokenizer.checkpoint_activations(training.activation_checkpointing)
        for module in self.tokenizer.quantizer.modules():
            if hasattr(module, "update_every"):  # a moving average sees an optimizer step, not its micro-batches
                module.update_every = training.gradient_accumulation  # type: ignore[assignment]
        objective = TokenizerObjective(self.tokenizer, training.freeze)
        if training.channels_last:
            channels_last_(objective)
        decayed = [p for p in objective.parameters() if p.requires_grad and p.dim() > 1]
        others = [p for p in objective.parameters() if p.requires_grad and p.dim() <= 1]
        self.trained = [*decayed, *others]
        self.optimizer = adamw(
            [{"params": decayed, "weight_decay": training.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=training.learning_rate,
            betas=training.betas,
        )
        if self.trained:
            self.objective, self.optimizer = accelerator.prepare(objective, self.optimizer)
        else:  # a palette that k-means finds: DDP takes no model without gradients
            self.objective, self.optimizer = objective.to(accelerator.device), accelerator.prepare(self.optimizer)
        self._bad_latents = torch.zeros((), dtype=torch.bool, device=accelerator.device)
        guard_latents(self.tokenizer.quantizer, self._bad_latents)
        self.average = averaged(self.tokenizer, training.ema_decay) if training.ema_decay else None
        self.reconstruction_loss = ReconstructionLoss(recipe.loss).to(accelerator.device)
        if training.channels_last:
            channels_last_(self.reconstruction_loss)
        adversarial = recipe.loss.adversarial
        self.adversary = Adversary(recipe, adversarial, accelerator) if adversarial is not None else None
        self._forward: Callable[..., Any] = self.objective
        self._nll: Callable[..., Any] = self.reconstruction_loss
        if training.compile:
            self._compile()

    def _compile(self) -> None:
        # A codebook's start and restarts depend on the data and draw from torch's generator: traced they are compiled
        # anew for each number of codes, and draw others than the plain step does.
        keep_eager(self.tokenizer.quantizer)
        if self.adversary is not None and self.adversary.config.weighting == "adaptive":
            # The weight asks for the gradient of one layer; a compiled graph gives all gradients or none.
            keep_eager(owner_of(self.tokenizer.last_layer, self.tokenizer.decoder))
            if self.recipe.training.gradient_accumulation > 1:
                # AdversarialBackward passes through the compiled graph twice, which then must keep its tensors.
                from torch._functorch import config as functorch

                functorch.donated_buffer = False
        self._forward, self._nll = torch.compile(self.objective), torch.compile(self.reconstruction_loss)

    def batches(self, batch_size: int, rank: int, world_size: int) -> Any:
        """The training images; see ``tokbench.data.loader``."""
        data, seed = self.recipe.data, self.recipe.seed
        self.images = open_split(data, "train", seed)
        self.held_out = self._held_out()
        return loader(
            self.images,
            batch_size=batch_size,
            shuffle=True,
            seed=seed,
            workers=data.workers,
            drop_last=True,
            rank=rank,
            world_size=world_size,
            pin_memory=self.accelerator.device.type == "cuda",
        )

    def trained_on(self) -> dict[str, Any]:
        """The training images."""
        return trained_on(self.images, self.recipe.data.workers)

    def _held_out(self) -> Tensor:
        data = self.recipe.data
        images = open_split(data, "eval")
        if len(images) == 0:
            raise TokbenchError(f"data.source {data.source}: no held-out images to look at")
        picked = range(0, len(images), max(1, len(images) // 16))
        return torch.stack([sample["image"] for sample in images.readable(list(picked)[:16])])

    def step(self, batches: Sequence[Batch], step: int, factor: float) -> dict[str, Tensor]:
        """One optimizer step over the micro-batches; ``factor`` scales the learning rates. Returns named scalars.

        Raises NotFinite on all processes; with ``training.on_nan: skip`` the model is then as it was before.
        """
        skip = self.recipe.training.on_nan == "skip"
        learns = self.adversary is not None and self.adversary.config.active(step)
        real: list[Tensor] = []
        fake: list[Tensor] = []
        models = [self.tokenizer, *([self.adversary.bare] if self.adversary else [])]
        optimizers = [self.optimizer]
        with step_guard(models, skip, self.tokenizer.quantizer.parameters()):
            sums = self._autoencoder_gradients(batches, step, factor, (real, fake) if learns else None)
            if self.adversary is not None and learns:
                sums |= self.adversary.gradients(real, fake, step, factor)
                optimizers.append(self.adversary.optimizer)
        # Only now that both halves of the step are finite: a step that is left out moves neither.
        step_together(self.accelerator, optimizers)
        if self.average is not None:
            self.average.update_parameters(self.tokenizer)
        if self.adversary is not None and learns:
            self.adversary.remember(sums)
        return sums

    def _autoencoder_gradients(
        self, batches: Sequence[Batch], step: int, factor: float, pairs: tuple[list[Tensor], list[Tensor]] | None
    ) -> dict[str, Tensor]:
        """Encoder, quantizer and decoder; puts what the discriminator is to learn from into ``pairs``."""
        training, accelerator, adversary = self.recipe.training, self.accelerator, self.adversary
        for group in self.optimizer.param_groups:
            group["lr"] = training.learning_rate * factor
        self.objective.train()
        self.optimizer.zero_grad(set_to_none=True)
        self._bad_latents.zero_()
        share = adversary.config.generator_factor(step) if adversary is not None else 0.0
        mixed: AdversarialBackward | None = None
        if adversary is not None and share:
            mixed = AdversarialBackward(adversary, self.trained, self.tokenizer.last_layer, len(batches), share)
        sums: dict[str, Tensor] = {}
        for i, batch in enumerate(batches):
            images = self._images(batch)
            last = i == len(batches) - 1
            with nullcontext() if last else accelerator.no_sync(self.objective):
                with accelerator.autocast():
                    reconstruction, quantizer_loss, terms = self._forward(images)
                    reconstruction = reconstruction.float()
                    nll, distances = self._nll(reconstruction, images)
                quantizer_loss = self.recipe.loss.quantizer_weight * quantizer_loss
                if mixed is not None:
                    mixed(reconstruction, nll, quantizer_loss)
                elif self.trained:
                    accelerator.backward((nll + quantizer_loss) / len(batches))
            if pairs is not None:
                pairs[0].append(images)
                pairs[1].append(reconstruction.detach())
            total = nll.detach() + quantizer_loss.detach()
            for name, value in {"loss": total, "nll": nll.detach(), **distances, **terms}.items():
                sums[name] = sums.get(name, 0.0) + value.float() / len(batches)
        if mixed is not None:
            sums |= mixed.finish()
            sums["loss"] = sums["loss"] + sums["adversarial"]
        sums["loss"] = sums["loss"].masked_fill(self._bad_latents, math.nan)
        sums["gradient_norm"] = clip_gradients(accelerator, self.optimizer, self.trained, training.gradient_clip)
        check_finite(accelerator, sums, "loss", "gradient_norm")
        return sums

    def _images(self, batch: Batch) -> Tensor:
        images = self._to_model(batch["image"])
        if self.recipe.training.channels_last:
            images = channels_last(images)
        return images

    def _to_model(self, samples: Tensor) -> Tensor:
        data = self.recipe.data
        return to_model(samples.to(self.accelerator.device, non_blocking=True), data.kind, data.channels)

    def shown(self, values: dict[str, float]) -> dict[str, float]:
        """Loss, PSNR (of the window's mean squared error) or the share of right labels, the perceptual and adversarial
        terms, codebook usage."""
        shown = {"loss": values["loss"]}
        if "l2" in values:
            shown["PSNR"] = 10 * math.log10(4.0 / max(values["l2"], 1e-10))
        else:
            shown["accuracy"] = values["accuracy"]
        names = {"perceptual": "LPIPS", "logits": "logits", "lambda": "lambda", "discriminator": "D", "usage": "usage"}
        least = least_used(values)
        shown |= {label: values[name] for name, label in names.items() if name in values}
        return shown | ({f"least at {least[0]}": least[1]} if least is not None else {})

    def window(self) -> dict[str, float]:
        """Of the codes used since the last call, over all processes and as means over the depths: the fraction of the
        codebook, the same of what so many equally likely codes would have shown, and the perplexity; of a pyramid at
        each scale too."""
        usage, names = self.tokenizer.quantizer.usage, self.tokenizer.quantizer.prefix_names
        usage.merge()
        found = usage_of_window(usage, names)
        usage.reset()
        return found

    def sample_ids(self, batch: Batch) -> list[str]:
        return batch["id"]

    def skipped(self) -> list[tuple[str, str]]:
        return self.images.skipped

    def result(self) -> Tokenizer:
        """The tokenizer to save and to measure: averaged weights where there are any."""
        return cast(Tokenizer, self.average.module) if self.average is not None else self.tokenizer

    @torch.no_grad()
    def picture(self, path: Path) -> None:
        """Held-out originals above their reconstructions."""
        if not self.accelerator.is_main_process:
            return
        tokenizer = self.result()
        training = tokenizer.training
        tokenizer.eval()
        kind = self.recipe.data.kind
        made = to_samples(tokenizer.reconstruct(self._to_model(self.held_out)), kind).cpu()
        originals, made = visible(self.held_out, kind), visible(made, kind)
        tokenizer.train(training)
        rows: list[list[Tensor]] = []
        for start in range(0, len(originals), 8):
            rows += [list(originals[start : start + 8]), list(made[start : start + 8])]
        save_picture(grid(rows, zoom=max(1, 128 // originals.shape[-1])), path)

    def save(self, folder: Path) -> None:
        """Write the finished tokenizer."""
        if self.accelerator.is_main_process:
            self.result().save_pretrained(folder)

    def state_dict(self) -> dict[str, Any]:
        """All that a bit-exact continuation needs from this task."""
        return {
            "usage": self.tokenizer.quantizer.usage.merge().state_dict(),
            "tokenizer": self.tokenizer.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "adversary": self.adversary.state_dict() if self.adversary is not None else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of ``state_dict``."""
        self.tokenizer.load_state_dict(state["tokenizer"])
        if "usage" in state:  # not in checkpoints of an earlier version
            self.tokenizer.quantizer.usage.load_state_dict(state["usage"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.adversary is not None:
            self.adversary.load_state_dict(state["adversary"])

"""Stage 1: what one optimizer step of a tokenizer is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from tokbench.config.loss import LossConfig
from tokbench.config.model import TokenizerConfig
from tokbench.config.recipe import TokenizerRecipe
from tokbench.data.pixels import to_float, to_uint8
from tokbench.models import Tokenizer
from tokbench.pictures import grid, save_picture
from tokbench.training.ema import averaged

Batch = dict[str, object]


class TokenizerObjective(nn.Module):
    """The tokenizer and its loss as one module, so that one forward under DDP covers every parameter."""

    def __init__(self, tokenizer: Tokenizer, config: LossConfig):
        super().__init__()
        self.tokenizer = tokenizer
        self.config = config

    def forward(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """images (B, 3, H, W) in [-1, 1] -> total loss, its unweighted terms by name, reconstruction."""
        out = self.tokenizer(images)
        difference = out.reconstruction.float() - images
        l1, l2 = difference.abs().mean(), difference.square().mean()
        pixels = l1 if self.config.reconstruction == "l1" else l2
        total = self.config.reconstruction_weight * pixels + self.config.quantizer_weight * out.loss
        terms = {"l1": l1, "l2": l2, "quantizer": out.loss}
        terms |= {name: value for name, value in out.losses.items() if value.dim() == 0}
        return total, {name: value.detach() for name, value in terms.items()}, out.reconstruction


class TokenizerTask:
    """Holds tokenizer, optimizer and averaged weights; the loop calls ``step`` and asks for state."""

    shown = ("loss", "PSNR", "usage")

    def __init__(self, recipe: TokenizerRecipe, accelerator: Accelerator):
        self.recipe, self.accelerator = recipe, accelerator
        training = recipe.training
        config = TokenizerConfig(image_size=recipe.data.image_size, model=recipe.model, quantizer=recipe.quantizer)
        self.tokenizer = Tokenizer(config)
        objective = TokenizerObjective(self.tokenizer, recipe.loss)
        if training.channels_last:
            objective = objective.to(memory_format=torch.channels_last)
        decayed = [p for p in objective.parameters() if p.requires_grad and p.dim() > 1]
        others = [p for p in objective.parameters() if p.requires_grad and p.dim() <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": training.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=training.learning_rate,
            betas=training.betas,
        )
        self.objective, self.optimizer = accelerator.prepare(objective, self.optimizer)
        self.average = averaged(self.tokenizer, training.ema_decay) if training.ema_decay else None
        self._forward = torch.compile(self.objective) if training.compile else self.objective

    def step(self, batches: Sequence[Batch], factor: float) -> dict[str, Tensor]:
        """One optimizer step over the micro-batches; ``factor`` scales the learning rate. Returns named scalars."""
        training, accelerator = self.recipe.training, self.accelerator
        for group in self.optimizer.param_groups:
            group["lr"] = training.learning_rate * factor
        self.objective.train()
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for i, batch in enumerate(batches):
            images = self.images(batch)
            last = i == len(batches) - 1
            with nullcontext() if last else accelerator.no_sync(self.objective):
                with accelerator.autocast():
                    total, terms, _ = self._forward(images)
                accelerator.backward(total / len(batches))
            for name, value in {"loss": total.detach(), **terms}.items():
                sums[name] = sums.get(name, 0.0) + value.float() / len(batches)
        if training.gradient_clip is not None:
            sums["gradient_norm"] = accelerator.clip_grad_norm_(self.objective.parameters(), training.gradient_clip)
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.tokenizer)
        return sums

    def images(self, batch: Batch) -> Tensor:
        """The batch's images as (B, 3, H, W) in [-1, 1] on the device."""
        raw = batch["image"]
        assert isinstance(raw, Tensor)
        images = to_float(raw.to(self.accelerator.device, non_blocking=True))
        if self.recipe.training.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return images

    def shown_values(self, values: dict[str, float]) -> dict[str, float]:
        """What the progress bar shows, out of the window's mean values. PSNR is of the window's mean error."""
        shown = {"loss": values["loss"], "PSNR": 10 * torch.tensor(4.0 / max(values["l2"], 1e-10)).log10().item()}
        return shown | ({"usage": values["usage"]} if "usage" in values else {})

    def usage(self) -> float:
        """Mean fraction of the codes used since the last call, over all processes; starts the next window."""
        usage = self.tokenizer.quantizer.usage
        usage.merge()
        used = usage.usage
        usage.reset()
        return float(sum(used) / max(1, len(used)))

    def result(self) -> Tokenizer:
        """The tokenizer to save and to measure: averaged weights where there are any."""
        return self.average.module if self.average is not None else self.tokenizer

    @torch.no_grad()
    def picture(self, images: Tensor, path: Path) -> None:
        """Held-out originals (uint8) above their reconstructions."""
        tokenizer = self.result().eval()
        made = to_uint8(tokenizer.reconstruct(to_float(images.to(self.accelerator.device))))
        rows: list[list[Tensor]] = []
        for start in range(0, len(images), 8):
            rows += [list(images[start : start + 8].cpu()), list(made[start : start + 8].cpu())]
        save_picture(grid(rows, zoom=max(1, 128 // images.shape[-1])), path)

    def save(self, folder: Path) -> None:
        """Write the finished tokenizer."""
        self.result().save_pretrained(folder)

    def state_dict(self) -> dict[str, object]:
        """All that a bit-exact continuation needs from this task."""
        return {
            "tokenizer": self.tokenizer.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict) -> None:
        """The inverse of ``state_dict``."""
        self.tokenizer.load_state_dict(state["tokenizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])

"""Stage 1: what one optimizer step of a tokenizer is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from tokbench.config.loss import LossConfig
from tokbench.config.model import TokenizerConfig
from tokbench.config.recipe import TokenizerRecipe
from tokbench.data import Batch, loader, open_images
from tokbench.data.pixels import to_float, to_uint8
from tokbench.errors import TokbenchError
from tokbench.models import Tokenizer
from tokbench.pictures import grid, save_picture
from tokbench.training.ema import averaged


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

    product = "tokenizer"

    def __init__(self, recipe: TokenizerRecipe, accelerator: Accelerator):
        self.recipe, self.accelerator = recipe, accelerator
        training = recipe.training
        config = TokenizerConfig(image_size=recipe.data.image_size, model=recipe.model, quantizer=recipe.quantizer)
        self.tokenizer = Tokenizer(config)
        self.parameters = sum(p.numel() for p in self.tokenizer.parameters())
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

    def batches(self, batch_size: int, rank: int, world_size: int) -> Any:
        """The training images; see ``tokbench.data.loader``."""
        data, seed = self.recipe.data, self.recipe.seed
        self.images = open_images(
            data.source,
            "train",
            image_size=data.image_size,
            crop=data.crop,
            flip=data.flip,
            seed=seed,
            limit=data.limit,
        )
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

    def _held_out(self) -> Tensor:
        data = self.recipe.data
        images = open_images(data.source, "eval", image_size=data.image_size, limit=data.eval_limit)
        if len(images) == 0:
            raise TokbenchError(f"data.source {data.source}: no held-out images to look at")
        picked = range(0, len(images), max(1, len(images) // 16))
        return torch.stack([images[i]["image"] for i in list(picked)[:16]])

    def step(self, batches: Sequence[Batch], step: int, factor: float) -> dict[str, Tensor]:
        """One optimizer step over the micro-batches; ``factor`` scales the learning rate. Returns named scalars."""
        training, accelerator = self.recipe.training, self.accelerator
        for group in self.optimizer.param_groups:
            group["lr"] = training.learning_rate * factor
        self.objective.train()
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for i, batch in enumerate(batches):
            images = self._images(batch)
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

    def _images(self, batch: Batch) -> Tensor:
        images = to_float(batch["image"].to(self.accelerator.device, non_blocking=True))
        if self.recipe.training.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return images

    def shown(self, values: dict[str, float]) -> dict[str, float]:
        """Loss, PSNR (of the window's mean squared error) and codebook usage."""
        shown = {"loss": values["loss"], "PSNR": 10 * math.log10(4.0 / max(values["l2"], 1e-10))}
        return shown | ({"usage": values["usage"]} if "usage" in values else {})

    def window(self) -> dict[str, float]:
        """Mean fraction of the codes used since the last call, over all processes."""
        usage = self.tokenizer.quantizer.usage
        usage.merge()
        used = list(usage.usage)
        usage.reset()
        return {"usage": float(sum(used) / max(1, len(used)))}

    def sample_ids(self, batch: Batch) -> list[str]:
        return batch["id"]

    def skipped(self) -> list[tuple[str, str]]:
        return self.images.skipped

    def result(self) -> Tokenizer:
        """The tokenizer to save and to measure: averaged weights where there are any."""
        return self.average.module if self.average is not None else self.tokenizer

    @torch.no_grad()
    def picture(self, path: Path) -> None:
        """Held-out originals above their reconstructions."""
        tokenizer = self.result()
        training = tokenizer.training
        tokenizer.eval()
        originals = self.held_out
        made = to_uint8(tokenizer.reconstruct(to_float(originals.to(self.accelerator.device)))).cpu()
        tokenizer.train(training)
        rows: list[list[Tensor]] = []
        for start in range(0, len(originals), 8):
            rows += [list(originals[start : start + 8]), list(made[start : start + 8])]
        save_picture(grid(rows, zoom=max(1, 128 // originals.shape[-1])), path)

    def save(self, folder: Path) -> None:
        """Write the finished tokenizer."""
        self.result().save_pretrained(folder)

    def state_dict(self) -> dict[str, Any]:
        """All that a bit-exact continuation needs from this task."""
        return {
            "tokenizer": self.tokenizer.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of ``state_dict``."""
        self.tokenizer.load_state_dict(state["tokenizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])

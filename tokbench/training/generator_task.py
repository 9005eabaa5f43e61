"""Stage 2: what one optimizer step of a generator is."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from tokbench.config.generator import GeneratorRecipe
from tokbench.config.grid import pixels
from tokbench.config.model import TokenizerConfig
from tokbench.errors import TokbenchError
from tokbench.generators import Generator
from tokbench.generators.building import CONDITION_TOKENIZER, class_of, without_weights
from tokbench.generators.noise import batch_keys
from tokbench.generators.pipeline import Pipeline
from tokbench.models import Tokenizer
from tokbench.models.folder import CONFIG, read_config
from tokbench.models.weightless import weightless
from tokbench.pictures import grid, save_picture
from tokbench.training.ema import averaged
from tokbench.training.finite import check_finite
from tokbench.training.fitting import micro_batch_of
from tokbench.training.generator_data import MEASURED, CodeData
from tokbench.training.gradients import clip_gradients
from tokbench.training.optimizer import adamw
from tokbench.training.sharding import ShardedAverage, is_sharded, load_whole, whole_optimizer, whole_weights
from tokbench.training.task import BatchSource


class GeneratorObjective(nn.Module):
    """The generator's loss as a forward pass, so that DDP covers every parameter."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, codes: Tensor, condition: Tensor, targets: Sequence[Tensor] | None, keys: Tensor) -> Tensor:
        """codes (B, *grid, D), condition (B, ...), targets of each depth, keys (E,) -> nats per code."""
        return self.generator.loss(codes, condition, targets, keys)


class GeneratorTask:
    """Holds the frozen tokenizer, the generator, its optimizer and averaged weights."""

    product = "generator"

    def __init__(self, recipe: GeneratorRecipe, accelerator: Accelerator) -> None:
        self.recipe, self.accelerator = recipe, accelerator
        training = recipe.training
        self.tokenizer = Tokenizer.from_pretrained(recipe.tokenizer).to(accelerator.device).requires_grad_(False)
        self.data = CodeData(recipe, self.tokenizer, accelerator.device)
        self.generator = self.data.generator()
        self.parameters = sum(p.numel() for p in self.generator.parameters())
        self.generator.checkpoint_activations(training.activation_checkpointing)
        decayed, others = _groups(self.generator)
        self.optimizer = adamw(
            [{"params": decayed, "weight_decay": training.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=training.learning_rate,
            betas=training.betas,
        )
        self.sharded = is_sharded(accelerator)
        # What is measured and saved of a sharded generator is put together here, on the main process.
        self._plain = copy.deepcopy(self.generator) if self.sharded and accelerator.is_main_process else None
        self.objective, self.optimizer = accelerator.prepare(GeneratorObjective(self.generator), self.optimizer)
        self.average: AveragedModel | ShardedAverage | None = None
        if training.ema_decay:
            average = ShardedAverage if self.sharded else averaged
            self.average = average(self.generator, training.ema_decay)
        self._forward = torch.compile(self.objective) if training.compile else self.objective
        self._latest: tuple[Tensor, Tensor] | None = None

    def batches(self, batch_size: int, rank: int, world_size: int) -> BatchSource:
        """Codes from the cache, or images that ``step`` encodes."""
        return self.data.batches(batch_size, rank, world_size)

    def trained_on(self) -> dict[str, Any]:
        """Images or codes, and the tokenizer whose codes they are."""
        return self.data.trained_on()

    def step(self, batches: Sequence[Any], step: int, factor: float) -> dict[str, Tensor]:
        """One optimizer step over the micro-batches; ``factor`` scales the learning rate.

        All but the dropout layers draw from the row's place in the whole run, so it does not matter how the batch is
        split over processes and micro-batches.
        """
        training, accelerator = self.recipe.training, self.accelerator
        for group in self.optimizer.param_groups:
            group["lr"] = training.learning_rate * factor
        self.objective.train()
        self.optimizer.zero_grad(set_to_none=True)
        total: Tensor | float = 0.0
        for i, batch in enumerate(batches):
            keys = self._keys(step, i)
            codes, targets, nearest = self.data.encoded(batch, keys)
            asked = {**self.data.with_condition(batch), "codes": codes, "keys": keys[: len(codes)]}
            condition = self.generator.condition.of(asked)
            self._latest = nearest, condition[:MEASURED]
            last = i == len(batches) - 1
            with nullcontext() if last else accelerator.no_sync(self.objective):
                with accelerator.autocast():
                    loss = self._forward(codes, condition, targets, keys.to(codes.device, non_blocking=True))
                accelerator.backward(loss / len(batches))
            total = total + loss.detach().float() / len(batches)
        values: dict[str, Tensor] = {"loss": torch.as_tensor(total)}
        parameters = self.objective.parameters()
        values["gradient_norm"] = clip_gradients(accelerator, self.optimizer, parameters, training.gradient_clip)
        check_finite(accelerator, values, "loss", "gradient_norm")
        self.optimizer.step()
        if self.average is not None:
            self.average.update_parameters(self.generator)
        return values

    def _keys(self, step: int, number: int) -> Tensor:
        """A key for each row of the step's batch over all processes, those of this micro-batch first."""
        training, accelerator = self.recipe.training, self.accelerator
        place = number * accelerator.num_processes + accelerator.process_index
        rows = micro_batch_of(self.recipe, accelerator)
        return batch_keys(self.recipe.seed, step, training.batch_size, first=place * rows)

    def window(self) -> dict[str, float]:
        """Bits per code and per pixel of the weights that are saved, on the latest training images and held-out ones.

        Of ``mlm`` the bound is measured, and named so.
        """
        held_out = self.data.held_out(self.generator.condition)
        found: dict[str, float] = {}
        with self._whole() as generator:
            if generator is None:
                return found
            sets = {"held_out": held_out} | ({"train": self._latest} if self._latest is not None else {})
            for name, (codes, condition) in sets.items():
                bits = self._bits(generator, codes, condition)
                kind = "bits" if generator.exact_nll else "bound_bits"
                found[f"{name}_{kind}_per_code"] = bits / generator.codes_per_image
                found[f"{name}_{kind}_per_pixel"] = bits / pixels(self.recipe.data.image_size)
        return found

    def _bits(self, generator: Generator, codes: Tensor, condition: Tensor) -> float:
        with self.accelerator.autocast():
            nats = generator.nll(codes, condition)
        return float(nats.mean()) / math.log(2)

    def shown(self, values: dict[str, float]) -> dict[str, float]:
        """Loss, and bits per code where they were just measured."""
        names = {
            f"{where}_{kind}_per_code": label
            for where, label in (("train", "bits/code"), ("held_out", "held out"))
            for kind in ("bits", "bound_bits")
        }
        return {"loss": values["loss"]} | {label: values[key] for key, label in names.items() if key in values}

    def sample_ids(self, batch: Any) -> list[str]:
        return batch["id"]

    def skipped(self) -> list[tuple[str, str]]:
        return self.data.skipped

    @contextmanager
    def _whole(self) -> Iterator[Generator | None]:
        """The generator to save and to measure, in evaluation mode: averaged weights where there are any.

        Of a sharded one the main process alone has it, put together for the time being. Collective.
        """
        if self.sharded:
            weights = self._whole_weights()
            if isinstance(self.average, ShardedAverage):
                weights |= self.average.whole(self.accelerator.is_main_process)
            if self._plain is None:
                yield None
                return
            self._plain.load_state_dict(weights)
            yield self._plain.to(self.accelerator.device).eval()
            self._plain.cpu()
            return
        generator = self.average.module if isinstance(self.average, AveragedModel) else self.generator
        assert isinstance(generator, Generator)
        training = generator.training
        generator.eval()
        yield generator
        generator.train(training)

    def _whole_weights(self) -> dict[str, Tensor]:
        return {name.removeprefix("generator."): w for name, w in whole_weights(self.objective).items()}

    @torch.no_grad()
    def picture(self, path: Path) -> None:
        """Sixteen samples, of sixteen classes where there are classes, or of the conditions of held-out images."""
        with self._whole() as generator:
            if generator is None or not self.accelerator.is_main_process:
                return
            usual = generator.condition.usual
            if not len(usual) or generator.condition.config.map:  # crops, as coordinates say
                usual = self.data.held_out(generator.condition)[1]
            chosen = usual[torch.arange(16, device=usual.device) * len(usual) // 16]
            with self.accelerator.autocast():
                codes = generator.generate(16, condition=chosen, seed=self.recipe.seed)
            images = Pipeline(generator, self.tokenizer).decode(codes)
        across = 8 if images.dim() == 4 else 2  # a clip is a strip of frames
        rows = [list(images[start : start + across]) for start in range(0, 16, across)]
        save_picture(grid(rows, zoom=max(1, 128 // images.shape[-1])), path)

    def save(self, folder: Path) -> None:
        """Write the finished generator."""
        with self._whole() as generator:
            if generator is not None and self.accelerator.is_main_process:
                if self.data.conditioned is not None:
                    self.data.conditioned.tokenizer.save_pretrained(folder / CONDITION_TOKENIZER)
                generator.save_pretrained(folder)

    def state_dict(self) -> dict[str, Any]:
        """All that a bit-exact continuation needs from this task: on the main process, of all processes' parts."""
        if self.sharded:
            average = self.average
            return {
                "sharded": True,
                "generator": self._whole_weights(),
                "average": average.state_dict(self._plain is not None) if isinstance(average, ShardedAverage) else None,
                "optimizer": whole_optimizer(self.objective, self._bare_optimizer),
            }
        return {
            "sharded": False,
            "generator": self.generator.state_dict(),
            "average": self.average.state_dict() if isinstance(self.average, AveragedModel) else None,
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of ``state_dict``."""
        if state.get("sharded", False) != self.sharded:
            ran = "with FSDP" if state.get("sharded", False) else "without FSDP"
            raise TokbenchError(f"--resume: the run was trained {ran} until now; continue it {ran}")
        if self.sharded:
            weights = {f"generator.{name}": w for name, w in state["generator"].items()}
            load_whole(self.objective, self._bare_optimizer, weights, state["optimizer"])
        else:
            self.generator.load_state_dict(state["generator"])
            self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])

    @property
    def _bare_optimizer(self) -> torch.optim.Optimizer:
        """Without accelerate's wrapper."""
        return getattr(self.optimizer, "optimizer", self.optimizer)


def _groups(generator: Generator) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters with weight decay (the matrices of linear layers) and without (biases, norms, tables, positions)."""
    matrices = {id(m.weight) for m in generator.modules() if isinstance(m, nn.Linear)}
    decayed = [p for p in generator.parameters() if id(p) in matrices]
    return decayed, [p for p in generator.parameters() if id(p) not in matrices]


def count_parameters(recipe: GeneratorRecipe) -> int:
    """Of the recipe's generator, without its weights; see ``tokbench.training.checks.check_recipe``."""
    settings = recipe.generator
    folder = Path(recipe.tokenizer)
    if not (folder / CONFIG).is_file():
        with weightless():
            return sum(p.numel() for stack in class_of(settings).stacks(settings) for p in stack.parameters())
    tokenizer, size = read_config(folder, TokenizerConfig), recipe.data.image_size
    _, made = without_weights(settings, tokenizer, source=recipe.tokenizer, image_size=size)
    return sum(p.numel() for p in made.parameters())

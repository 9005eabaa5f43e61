"""What training would cost, counted: the FLOPs of a train step times the steps. Nothing is trained or timed for it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tokbench.config.generator import GeneratorRecipe
from tokbench.config.grid import axes
from tokbench.config.recipe import Recipe, TokenizerRecipe
from tokbench.generators import build, configure
from tokbench.models import Tokenizer
from tokbench.models.discriminator import build_discriminator
from tokbench.sweeps.cell import AnyCell
from tokbench.sweeps.generating import GeneratorCell

PEAK = 989e12  # bf16 FLOP/s of an H100 SXM without sparsity (NVIDIA's data sheet)
UTILISATION = 0.4  # of that peak: an assumption, about what well-tuned convolutional and transformer training reaches
ASSUMPTION = (
    f"GPU hours: FLOPs of a train step (encoder, decoder, codebook search, LPIPS, discriminator; or transformer), "
    f"counted, times steps, at an assumed {UTILISATION:.0%} of an H100's peak bf16 ({PEAK / 1e12:.0f} TFLOP/s). "
    "Reading pictures, encoding codes and evaluation are not in it."
)


@dataclass(frozen=True)
class Cost:
    """Of one cell. ``flops`` are those of all its training steps."""

    label: str
    flops: float

    @property
    def hours(self) -> float:
        """On one H100, at the assumed share of its peak."""
        return self.flops / (UTILISATION * PEAK) / 3600


def costs(cells: Sequence[AnyCell]) -> list[Cost]:
    """Of each cell. Cells that differ in seed alone are counted once and cost the same."""
    known: dict[str, float] = {}
    found = []
    for cell in cells:
        alike = _alike(cell.recipe)
        if isinstance(cell, GeneratorCell):
            alike += _alike(cell.tokenizer.recipe)
        if alike not in known:
            known[alike] = train_step_flops(cell) * cell.recipe.training.steps * cell.recipe.training.batch_size
        found.append(Cost(cell.label, known[alike]))
    return found


def _alike(recipe: Recipe) -> str:
    settings = recipe.resolved()
    return json.dumps({key: value for key, value in settings.items() if key not in ("seed", "tokenizer")})


def train_step_flops(cell: AnyCell) -> float:
    """FLOPs (two a multiply-add) of a train step, for one image of its batch."""
    if isinstance(cell, GeneratorCell):
        return _generator(cell.recipe, cell.tokenizer.recipe)
    return _tokenizer(cell.recipe)


def _tokenizer(recipe: TokenizerRecipe) -> float:
    size, channels = recipe.data.image_size, recipe.data.channels
    with torch.device("meta"):
        tokenizer = Tokenizer(recipe.tokenizer)
        images = torch.zeros(1, channels, *axes(size), requires_grad=True)
        latents = torch.zeros(1, tokenizer.quantizer.dim, *tokenizer.grid(), requires_grad=True)
        total = _there_and_back(tokenizer.encoder, images) + _there_and_back(tokenizer.decoder, latents)
        total += _search(tokenizer)
        if recipe.loss.perceptual.net != "none":
            features = _features(recipe.loss.perceptual.net)
            for parameter in features.parameters():
                parameter.requires_grad_(False)
            # The original goes through once, the reconstruction there and back; grey ones as RGB.
            seen = images.expand(-1, 3, -1, -1)
            total += _forward(features, seen) + _there_and_back(features, seen)
        adversarial = recipe.loss.adversarial
        if adversarial is not None:
            discriminator = build_discriminator(adversarial.discriminator, size, channels)
            several = torch.zeros(4, channels, *axes(size), requires_grad=True)  # some count over groups of the batch
            # The autoencoder's step goes through it there and back; its own step does so twice, for real and fake.
            step = _there_and_back(discriminator, several) / 4
            active = max(0, recipe.training.steps - adversarial.start) / recipe.training.steps
            total += 3 * step * active
    return total


def _generator(recipe: GeneratorRecipe, tokenizer_recipe: TokenizerRecipe) -> float:
    settings = recipe.generator.model_copy(update={"class_conditional": False})
    with torch.device("meta"):
        tokenizer = Tokenizer(tokenizer_recipe.tokenizer)
        generator = build(configure(settings, tokenizer, source=recipe.tokenizer, image_size=recipe.data.image_size))
        codes = torch.zeros(1, *generator.shape, dtype=torch.int64)
        try:
            return _counted(lambda: generator.loss(codes).backward())
        except (RuntimeError, NotImplementedError):
            # What looks at values cannot be counted without them: six a weight and code, as usual for transformers.
            return 6.0 * sum(p.numel() for p in generator.parameters()) * generator.places


def _search(tokenizer: Tokenizer) -> float:
    """Comparing each position with every code, where there is a codebook to compare with."""
    quantizer = tokenizer.quantizer
    tables = {tuple(t.shape) for t in [*quantizer.parameters(), *quantizer.buffers()] if t.ndim == 2}
    positions = math.prod(tokenizer.grid())
    return sum(
        2.0 * positions * size * max(shape[1] for shape in tables if shape[0] == size)
        for size in quantizer.codebook_sizes
        if any(shape[0] == size for shape in tables)
    )


def _features(net: str) -> nn.Module:
    from torchvision.models import alexnet, vgg16

    # LPIPS reads no further than before the last pooling, which small pictures do not reach.
    features: nn.Module = (vgg16 if net == "vgg" else alexnet)(weights=None).features[:-1]
    return features


def _forward(module: nn.Module, x: Tensor) -> float:
    with torch.no_grad():
        return _counted(lambda: module(x))


def _there_and_back(module: nn.Module, x: Tensor) -> float:
    return _counted(lambda: module(x).sum().backward())


def _counted(work: Callable[[], object]) -> float:
    counter = FlopCounterMode(display=False)
    with counter:
        work()
    return float(counter.get_total_flops())

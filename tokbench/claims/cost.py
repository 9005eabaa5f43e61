"""What training would cost, counted: the FLOPs of a train step times the steps. Nothing is trained or timed for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from tokbench.config.recipe import Recipe
from tokbench.sweeps.cell import Cell
from tokbench.sweeps.generating import GeneratorCell
from tokbench.training.flops import train_step_flops
from tokbench.training.peak_flops import peak_flops

PEAK = peak_flops("H100", "bf16") or 0.0  # of the SXM
UTILISATION = 0.4  # of that peak: an assumption, about what well-tuned convolutional and transformer training reaches
ASSUMPTION = (
    f"GPU hours: FLOPs of a train step (encoder, decoder, codebook search, LPIPS, discriminator; or transformer), "
    f"counted, times steps, at an assumed {UTILISATION:.0%} of an H100's peak bf16 ({PEAK / 1e12:.4g} TFLOP/s). "
    "Reading images, encoding codes and evaluation are not in it."
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


def costs(cells: Sequence[Cell]) -> list[Cost]:
    """Of each cell. Cells that differ in seed alone are counted once and cost the same."""
    known: dict[str, float] = {}
    found = []
    for cell in cells:
        tokenizer = cell.tokenizer.recipe if isinstance(cell, GeneratorCell) else None
        alike = _alike(cell.recipe) + (_alike(tokenizer) if tokenizer is not None else "")
        if alike not in known:
            training = cell.recipe.training
            known[alike] = train_step_flops(cell.recipe, tokenizer) * training.steps * training.batch_size
        found.append(Cost(cell.label, known[alike]))
    return found


def _alike(recipe: Recipe) -> str:
    settings = recipe.resolved()
    return json.dumps({key: value for key, value in settings.items() if key not in ("seed", "tokenizer")})

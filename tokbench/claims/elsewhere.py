"""A claim's tokenizers on other images than those of their recipes: each a cell of its own, run when they are trained.

Torch is imported where something is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokbench.claims.definition import Elsewhere
from tokbench.claims.follow_ups import FollowUp
from tokbench.config.crop import measured_by
from tokbench.errors import TokbenchError
from tokbench.results.record import Record
from tokbench.sweeps.cell import Cell
from tokbench.sweeps.grid import TokenizerCell


@dataclass(frozen=True)
class ElsewhereCell(FollowUp):
    """One tokenizer on these images, which are clips of one frame to a tokenizer of videos."""

    stage, of = "evaluate", "tokenizer"
    model: TokenizerCell
    asked: Elsewhere

    @property
    def label(self) -> str:
        return f"{self.model.label} on {self.data}"

    @property
    def data(self) -> str:
        """The source of the images."""
        return self.asked.data or self.model.recipe.data.source

    def measure(self, folder: Path, work: Path, cpu: bool) -> Record:
        import torch

        from tokbench.data import open_images
        from tokbench.metrics import evaluate_tokenizer
        from tokbench.metrics.record import saved_weights, tokenizer_record
        from tokbench.models import Tokenizer

        asked, recipe = self.asked, self.model.recipe
        tokenizer = Tokenizer.from_pretrained(folder)
        tokenizer.to("cuda" if torch.cuda.is_available() and not cpu else "cpu").eval()
        images: Any = open_images(
            self.data, "eval", image_size=asked.image_size, limit=asked.limit, channels=tokenizer.config.channels,
            crop=measured_by(recipe.data.crop),
        )  # fmt: skip
        found = evaluate_tokenizer(
            tokenizer,
            images,
            metrics=asked.metrics,
            batch_size=recipe.evaluation.batch_size,
            by_depth=False,
        )
        return tokenizer_record(
            found, tokenizer, name=recipe.name, recipe=recipe.resolved(), cell=self.key, seed=recipe.seed,
            weights_which=saved_weights(folder),
        )  # fmt: skip


def elsewhere_cells(part: str, asked: Elsewhere, cells: Sequence[Cell] | None) -> list[ElsewhereCell]:
    """A cell for each tokenizer of the part ``asked.of``. TokbenchError: no such part, or no such metric."""
    from tokbench.metrics import get

    if cells is None:
        raise TokbenchError(f"{part}: {asked.of} is not a part with sweeps")
    for metric in asked.metrics:
        get(metric)  # said before anything is trained
    return [ElsewhereCell(cell, asked) for cell in cells if isinstance(cell, TokenizerCell)]

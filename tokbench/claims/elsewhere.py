"""A claim's tokenizers on other images than those of their recipes: each a cell of its own, run when they are trained.

Torch is imported where something is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokbench.claims.definition import Elsewhere
from tokbench.config.crop import measured_by
from tokbench.errors import TokbenchError
from tokbench.results.environment import content_hash
from tokbench.results.record import Record
from tokbench.sweeps.cell import Cell
from tokbench.sweeps.grid import TokenizerCell


@dataclass(frozen=True)
class ElsewhereCell:
    """One tokenizer on these images, which are clips of one frame to a tokenizer of videos."""

    tokenizer: TokenizerCell
    asked: Elsewhere

    @property
    def key(self) -> str:
        """Of the tokenizer's experiment and what is asked of it."""
        return self._address(self.tokenizer.key)

    @property
    def experiment(self) -> str:
        """The address of all seeds of it together."""
        return self._address(self.tokenizer.experiment)

    @property
    def label(self) -> str:
        return f"{self.tokenizer.label} on {self.data}"

    @property
    def data(self) -> str:
        """The source of the images."""
        return self.asked.data or self.tokenizer.recipe.data.source

    @property
    def seed(self) -> int:
        return self.tokenizer.recipe.seed

    def _address(self, tokenizer: str) -> str:
        return content_hash({"tokenizer": tokenizer, **self.asked.model_dump(mode="json", exclude={"of"})})


def run_elsewhere(
    cells: Sequence[ElsewhereCell], work: Path, told: Callable[[str], object], *, cpu: bool = False
) -> Iterator[Record]:
    """A record of each cell that can be measured, one after the other; of the others ``told`` is told why not."""
    from tokbench.sweeps.stages import tokenizer_folder

    for cell in cells:
        folder = tokenizer_folder(cell.tokenizer, work)
        if folder is None:
            told(f"skipped {cell.label}: its tokenizer (cell {cell.tokenizer.key}) is not there")
            continue
        told(f"{cell.label}: evaluate")
        try:
            yield _measured(cell, folder, cpu)
        except (TokbenchError, ValueError) as error:  # a tokenizer's word for samples that are not its own
            told(f"failed {cell.label}: {error}")


def _measured(cell: ElsewhereCell, folder: Path, cpu: bool) -> Record:
    import torch

    from tokbench.data import open_images
    from tokbench.metrics import evaluate_tokenizer
    from tokbench.metrics.record import saved_weights, tokenizer_record
    from tokbench.models import Tokenizer

    asked, recipe = cell.asked, cell.tokenizer.recipe
    tokenizer = Tokenizer.from_pretrained(folder)
    tokenizer.to("cuda" if torch.cuda.is_available() and not cpu else "cpu").eval()
    images: Any = open_images(
        cell.data, "eval", image_size=asked.image_size, limit=asked.limit, channels=tokenizer.config.channels,
        crop=measured_by(recipe.data.crop),
    )  # fmt: skip
    found = evaluate_tokenizer(
        tokenizer,
        images,
        metrics=asked.metrics,
        batch_size=recipe.evaluation.batch_size,
        by_depth=False,
    )
    record = tokenizer_record(
        found, tokenizer, name=recipe.name, recipe=recipe.resolved(), cell=cell.key, seed=recipe.seed,
        weights_which=saved_weights(folder),
    )  # fmt: skip
    return record.replace(experiment=cell.experiment)


def elsewhere_cells(part: str, asked: Elsewhere, cells: Sequence[Cell] | None) -> list[ElsewhereCell]:
    """A cell for each tokenizer of the part ``asked.of``. TokbenchError: no such part, or no such metric."""
    from tokbench.metrics import get

    if cells is None:
        raise TokbenchError(f"{part}: {asked.of} is not a part with sweeps")
    for metric in asked.metrics:
        get(metric)  # said before anything is trained
    return [ElsewhereCell(cell, asked) for cell in cells if isinstance(cell, TokenizerCell)]

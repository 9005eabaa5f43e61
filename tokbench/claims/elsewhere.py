"""A claim's tokenizers on other images than those of their recipes: each a cell of its own, run when they are trained.

Torch is imported where something is measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokbench.claims.definition import Elsewhere
from tokbench.errors import TokbenchError
from tokbench.results.environment import content_hash
from tokbench.results.record import Record
from tokbench.sweeps.grid import TokenizerCell


@dataclass(frozen=True)
class ElsewhereCell:
    """One tokenizer on these images."""

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
        return f"{self.tokenizer.label} on {self.asked.data}"

    @property
    def seed(self) -> int:
        return self.tokenizer.recipe.seed

    def _address(self, tokenizer: str) -> str:
        return content_hash({"tokenizer": tokenizer, **self.asked.model_dump(mode="json", exclude={"of"})})


def run_elsewhere(
    cells: Sequence[ElsewhereCell], work: Path, told: Callable[[str], object], *, cpu: bool = False
) -> list[Record]:
    """A record of each cell whose tokenizer is there; the others are named (``told``)."""
    import torch

    from tokbench.data import open_images
    from tokbench.metrics import evaluate_tokenizer
    from tokbench.metrics.record import saved_weights, tokenizer_record
    from tokbench.models import Tokenizer
    from tokbench.sweeps.stages import tokenizer_folder

    device = "cuda" if torch.cuda.is_available() and not cpu else "cpu"
    records = []
    for cell in cells:
        folder, asked = tokenizer_folder(cell.tokenizer, work), cell.asked
        if folder is None:
            told(f"skipped {cell.label}: its tokenizer (cell {cell.tokenizer.key}) is not there")
            continue
        told(cell.label)
        tokenizer, recipe = Tokenizer.from_pretrained(folder).to(device).eval(), cell.tokenizer.recipe
        images: Any = open_images(
            asked.data, "eval", image_size=asked.image_size, limit=asked.limit, channels=tokenizer.config.channels
        )
        found = evaluate_tokenizer(
            tokenizer, images, metrics=asked.metrics, batch_size=recipe.evaluation.batch_size, by_depth=False
        )
        record = tokenizer_record(
            found, tokenizer, name=recipe.name, recipe=recipe.resolved(), cell=cell.key, seed=recipe.seed,
            weights_which=saved_weights(folder),
        )  # fmt: skip
        records.append(record.replace(experiment=cell.experiment))
    return records


def elsewhere_cells(part: str, asked: Elsewhere, tokenizers: Sequence[TokenizerCell] | None) -> list[ElsewhereCell]:
    """A cell for each tokenizer of the part ``asked.of``. TokbenchError: there is no such part."""
    if tokenizers is None:
        raise TokbenchError(f"{part}: {asked.of} is not a part with sweeps")
    return [ElsewhereCell(tokenizer, asked) for tokenizer in tokenizers]

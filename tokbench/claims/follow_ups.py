"""What a claim asks of its models when they are trained: each a cell of its own.

Torch is imported where something is measured.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from tokbench.claims.definition import Elsewhere, Probed
from tokbench.errors import TokbenchError
from tokbench.results.environment import content_hash
from tokbench.results.record import Record
from tokbench.sweeps.cell import Cell
from tokbench.sweeps.generating import GeneratorCell
from tokbench.sweeps.grid import TokenizerCell


class FollowUp(ABC):
    """One model and what is asked of it."""

    stage: ClassVar[str]  # what a person reads while it runs
    of: ClassVar[str]  # what the model is called in the address
    model: Cell
    asked: Elsewhere | Probed

    @property
    def key(self) -> str:
        """Of the model's experiment and what is asked of it."""
        return self._address(self.model.key)

    @property
    def experiment(self) -> str:
        """The address of all seeds of it together."""
        return self._address(self.model.experiment)

    @property
    @abstractmethod
    def label(self) -> str: ...

    @property
    def seed(self) -> int:
        return self.model.recipe.seed

    @property
    def tokenizer(self) -> TokenizerCell:
        return self.model.tokenizer if isinstance(self.model, GeneratorCell) else self.model

    @abstractmethod
    def measure(self, folder: Path, work: Path, cpu: bool) -> Record:
        """``folder``: the trained tokenizer's. TokbenchError or ValueError, in one line, where it cannot be done."""

    def _address(self, model: str) -> str:
        return content_hash({self.of: model, **self.asked.model_dump(mode="json", exclude={"of"})})


def run_follow_ups(
    cells: Sequence[FollowUp], work: Path, told: Callable[[str], object], *, cpu: bool = False
) -> Iterator[Record]:
    """A record of each cell that can be measured, one after the other; of the others ``told`` is told why not."""
    from tokbench.sweeps.stages import model_folder

    for cell in cells:
        folder = model_folder(cell.tokenizer, work)
        if folder is None:
            told(f"skipped {cell.label}: its tokenizer (cell {cell.tokenizer.key}) is not there")
            continue
        told(f"{cell.label}: {cell.stage}")
        try:
            yield cell.measure(folder, work, cpu).replace(cell=cell.key, experiment=cell.experiment)
        except (TokbenchError, ValueError) as error:  # a tokenizer's word for samples that are not its own
            told(f"failed {cell.label}: {error}")

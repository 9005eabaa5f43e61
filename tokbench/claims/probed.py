"""Linear probes of a claim's tokenizers, or of the ARs on their codes: each a cell of its own, run after those.

Torch is imported where something is trained.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokbench.claims.definition import Probed
from tokbench.errors import TokbenchError
from tokbench.results.environment import content_hash
from tokbench.results.record import Record
from tokbench.results.store import Store
from tokbench.sweeps.cell import Cell
from tokbench.sweeps.generating import GeneratorCell
from tokbench.sweeps.grid import TokenizerCell


@dataclass(frozen=True)
class ProbedCell:
    """One model and what is asked of it."""

    model: Cell
    asked: Probed

    @property
    def key(self) -> str:
        """Of the model's experiment and what is asked of it."""
        return self._address(self.model.key)

    @property
    def experiment(self) -> str:
        """The address of all seeds of it together."""
        return self._address(self.model.experiment)

    @property
    def label(self) -> str:
        return f"{self.asked.reads} probe of {self.model.label}"

    @property
    def seed(self) -> int:
        return self.model.recipe.seed

    @property
    def tokenizer(self) -> TokenizerCell:
        return self.model.tokenizer if isinstance(self.model, GeneratorCell) else self.model

    def _address(self, model: str) -> str:
        return content_hash({"model": model, **self.asked.model_dump(mode="json", exclude={"of"})})


def probed_cells(part: str, asked: Probed, cells: dict[str, list[Cell]]) -> list[ProbedCell]:
    """A cell for each tokenizer, or AR, of the parts ``asked.of``, of all without. TokbenchError: no such part."""
    found: dict[str, ProbedCell] = {}
    for name in asked.of or cells:
        if name not in cells:
            raise TokbenchError(f"{part}: {name} is not a part with sweeps")
        for cell in cells[name]:
            generator = isinstance(cell, GeneratorCell)
            if generator == (asked.reads == "ar"):
                found.setdefault(cell.key, ProbedCell(cell, asked))
    return list(found.values())


def run_probed(
    cells: Sequence[ProbedCell], work: Path, told: Callable[[str], object], *, cpu: bool = False
) -> Iterator[Record]:
    """A record of each cell that can be probed, one after the other; of the others ``told`` is told why not."""
    for cell in cells:
        told(f"{cell.label}, seed {cell.seed}")
        try:
            yield _probed(cell, work, cpu)
        except TokbenchError as error:
            told(f"failed {cell.label}: {error}")


def _probed(cell: ProbedCell, work: Path, cpu: bool) -> Record:
    import torch

    from tokbench.metrics.record import saved_weights
    from tokbench.models import Tokenizer
    from tokbench.probe.arms import make_arms
    from tokbench.probe.classifier import ProbeSettings
    from tokbench.probe.record import probe_record
    from tokbench.probe.run import recognise
    from tokbench.probe.samples import Codes, open_labelled
    from tokbench.sweeps.stages import tokenizer_folder

    asked, data, folder = cell.asked, cell.tokenizer.recipe.data, tokenizer_folder(cell.tokenizer, work)
    if folder is None:
        raise TokbenchError(f"its tokenizer (cell {cell.tokenizer.key}) is not there")
    device = torch.device("cuda" if torch.cuda.is_available() and not cpu else "cpu")
    tokenizer = Tokenizer.from_pretrained(folder).to(device).eval()
    labelled = open_labelled(
        data.source, data.image_size, data.channels, limit=asked.limit, eval_limit=asked.eval_limit, stride=1, fps=None
    )
    settings = ProbeSettings(steps=asked.steps, batch_size=asked.batch_size)
    (arm,) = make_arms([asked.reads], tokenizer, labelled, settings, _generator(cell, work))
    scratch = work / "probes" / cell.key
    images = [labelled.train.fingerprint, labelled.held_out.fingerprint]
    samples = Codes(labelled, tokenizer, folder.parent / f"probe-{content_hash(images)}", batch_size=256)
    torch.manual_seed(cell.seed)
    found = recognise(arm.classifier(), samples, labelled, settings, seed=cell.seed, folder=scratch)
    record = probe_record(
        found, arm.recipe, data=labelled, settings=settings, seed=cell.seed, name=cell.tokenizer.recipe.name,
        device=device, tokenizer=tokenizer, weights_which=saved_weights(folder),
    )  # fmt: skip
    shutil.rmtree(scratch, ignore_errors=True)
    return record.replace(cell=cell.key, experiment=cell.experiment)


def _generator(cell: ProbedCell, work: Path) -> Path | None:
    if not isinstance(cell.model, GeneratorCell):
        return None
    record = Store(work / "runs.jsonl").find(cell.model.key)
    folder = None if record is None else record.artifacts.get("generator")
    if folder is None or not (work / folder / "config.json").is_file():
        raise TokbenchError(f"its generator (cell {cell.model.key}) is not there")
    return work / folder

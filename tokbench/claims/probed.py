"""Linear probes of a claim's tokenizers, or of the ARs on their codes: each a cell of its own, run after those.

Torch is imported where something is trained.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tokbench.claims.definition import Probed
from tokbench.claims.follow_ups import FollowUp
from tokbench.errors import TokbenchError
from tokbench.results.environment import content_hash
from tokbench.results.record import Record
from tokbench.sweeps.cell import Cell
from tokbench.sweeps.generating import GeneratorCell


@dataclass(frozen=True)
class ProbedCell(FollowUp):
    """One tokenizer or AR, and how it is probed."""

    stage, of = "probe", "model"
    model: Cell
    asked: Probed

    @property
    def label(self) -> str:
        return f"{self.asked.reads} probe of {self.model.label}"

    def measure(self, folder: Path, work: Path, cpu: bool) -> Record:
        import torch

        from tokbench.metrics.record import saved_weights
        from tokbench.models import Tokenizer
        from tokbench.probe.arms import make_arms
        from tokbench.probe.classifier import ProbeSettings
        from tokbench.probe.record import probe_record
        from tokbench.probe.run import recognise
        from tokbench.probe.samples import Codes, open_labelled

        asked, data = self.asked, self.tokenizer.recipe.data
        device = torch.device("cuda" if torch.cuda.is_available() and not cpu else "cpu")
        tokenizer = Tokenizer.from_pretrained(folder).to(device).eval()
        labelled = open_labelled(
            data.source, data.image_size, data.channels, limit=asked.limit, eval_limit=asked.eval_limit, stride=1,
            fps=None,
        )  # fmt: skip
        settings = ProbeSettings(steps=asked.steps, batch_size=asked.batch_size)
        (arm,) = make_arms([asked.reads], tokenizer, labelled, settings, self._generator(work))
        scratch = work / "probes" / self.key
        images = [labelled.train.fingerprint, labelled.held_out.fingerprint]
        samples = Codes(labelled, tokenizer, folder.parent / f"probe-{content_hash(images)}", batch_size=256)
        torch.manual_seed(self.seed)
        found = recognise(arm.classifier(), samples, labelled, settings, seed=self.seed, folder=scratch)
        record = probe_record(
            found, arm.recipe, data=labelled, settings=settings, seed=self.seed, name=self.tokenizer.recipe.name,
            device=device, tokenizer=tokenizer, weights_which=saved_weights(folder),
        )  # fmt: skip
        shutil.rmtree(scratch, ignore_errors=True)
        return record

    def _generator(self, work: Path) -> Path | None:
        """The trained AR's folder; None where a tokenizer is probed."""
        from tokbench.sweeps.stages import model_folder

        if not isinstance(self.model, GeneratorCell):
            return None
        if (folder := model_folder(self.model, work)) is None:
            raise TokbenchError(f"its generator (cell {self.model.key}) is not there")
        return folder


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

"""What a claim asks of its models when they are trained: each a cell of its own.

Torch is imported where something is measured or trained.
"""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tokbench.claims.definition import Elsewhere, Probed, ScaleSettings
from tokbench.config.crop import measured_by
from tokbench.config.grid import axes
from tokbench.errors import TokbenchError
from tokbench.results.environment import content_hash
from tokbench.results.record import Record
from tokbench.sweeps.cell import Cell
from tokbench.sweeps.generating import GeneratorCell
from tokbench.sweeps.grid import TokenizerCell


@dataclass(frozen=True)
class FollowUp(ABC):
    """One model and what is asked of it."""

    model: Cell
    asked: Elsewhere | Probed
    stage: ClassVar[str]  # what a person reads while it runs
    of: ClassVar[str]  # what the model is called in the address

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


@dataclass(frozen=True)
class ElsewhereCell(FollowUp):
    """A tokenizer on other images than its recipe's, which are clips of one frame to a tokenizer of videos."""

    stage, of = "evaluate", "tokenizer"
    asked: Elsewhere

    @property
    def label(self) -> str:
        return f"{self.model.label} on {self.data}"

    @property
    def data(self) -> str:
        """The source of the images."""
        return self.asked.data or self.tokenizer.recipe.data.source

    def measure(self, folder: Path, work: Path, cpu: bool) -> Record:
        import torch

        from tokbench.data import open_images
        from tokbench.metrics import evaluate_tokenizer
        from tokbench.metrics.record import saved_weights, tokenizer_record
        from tokbench.models import Tokenizer

        asked, recipe = self.asked, self.tokenizer.recipe
        tokenizer = Tokenizer.from_pretrained(folder)
        tokenizer.to("cuda" if torch.cuda.is_available() and not cpu else "cpu").eval()
        clips = len(axes(asked.image_size)) == 3
        every: Any = {"stride": recipe.data.stride, "fps": recipe.data.fps} if clips else {}
        images: Any = open_images(
            self.data, "eval", image_size=asked.image_size, limit=asked.limit, channels=tokenizer.config.channels,
            crop=measured_by(recipe.data.crop), **every,
        )  # fmt: skip
        found = evaluate_tokenizer(
            tokenizer, images, metrics=asked.metrics, batch_size=recipe.evaluation.batch_size, by_depth=False
        )
        return tokenizer_record(
            found, tokenizer, name=recipe.name, recipe=recipe.resolved(), cell=self.key, seed=recipe.seed,
            weights_which=saved_weights(folder),
        )  # fmt: skip


@dataclass(frozen=True)
class ProbedCell(FollowUp):
    """A linear probe of a tokenizer, or of the AR on its codes."""

    stage, of = "probe", "model"
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
            data.source, data.image_size, data.channels, limit=asked.limit, eval_limit=asked.eval_limit,
            stride=data.stride, fps=data.fps,
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


def follow_ups(settings: ScaleSettings, trained: Mapping[str, Sequence[Cell]]) -> dict[str, list[FollowUp]]:
    """By part, a cell for each tokenizer, or AR, of the parts that it is about (a probe without: all).

    Args:
        trained: the cells of each part with sweeps.

    Raises:
        TokbenchError: no such part, or no such metric; said before anything is trained.
    """
    found: dict[str, list[FollowUp]] = {}
    every: dict[str, Elsewhere | Probed] = {**settings.elsewhere, **settings.probes}
    for part, asked in every.items():
        parts = [asked.of] if isinstance(asked, Elsewhere) else asked.of or list(trained)
        if unknown := next((name for name in parts if name not in trained), None):
            raise TokbenchError(f"{part}: {unknown} is not a part with sweeps")
        if isinstance(asked, Elsewhere):
            _check_metrics(asked.metrics)
        kind = GeneratorCell if isinstance(asked, Probed) and asked.reads == "ar" else TokenizerCell
        cells = {cell.key: cell for name in parts for cell in trained[name] if isinstance(cell, kind)}
        found[part] = [
            ElsewhereCell(cell, asked) if isinstance(asked, Elsewhere) else ProbedCell(cell, asked)
            for cell in cells.values()
        ]
    return found


def _check_metrics(names: Sequence[str]) -> None:
    from tokbench.metrics import get

    for name in names:
        get(name)


def run_follow_ups(
    cells: Sequence[FollowUp], work: Path, say: Callable[[str], object], *, cpu: bool = False
) -> Iterator[Record]:
    """A record of each cell that can be measured, one after the other; of the others ``say`` is called with why not."""
    from tokbench.sweeps.stages import model_folder

    for cell in cells:
        folder = model_folder(cell.tokenizer, work)
        if folder is None:
            say(f"skipped {cell.label}: its tokenizer (cell {cell.tokenizer.key}) is not there")
            continue
        say(f"{cell.label}: {cell.stage}")
        try:
            yield cell.measure(folder, work, cpu).replace(cell=cell.key, experiment=cell.experiment)
        except (TokbenchError, ValueError) as error:  # a tokenizer's word for samples that are not its own
            say(f"failed {cell.label}: {error}")

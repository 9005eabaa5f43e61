"""What a probe reads of images, and the classifier that reads it: codes, pixels, code vectors, an AR's middle."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tokbench.config.grid import Grid, axes
from tokbench.errors import TokbenchError, did_you_mean, size_text
from tokbench.generators import Generator
from tokbench.generators.building import check_tokenizer
from tokbench.models import Tokenizer
from tokbench.probe.classifier import Classifier, CodeInput, PatchInput, ProbeSettings
from tokbench.probe.linear import Features, LinearClassifier, of_generator, of_tokenizer
from tokbench.probe.record import asked
from tokbench.probe.samples import Labelled

READS = ("codes", "pixels", "linear", "ar")


def check_reads(reads: list[str], generator: str | None, block: int | None) -> None:
    """TokbenchError for what cannot be read, or an AR that is given and not read."""
    for arm in reads:
        if arm not in READS:
            raise TokbenchError(f"--inputs {arm}: unknown{did_you_mean(arm, READS)}")
    if "ar" in reads and generator is None:
        raise TokbenchError("--inputs ar reads an AR on these codes: give its folder by --generator")
    if "ar" not in reads and (generator is not None or block is not None):
        raise TokbenchError("--generator and --block are of --inputs ar: add it, or leave them out")


@dataclass(frozen=True)
class Arm:
    """One of ``READS`` on one tokenizer and data set: ``recipe`` is what decides its result but the seed."""

    reads: str
    tokenizer: Tokenizer
    data: Labelled
    grid: Grid
    settings: ProbeSettings
    recipe: dict[str, Any]
    features: Features | None = None  # of a linear probe

    @property
    def of_codes(self) -> bool:
        """Whether it reads what a tokenizer makes, and not pixels."""
        return self.reads != "pixels"

    @property
    def pixels(self) -> str:
        """What a row of pixels is called."""
        return f"pixels on a {size_text(self.grid)} grid"

    def classifier(self) -> Classifier | LinearClassifier:
        """A new one, on the device of the tokenizer. TokbenchError for a grid that patches of pixels cannot share."""
        where, classes = next(self.tokenizer.parameters()).device, self.data.classes
        if self.features is not None:
            blank = torch.zeros(1, *self.grid, len(self.tokenizer.quantizer.codebook_sizes), dtype=torch.int64)
            return LinearClassifier(self.features, self.features(blank.to(where)).shape[1], classes).to(where)
        images = self.data.held_out
        read = (
            CodeInput(self.tokenizer.quantizer, self.settings.width)
            if self.of_codes
            else PatchInput(axes(images.image_size), self.tokenizer.config.channels, self.grid, self.settings.width)
        )
        return Classifier(read, math.prod(self.grid), classes, self.settings).to(where)


def make_arms(
    reads: list[str],
    tokenizer: Tokenizer,
    data: Labelled,
    settings: ProbeSettings,
    generator: str | Path | None = None,
    block: int | None = None,
) -> list[Arm]:
    """Every arm, once it is known that it can be read.

    Args:
        generator: the folder of an AR on the tokenizer's codes, for ``ar``, and after which of its blocks it is read.

    Raises:
        TokbenchError: no such AR or block, one of another tokenizer or size, pixels that share no grid with the codes.
    """
    grid = tokenizer.grid(data.held_out.image_size)
    made = []
    for arm in reads:
        features: Features | None = None
        more: dict[str, Any] = {}
        if arm == "linear":
            features = of_tokenizer(tokenizer.quantizer)
        elif arm == "ar":
            assert generator is not None
            features, more = _of_generator(generator, tokenizer, grid, block)
        recipe = asked(arm, data, grid, settings, tokenizer if arm != "pixels" else None, more)
        made.append(Arm(arm, tokenizer, data, grid, settings, recipe, features))
        made[-1].classifier()  # what cannot be is found out before anything is trained
    return made


def _of_generator(
    folder: str | Path, tokenizer: Tokenizer, grid: Grid, block: int | None
) -> tuple[Features, dict[str, Any]]:
    model = Generator.from_pretrained(folder)
    check_tokenizer(model, tokenizer, str(folder))
    if model.grid != tuple(grid):
        raise TokbenchError(f"--generator {folder}: its codes lie on {model.grid}, and those of these images on {grid}")
    model = model.to(next(tokenizer.parameters()).device).eval()
    features, chosen = of_generator(model, tokenizer.quantizer, block)
    return features, {"generator": model.sha256(), "block": chosen}

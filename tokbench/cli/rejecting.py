"""Drawn images of which a judge keeps the best, as files: what ``--reject`` adds to ``generating``."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokbench.errors import TokbenchError
from tokbench.generators.pipeline import Pipeline
from tokbench.generators.rejection import Rejection
from tokbench.results.files import write

if TYPE_CHECKING:
    from tokbench.cli.generating import Settings

_CANDIDATES, _COST = "candidates", "rejection.json"


@dataclass(frozen=True)
class Judged:
    """The judged images of one folder."""

    rejection: Rejection
    settings: Settings
    out: Path

    @classmethod
    def of(cls, settings: Settings, pair: Pipeline, n: int, out: Path) -> Judged | None:
        """None where nothing is rejected. TokbenchError for options that do not go together."""
        rate, judge = settings.reject, settings.judge
        if (rate is None) != (judge is None):
            raise TokbenchError("--reject and --judge go together: the share that is kept, and the network that ranks")
        if rate is None or judge is None:
            return None
        for option, given in (("--image", settings.image), ("--condition", settings.conditions)):
            if given:
                raise TokbenchError(f"{option} and --reject: leave out one of the two")
        if pair.draws_clips:
            raise TokbenchError("--reject: is not for clips")
        texts = tuple(dict.fromkeys(settings.texts))
        rejection = Rejection.open(
            pair, judge, out / _CANDIDATES, n=n, rate=rate, classes=settings.classes, texts=texts
        )
        return cls(rejection, settings, out)

    @property
    def described(self) -> dict[str, Any]:
        """For ``settings.json``: how many are kept decides which, so their number is among them."""
        rejection, judge = self.rejection, self.rejection.judge
        return {"reject": rejection.rate, "judge": judge.name, "judge_sha256": judge.digest, "n": rejection.n}

    def batches(self, numbers: list[int], batch_size: int, progress: Callable[[float], None] | None) -> Any:
        """As ``Pipeline.stream``; before the images, an empty batch for each batch of candidates that is judged."""
        if not numbers:
            return
        settings = self.settings
        for _ in self.rejection.draw(
            batch_size=batch_size,
            seed=settings.seed,
            sampling=settings.sampling,
            size=settings.size,
            progress=progress,
        ):
            yield [], []
        yield from self.rejection.images(numbers, batch_size)
        write(self.out / _COST, json.dumps(self.rejection.cost(), indent=2) + "\n")

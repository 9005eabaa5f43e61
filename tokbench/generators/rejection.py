"""Rejection sampling: of the images drawn of each class, or text, those are kept that a judge is surest of.

As in VQ-VAE-2 (Razavi et al. 2019, arXiv:1906.00446) and after it VQ-GAN and RQ-Transformer: of each class N / a images
are drawn and the N with the highest probability of that class are kept. a is the acceptance rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tokbench.config.condition import ClassConfig, TextConfig
from tokbench.errors import TokbenchError
from tokbench.generators.judges import TEXTS, Judge, check_judge, load_judge
from tokbench.generators.pipeline import Pipeline, batches_of
from tokbench.generators.text_judge import TextJudge, check_text_judge, load_text_judge
from tokbench.results.files import written

MOST = 10**8  # candidates


@dataclass(frozen=True)
class Quota:
    """How many candidates are drawn for ``n`` images, and which are kept.

    Candidate k is of class k modulo ``classes``, and so is the k-th image that is kept. Candidates of a higher rate are
    among those of a lower one.
    """

    n: int
    rate: float
    classes: int
    of: str = "classes"

    def check(self) -> None:
        """TokbenchError for a rate that is not above 0 and at most 1, or fewer images than classes."""
        if not 0 < self.rate <= 1:
            raise TokbenchError(f"--reject {self.rate:g}: the share that is kept, above 0 and at most 1")
        if self.n < self.classes:
            raise TokbenchError(
                f"--reject {self.rate:g}: {self.n} images of {self.classes} {self.of} are less than one of each: ask "
                f"for {self.classes} at least, or for fewer {self.of}"
            )
        if self.n / self.rate > MOST:
            raise TokbenchError(f"--reject {self.rate:g}: {self.n} images of {self.n / self.rate:.1e} drawn: too many")

    @property
    def candidates(self) -> list[int]:
        """Their numbers."""
        drawn = [math.ceil(kept / self.rate - 1e-9) for kept in self._kept]
        most = self.classes * max(drawn)
        return [k for k in range(most) if k // self.classes < drawn[k % self.classes]]

    @property
    def _kept(self) -> list[int]:
        return [(self.n - place - 1) // self.classes + 1 for place in range(self.classes)]

    def kept(self, probabilities: Mapping[int, float]) -> list[int]:
        """The candidate that each image is, those of a class in falling order of its probability; the lower number
        first where they are equal."""
        own = sorted(self.candidates, key=lambda k: (-probabilities[k], k))
        by_class: list[list[int]] = [[] for _ in range(self.classes)]
        for k in own:
            by_class[k % self.classes].append(k)
        return [by_class[image % self.classes][image // self.classes] for image in range(self.n)]


class Candidates:
    """Codes that were drawn and the probability of the class asked for (of a text the cosine), in a folder: a file for
    every batch, so that a run that was stopped judges none of them again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.probabilities: dict[int, float] = {}
        self._files: dict[int, tuple[Path, int]] = {}
        for path in sorted(folder.glob("*.npz")):
            self._list(path)

    def _list(self, path: Path) -> None:
        try:
            with np.load(path, allow_pickle=False) as file:
                numbers, probabilities, count = file["numbers"], file["probabilities"], len(file["codes"])
        except Exception:  # what a damaged archive raises is documented nowhere; its images are drawn again
            return
        if len(numbers) != len(probabilities) or len(numbers) != count:
            return
        for row, number in enumerate(numbers.tolist()):
            self.probabilities[number], self._files[number] = float(probabilities[row]), (path, row)

    def add(self, numbers: Sequence[int], codes: Tensor, probabilities: Tensor) -> None:
        """Candidates of these numbers: codes (b, *grid, D), probabilities (b,)."""
        path = self.folder / f"{numbers[0]:09d}.npz"
        with written(path) as draft, open(draft, "wb") as file:
            np.savez(
                file,
                numbers=np.asarray(numbers),
                codes=codes.cpu().numpy().astype(np.int32),
                probabilities=probabilities.cpu().float().numpy(),
            )
        self._list(path)

    def codes(self, numbers: Sequence[int]) -> Tensor:
        """int64 (n, *grid, D)."""
        found = []
        for number in numbers:
            path, row = self._files[number]
            with np.load(path, allow_pickle=False) as file:
                found.append(torch.from_numpy(file["codes"][row]).long())
        return torch.stack(found)


@dataclass(frozen=True)
class Rejection:
    """The ``n`` images that a judge keeps of those a generator draws.

    Args:
        rate: the share that is kept of every class.
        classes: class ids to draw, each once; empty: all.
        texts: what the judge of a generator of texts, a ``TextJudge``, reads; candidate k is of text k modulo their
            number.
        ids: the same as the generator reads it, (m, length); empty: the texts' tokens.

    Raises:
        TokbenchError: a generator without what the judge ranks by, a rate out of range, fewer images than classes.
    """

    pair: Pipeline
    judge: Judge
    candidates: Candidates
    n: int
    rate: float
    classes: tuple[int, ...] = ()
    texts: tuple[str, ...] = ()
    ids: Tensor | None = None

    @classmethod
    def open(cls, pair: Pipeline, judge: str, folder: Path, *, n: int, rate: float, **asked: Any) -> Rejection:
        """With the judge of that name and the candidates that lie in a folder; ``asked``: classes or texts."""
        return cls(pair, judge_for(pair, judge), Candidates(folder), n, rate, **asked)

    def __post_init__(self) -> None:
        if isinstance(self.judge, TextJudge):
            check_texts(self.pair)
            if not self.texts:
                raise TokbenchError("--judge clip: ranks images by the texts asked for: give --text")
        else:
            check_classes(self.pair)
            if bool((self.turn < 0).any()):
                raise TokbenchError("--class -1 and --reject: a judge knows no image without a class")
        self.quota.check()

    @property
    def turn(self) -> Tensor:
        """int64 (m, ...): the class or text of the candidates 0 .. m - 1, and then around."""
        if self.ids is not None:
            return self.pair.in_turn(self.ids)
        return self.pair.in_turn(self.texts or tuple(dict.fromkeys(self.classes)) or None)

    @property
    def quota(self) -> Quota:
        return Quota(self.n, self.rate, len(self.turn), "texts" if self.texts else "classes")

    def draw(
        self, *, batch_size: int, progress: Callable[[float], None] | None = None, **settings: Any
    ) -> Iterator[int]:
        """Draw and judge the candidates that are missing; yields how many were before each batch is kept. The settings
        are those of ``Pipeline.codes``."""
        turn, held = self.turn, self.candidates.probabilities
        asked: Sequence[Any] = self.texts or turn.tolist()
        missing = [k for k in self.quota.candidates if k not in held]
        for numbers, places, codes in self.pair.codes(
            missing, conditions=turn, batch_size=batch_size, progress=progress, **settings
        ):
            images = self.pair.decode(codes)[places]
            probabilities = self.judge.sure(images, [asked[number % len(asked)] for number in numbers])
            if not bool(probabilities.isfinite().all()):
                raise TokbenchError(f"--judge {self.judge.name}: its scores are not numbers: damaged weights")
            yield len(numbers)
            self.candidates.add(numbers, codes[places.to(codes.device)], probabilities)

    def images(self, numbers: Sequence[int], batch_size: int) -> Iterator[tuple[list[int], Tensor]]:
        """The kept images of these numbers, batch by batch, once all candidates are judged: as ``Pipeline.stream``."""
        chosen = self.quota.kept(self.candidates.probabilities)
        for first, wanted in batches_of(numbers, batch_size):
            codes = self.candidates.codes(chosen[first : first + batch_size]).to(self.pair.generator.device)
            yield wanted, self.pair.decode(codes)[[number - first for number in wanted]]

    def cost(self) -> dict[str, Any]:
        """What a record says of it; empty as long as not all candidates are judged."""
        held, drawn = self.candidates.probabilities, self.quota.candidates
        if not held.keys() >= set(drawn):
            return {}
        kept = self.quota.kept(held)
        return {
            "reject": self.rate,
            "judge": self.judge.name,
            "judge_sha256": self.judge.digest,
            "drawn": len(drawn),
            "kept": self.n,
            "drawn_per_kept": round(len(drawn) / self.n, 4),
            f"{self.judge.measure}_drawn": round(math.fsum(held[k] for k in drawn) / len(drawn), 6),
            f"{self.judge.measure}_kept": round(math.fsum(held[k] for k in kept) / self.n, 6),
        }


def check_classes(pair: Pipeline) -> int:
    """The generator's classes. TokbenchError where it has none, so that nothing can be asked of a judge."""
    config = pair.generator.config.condition
    if not isinstance(config, ClassConfig) or not config.num_classes:
        raise TokbenchError(
            "--reject: images are ranked by the class that was asked for, and the generator's condition is "
            f"{config.describe()}{' (--judge clip:NAME ranks by texts)' if isinstance(config, TextConfig) else ''}"
        )
    return config.num_classes


def check_texts(pair: Pipeline) -> None:
    """TokbenchError for a generator of anything but texts."""
    config = pair.generator.config.condition
    if not isinstance(config, TextConfig):
        raise TokbenchError(
            f"--judge clip: ranks images by their texts, and the generator's condition is {config.describe()}"
        )


def check_ranks(name: str, asked: str = "--judge") -> None:
    """TokbenchError where ``name`` cannot be a judge of classes or of texts; what it is of is not read."""
    (check_text_judge if name.startswith(TEXTS) else check_judge)(name, asked)


def judge_for(pair: Pipeline, name: str) -> Judge:
    """The judge of that name for what the generator draws. TokbenchError where it cannot judge that."""
    device = str(pair.generator.device)
    if not name.startswith(TEXTS):
        return load_judge(name, check_classes(pair), device)
    check_texts(pair)
    return load_text_judge(name, device)

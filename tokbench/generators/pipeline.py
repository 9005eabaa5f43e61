"""A generator with its tokenizer: codes drawn, images decoded, one after the other for as many as are wanted."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from tokbench import threads
from tokbench.config.condition import CodesConfig
from tokbench.config.grid import Size, axes
from tokbench.data.decode import UnreadableImage
from tokbench.data.map_view import view_of
from tokbench.data.maps import to_model, to_samples, visible
from tokbench.errors import TokbenchError, size_text
from tokbench.generators.base import Generator, Progress
from tokbench.generators.building import (
    CONDITION_TOKENIZER,
    check_condition_tokenizer,
    check_tokenizer,
    image_size,
    partner_codes,
)
from tokbench.generators.sampling import Sampling
from tokbench.generators.window import Slide, slide_of
from tokbench.models import Tokenizer
from tokbench.models.tokenizer import chosen_size


@dataclass
class Pipeline:
    """Both models on one device, in evaluation mode."""

    generator: Generator
    tokenizer: Tokenizer
    condition_tokenizer: Tokenizer | None = None  # where the condition is codes of one

    @classmethod
    def load(
        cls,
        generator: str | PathLike[str],
        tokenizer: str | None = None,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Pipeline:
        """Read a generator and its tokenizer.

        Args:
            tokenizer: where the tokenizer lies; empty: where it lay when the generator was trained.
            dtype: precision of the generator's weights; the tokenizer stays fp32.

        Raises:
            TokbenchError: one of them is not there, or the tokenizer is another than the generator's.
        """
        model = Generator.from_pretrained(generator)
        reference = model.config.tokenizer
        source = tokenizer or (_where(model, reference.source, reference.source) if reference else "")
        if not source:
            raise TokbenchError(f"{generator}: does not say which tokenizer it was trained on; give --tokenizer")
        try:
            pair = Tokenizer.from_pretrained(source)
        except TokbenchError as error:
            hint = "" if tokenizer else " (the generator's tokenizer; say where it is now with --tokenizer)"
            raise TokbenchError(f"{error}{hint}") from None
        check_tokenizer(model, pair, source)
        other = _condition_tokenizer(model)
        moved = other.to(device).eval() if other is not None else None
        return cls(model.to(device).cast(dtype).eval(), pair.to(device).eval(), moved)

    @property
    def image_size(self) -> Size:
        """Of the images whose codes are modelled, in pixels."""
        return image_size(self.generator, self.tokenizer)

    @property
    def draws_clips(self) -> bool:
        """Whether the images are clips."""
        return len(axes(self.image_size)) == 3

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Generator codes (n, *grid, D) -> uint8 images (n, C, H, W) on the CPU, label maps in colours."""
        quantizer, kind = cast(Any, self.tokenizer.quantizer), self.tokenizer.config.kind
        return visible(to_samples(self.tokenizer.decode(quantizer.join(codes)), kind), kind).cpu()

    def read(self, path: Path, size: Size | None = None) -> Tensor:
        """An image file as a sample (C, H, W) of the generator's size, or of another. TokbenchError where it cannot be
        read."""
        config = self.tokenizer.config
        view = view_of(config.kind, size or self.image_size, "adm", channels=config.channels)
        try:
            return view.take(view.load(path, str(path)), 0, 0)[0]
        except UnreadableImage as error:
            raise TokbenchError(f"{path}: {error.reason}") from None

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Float images (n, C, H, W) in [-1, 1] -> generator codes (n, *grid, D)."""
        quantizer: Any = self.tokenizer.quantizer
        return quantizer.subcodes(self.tokenizer.encode(images.to(self.generator.device)))

    def encode_file(self, path: Path, size: Size | None = None) -> Tensor:
        """An image file -> generator codes (1, *grid, D). Raises as ``read``."""
        config = self.tokenizer.config
        return self.encode(to_model(self.read(path, size)[None], config.kind, config.channels))

    def condition_codes(self, partners: Tensor) -> Tensor:
        """What goes with images (``tokbench.data.partner``), (n, ...) -> the codes (n, *grid, D) of the condition.

        Raises:
            TokbenchError: the generator's condition is not of such codes.
        """
        config, other = self.generator.config.condition, self.condition_tokenizer
        if other is None or not isinstance(config, CodesConfig) or config.partner is None:
            raise TokbenchError(f"the generator is not conditioned on images but is {config.describe()}")
        return partner_codes(other, config.partner, partners)

    def slide(self, size: Size | None) -> Slide | None:
        """How images of ``size`` pixels are drawn; None where they are those of the generator.

        Raises:
            TokbenchError: a size that the tokenizer has no codes for, or that no window slides to.
        """
        if size is None:
            return None
        return slide_of(self.generator.config, self.tokenizer.grid(chosen_size(self.tokenizer, size, "--size")))

    def in_turn(self, conditions: Tensor | Sequence[int] | Sequence[str] | None, slide: Slide | None = None) -> Tensor:
        """What images 0, 1 .. are drawn of, and then around: the given conditions, or all that there are."""
        kind = self.generator.condition
        if conditions is None:
            usual = kind.usual if slide is None else kind.usual_map(slide)
            if len(usual):
                return usual
        n = 1 if conditions is None else len(conditions)
        return kind.check(conditions, n) if slide is None else kind.check_map(conditions, n, slide)

    def codes(
        self,
        numbers: Sequence[int],
        *,
        conditions: Tensor | Sequence[int] | Sequence[str] | None = None,
        seed: int = 0,
        sampling: Sampling | None = None,
        batch_size: int = 16,
        size: Size | None = None,
        progress: Progress | None = None,
    ) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """Codes of the images of these numbers, batch by batch: (numbers, the places in the batch of these, codes (B,
        *grid, D) of the whole batch).

        The given conditions (class ids, first frames; by default every class) are gone through in turn. Which images
        they are depends on seed, number and condition. With the same ``batch_size`` on the same machine they are equal
        to the bit, whichever of them are asked for; with another, kernels of another shape round otherwise: the codes
        are the same short of a near tie, a pixel may differ by one level.

        Args:
            size: in pixels, where it is not the generator's own: by a window that slides.

        Raises:
            TokbenchError: a condition or a size that does not exist, guidance without one.
        """
        if not numbers:
            return
        generator, sampling, slide = self.generator, sampling or Sampling(), self.slide(size)
        turn = self.in_turn(conditions, slide)  # what is wrong with one of them is said before the first image is drawn
        if sampling.guidance != 1.0:
            generator.condition.check_guidance(turn)
        rows = min(batch_size, max(numbers) + 1)
        sample = generator.batch_sampler(rows, sampling, slide)
        done = 0
        for first, wanted in batches_of(numbers, rows):
            drawn = torch.arange(first, first + rows, device=generator.device)

            def report(part: float, before: int = done, now: int = len(wanted)) -> None:
                if progress is not None:
                    progress((before + part * now) / len(numbers))

            codes = sample(turn[drawn % len(turn)], seed, drawn, report)
            done += len(wanted)
            yield wanted, torch.tensor([number - first for number in wanted]), codes

    def stream(self, numbers: Sequence[int], **settings: Any) -> Iterator[tuple[list[int], Tensor]]:
        """The images of ``codes``, batch by batch: (numbers, uint8 images (b, C, H, W))."""
        for wanted, places, codes in self.codes(numbers, **settings):
            yield wanted, self.decode(codes)[places]

    def completions(
        self,
        image: Path,
        keep: Tensor,
        numbers: Sequence[int],
        *,
        conditions: Tensor | Sequence[int] | Sequence[str] | None = None,
        seed: int = 0,
        sampling: Sampling | None = None,
        batch_size: int = 16,
        size: Size | None = None,
    ) -> Iterator[tuple[list[int], Tensor]]:
        """As ``stream``, around what is kept of an image file: the positions of the map where ``keep`` is true."""
        slide, turn = self.slide(size), None
        given = self.encode_file(image, size)
        if conditions is not None or not self.generator.condition.config.has_null:
            turn = self.in_turn(conditions, slide)
        for first, wanted in batches_of(numbers, batch_size):
            drawn = torch.arange(first, first + batch_size, device=self.generator.device)
            codes = self.generator.generate(
                batch_size,
                condition=None if turn is None else turn[drawn % len(turn)],
                size=None if slide is None else slide.map,
                seed=seed,
                first=first,
                sampling=sampling,
                given=given,
                mask=keep,
            )
            yield wanted, self.decode(codes)[[number - first for number in wanted]]


def _where(model: Generator, folder: str, source: str) -> str:
    """Where a tokenizer of a generator lies: in this folder of the generator's own, where it came with it."""
    inside = model.home / folder if model.home is not None and folder else None
    return str(inside) if inside is not None and inside.is_dir() else source


def _condition_tokenizer(model: Generator) -> Tokenizer | None:
    """The tokenizer of the generator's condition; None where that is not codes of one."""
    config = model.config.condition
    if not isinstance(config, CodesConfig) or config.tokenizer is None:
        return None
    source = _where(model, CONDITION_TOKENIZER, config.tokenizer.source)
    try:
        found = Tokenizer.from_pretrained(source)
    except TokbenchError as error:
        raise TokbenchError(f"{error} (the tokenizer of the generator's condition)") from None
    check_condition_tokenizer(config.tokenizer, found, source)
    return found


def batches_of(numbers: Sequence[int], size: int) -> Iterator[tuple[int, list[int]]]:
    """The batches that hold these numbers, each as (its first number, which of its numbers are wanted).

    Batch k is always ``k * size .. (k + 1) * size - 1``, drawn whole even where few of its images are wanted: an image
    keeps its place in a batch of one shape, so that a run that was stopped continues to the same bits. Before each one
    the threads follow the machine's load.
    """
    for batch, members in itertools.groupby(sorted(numbers), key=lambda number: number // size):
        threads.adapt()
        yield batch * size, list(members)


def keep_mask(text: str, grid: Sequence[int]) -> Tensor:
    """Which positions of a grid (H, W) are kept: ``top``, ``bottom``, ``left``, ``right``, ``inside`` (the middle:
    out-painting) or ``outside`` (the border: in-painting), with ``:FRACTION`` of the side (0.5).

    Raises:
        TokbenchError: another word, a fraction that keeps nothing or everything, or a grid that is not a map.
    """
    if len(grid) != 2:
        raise TokbenchError(f"--keep {text}: needs codes in rows and columns, and these are {size_text(grid)}")
    height, width = grid
    side, _, number = text.partition(":")
    try:
        fraction = float(number) if number else 0.5
    except ValueError:
        fraction = -1.0
    if not 0 < fraction < 1 or side not in ("top", "bottom", "left", "right", "inside", "outside"):
        raise TokbenchError(
            f"--keep {text}: expected top, bottom, left, right, inside or outside, and a fraction such as top:0.5"
        )
    mask = torch.zeros(height, width, dtype=torch.bool)
    rows, columns = max(1, round(height * fraction)), max(1, round(width * fraction))
    if side == "top":
        mask[:rows] = True
    elif side == "bottom":
        mask[height - rows :] = True
    elif side == "left":
        mask[:, :columns] = True
    elif side == "right":
        mask[:, width - columns :] = True
    else:
        top, left = (height - rows) // 2, (width - columns) // 2
        mask[top : top + rows, left : left + columns] = True
        mask = ~mask if side == "outside" else mask
    if mask.all() or not mask.any():
        raise TokbenchError(f"--keep {text}: leaves nothing to draw on a map of {height}x{width} codes")
    return mask

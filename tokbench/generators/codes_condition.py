"""Codes of another tokenizer as a condition: a depth map, a segmentation, coordinates, another view of the image.

As published (Esser et al. 2021, arXiv:2012.09841, section 3.2; ``Net2NetTransformer`` of CompVis/taming-transformers)
they are a prefix that is read causally like everything after it. Their vectors are a table of their own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tokbench.config.condition import CodesConfig
from tokbench.errors import TokbenchError, shown, size_text
from tokbench.generators.condition import Condition, Given, condition_of
from tokbench.generators.coordinates import coordinate_codes, coordinate_map
from tokbench.generators.window import Slide


@condition_of(CodesConfig)
class CodesCondition(nn.Embedding, Condition):
    """Codes int64 (n, *grid, D), -1 throughout for none: a row for each code of each depth, summed over the depths,
    and, where there is a null, one more."""

    config: CodesConfig
    offsets: Tensor

    def __init__(self, config: CodesConfig, width: int) -> None:
        sizes = config.vocabulary
        super().__init__(sum(sizes) + config.has_null, width)
        self.config = config
        starts = [sum(sizes[:depth]) for depth in range(len(sizes))]
        self.register_buffer("offsets", torch.tensor(starts), persistent=False)

    def check(self, given: Given, n: int) -> Tensor:
        return self._checked(given, n, self.config.shape)

    def check_map(self, given: Given, n: int, slide: Slide) -> Tensor:
        down, across = self._factors(slide)
        return self._checked(given, n, (slide.map[0] * down, slide.map[1] * across, self.config.shape[-1]))

    def within(self, condition: Tensor, start: tuple[int, int], slide: Slide) -> Tensor:
        top, left = (place * factor for place, factor in zip(start, self._factors(slide), strict=True))
        height, width = self.config.map
        return condition[:, top : top + height, left : left + width]

    def _factors(self, slide: Slide) -> tuple[int, int]:
        """Rows and columns of the condition for each of the codes. TokbenchError where they are no whole numbers."""
        own = self.config.map
        if len(own) != 2 or any(mine % side for mine, side in zip(own, slide.window, strict=True)):
            raise TokbenchError(
                f"the condition's {size_text(own)} codes are no multiple of the generator's "
                f"{size_text(slide.window)}: a window that slides by one code has none of its own"
            )
        return own[0] // slide.window[0], own[1] // slide.window[1]

    def _checked(self, given: Given, n: int, shape: tuple[int, ...]) -> Tensor:
        """As ``check``, of codes of this shape."""
        if given is None:
            if not self.config.has_null:
                raise TokbenchError(f"the generator needs a condition: {self.config.describe()}")
            return torch.full((n, *shape), -1, dtype=torch.int64, device=self.weight.device)
        if not isinstance(given, Tensor) or given.dtype != torch.int64:
            raise TokbenchError(f"a condition of codes is an int64 tensor, not {shown(given)}")
        codes = given.to(self.weight.device)
        codes = codes[None] if codes.dim() == len(shape) else codes
        if tuple(codes.shape[1:]) != shape or len(codes) not in (1, n):
            raise TokbenchError(
                f"a condition of codes {size_text(tuple(given.shape))} for {n} images: the generator's is "
                f"{size_text(shape)}, one for all or one each"
            )
        if not torch.compiler.is_compiling():  # a look at the values would break the graph
            self._check_range(codes)
        return codes.expand(n, *shape)

    def _check_range(self, codes: Tensor) -> None:
        stacks = codes.flatten(1, -2)  # (n, N, D)
        if self.config.has_null:
            stacks = stacks[(stacks != -1).flatten(1).any(1)]
        sizes = torch.tensor(self.config.vocabulary, device=codes.device)
        if bool((wrong := (stacks < 0) | (stacks >= sizes)).any()):
            depth = int(wrong.nonzero()[0, -1])
            raise TokbenchError(
                f"code {int(stacks[wrong][0])} at depth {depth + 1} of the condition is outside its vocabulary of "
                f"{self.config.vocabulary[depth]}: these are not its tokenizer's codes"
            )

    def null(self, n: int) -> Tensor:
        return torch.full((n, *self.config.shape), -1, dtype=torch.int64, device=self.weight.device)

    def forward(self, condition: Tensor) -> Tensor:
        rows = torch.where(condition < 0, self.num_embeddings - 1, condition + self.offsets)
        return super().forward(rows.flatten(1, -2)).sum(-2)

    def ask(self, images: Any) -> None:
        if self.config.downsampling:
            images.give_coordinates()

    def of(self, batch: Any) -> Tensor:
        if self.config.downsampling and "coordinates" in batch:
            return self._coded(batch["coordinates"])
        if "condition" not in batch:
            raise TokbenchError(
                f"the generator is conditioned on {self.config.describe()}, and these images come with none: name a "
                "source of pairs, folder:IMAGES,depth=MAPS (or masks=, images=)"
            )
        codes: Tensor = batch["condition"]
        return codes.to(self.weight.device, non_blocking=True)

    @property
    def usual(self) -> Tensor:
        """Of coordinates those of a whole image; codes of another image there are none of."""
        return self._coordinates(*self.config.map) if self.config.downsampling else self.null(0)

    def usual_map(self, slide: Slide) -> Tensor:
        if not self.config.downsampling:
            return self.null(0)
        down, across = self._factors(slide)
        return self._coordinates(slide.map[0] * down, slide.map[1] * across)

    def _coordinates(self, height: int, width: int) -> Tensor:
        """(1, height, width, 1)."""
        factor = self.config.downsampling or 1
        return self._coded(coordinate_map(height * factor, width * factor))

    def _coded(self, map: Tensor) -> Tensor:
        """Coordinates (B, 1, H, W) -> codes. The last of a large image, which as published have no code, have the last
        code."""
        (size,) = self.config.vocabulary
        codes = coordinate_codes(map, size, self.config.downsampling or 1)
        return codes.clamp(max=size - 1).to(self.weight.device)

    def check_guidance(self, condition: Tensor) -> None:
        super().check_guidance(condition)
        if bool((condition < 0).any()):
            raise TokbenchError("guidance needs a condition for every image")

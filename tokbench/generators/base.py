"""What every generator is: a model of code stacks (n, *grid, D) that knows their vocabularies and no quantizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokbench.config.generator import GeneratorConfig
from tokbench.config.grid import Grid
from tokbench.errors import TokbenchError
from tokbench.generators.card import generator_card
from tokbench.generators.codes_condition import CodesCondition  # noqa: F401  (a kind that build_condition knows)
from tokbench.generators.condition import Given, build_condition
from tokbench.generators.limits import check_vocabulary
from tokbench.generators.noise import image_keys, random_keys
from tokbench.generators.sampling import Sampling
from tokbench.generators.text_condition import TextCondition  # noqa: F401  (a kind that build_condition knows)
from tokbench.generators.window import Slide, slide_of
from tokbench.models.folder import SavedModel
from tokbench.results.card import Card

Progress = Callable[[float], None]  # called with the fraction that is done, 0..1
BatchSampler = Callable[..., Tensor]


class Drawing(NamedTuple):
    """A batch to be drawn."""

    condition: Tensor  # (n, ...), checked
    keys: Tensor  # (n,), which its noise depends on
    sampling: Sampling
    known: Tensor | None  # codes (n, T, D)
    kept: Tensor  # bool (n, T): where the known ones hold
    progress: Progress | None
    slide: Slide | None = None  # over a larger map, whose positions T then are


class Generator(SavedModel):
    """Base class of ``AR``, ``MLM``, ``PixelSNAIL`` and ``VAR``.

    Codes are int64 (n, *grid, D) on a grid of any number of axes, those of depth d below ``vocabulary[d]``. A
    condition is what ``condition`` (a :class:`~tokbench.generators.condition.Condition`) takes: of class ids (n,), an
    int, or None for none.
    """

    Config = GeneratorConfig
    config: GeneratorConfig
    exact_nll: ClassVar[bool]  # whether ``nll`` is the model's code length, or an upper bound of it
    takes_targets: ClassVar[bool] = False  # whether ``loss`` takes other targets than the codes

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.shape, self.vocabulary = config.shape, config.vocabulary
        self.grid, self.depth = config.grid, config.shape[-1]
        self.places = math.prod(self.grid)  # T
        self.condition = build_condition(config.condition, config.condition_width)
        self.settled = config.condition.settled  # positions that the condition gives
        self.by_bits = config.by_bits
        limits = torch.tensor(config.limits) if config.limits else None
        self.register_buffer("limits", limits, persistent=False)

    def loss(
        self,
        codes: Tensor,
        condition: Given = None,
        targets: Sequence[Tensor] | None = None,
        keys: Tensor | None = None,
    ) -> Tensor:
        """The training loss, a scalar, nats per code.

        Args:
            targets: soft targets (B, T, K_d) of each depth, or the codes (B, T) that are right where others are read.
            keys: what masks and dropped conditions are drawn from (``tokbench.generators.noise``), int64 (E,), where
                these B rows are part of a batch of E: theirs first. The mean of the parts' losses is then the loss of
                the whole. By default new ones, the rows being the whole batch.

        Raises:
            TokbenchError: soft targets for a generator that takes none, codes or conditions of another shape.
        """
        if targets is not None and not self.takes_targets:
            raise TokbenchError("targets beside the codes are for generators ar and var")
        sequence = self.sequence(codes)
        keys = random_keys(len(codes), self.device) if keys is None else keys
        chosen = self.condition.drop(self.condition.check(condition, len(codes)), keys[: len(codes)])
        return self._loss(sequence, chosen, targets, keys)

    # What a subclass defines -----------------------------------------------------------------------------------

    @staticmethod
    def stacks(settings: Any) -> list[nn.Module]:
        """New blocks of these settings: what there is of its size before the codes, and so the rest, are known."""
        raise NotImplementedError

    def _loss(self, sequence: Tensor, condition: Tensor, targets: Sequence[Tensor] | None, keys: Tensor) -> Tensor:
        """``loss`` of codes (B, T, D) with conditions that are checked and dropped."""
        raise NotImplementedError

    def nll(self, codes: Tensor, condition: Given = None) -> Tensor:
        """(B,) nats per image: the code length, or an upper bound of it (``exact_nll``); of the codes that the
        condition does not give."""
        raise NotImplementedError

    def generate(
        self,
        n: int,
        *,
        condition: Given = None,
        seed: int = 0,
        first: int = 0,
        sampling: Sampling | None = None,
        given: Tensor | None = None,
        mask: Tensor | None = None,
        size: Sequence[int] | None = None,
        progress: Progress | None = None,
        **settings: Any,
    ) -> Tensor:
        """Draw codes (n, *grid, D): the images ``first`` .. ``first + n - 1`` of ``seed``.

        Image i of a seed depends on its condition and the settings and not on the batch it is drawn in (beyond the
        rounding of floating point, which can tip a near tie).

        Args:
            condition: one for all (a class id), or one per image; None draws without. Where it is a map and a size is
                given, that of the whole size.
            sampling, settings: how, see :class:`Sampling`; settings by name (``top_k=100``) change single fields.
            given, mask: keep the codes (n or 1, *grid, D) where the mask (*grid) or (n, *grid) is true.
            size: rows and columns of positions to draw instead of the grid, out of a window that slides over them.
            progress: called with the fraction that is done.

        Raises:
            TokbenchError: a condition that does not exist, guidance without one, settings out of range, given
                codes of another shape or outside the vocabulary.
        """
        sampling = (sampling or Sampling()).replace(**settings)
        self.check_sampling(sampling)
        if n < 1:
            raise TokbenchError(f"n is {n}: at least one image")
        slide = slide_of(self.config, size) if size is not None else None
        chosen = self.condition.check(condition, n) if slide is None else self.condition.check_map(condition, n, slide)
        if sampling.guidance != 1.0:
            self.condition.check_guidance(chosen)
        known, kept = self._settled(chosen, *self._kept(given, mask, n, self.grid if slide is None else slide.map))
        keys = image_keys(seed, torch.arange(first, first + n, device=self.device))
        return self._drawn(Drawing(chosen, keys, sampling, known, kept, progress, slide))

    @torch.no_grad()
    def _drawn(self, drawing: Drawing) -> Tensor:
        if self.training:
            raise TokbenchError("call eval() before generate(): dropout is on")
        return self._draw(drawing)

    def _draw(self, drawing: Drawing) -> Tensor:
        """Codes (n, *grid, D); in evaluation, without gradients."""
        raise NotImplementedError

    def checkpoint_activations(self, on: bool = True) -> None:
        """Recompute the blocks' activations in the backward pass: less memory, more time."""
        for module in self.modules():
            if hasattr(module, "checkpointing"):
                module.checkpointing = on  # type: ignore[assignment]

    def batch_sampler(self, n: int, sampling: Sampling, slide: Slide | None = None) -> BatchSampler:
        """``generate`` for many batches of the same size and settings: called with checked conditions (n, ...), the
        seed, the images' numbers (n,) and a progress callback; codes (n, *grid, D)."""
        self.check_sampling(sampling)
        places = self.places if slide is None else math.prod(slide.map)
        nothing = torch.zeros(n, places, dtype=torch.bool, device=self.device)

        def sample(condition: Tensor, seed: int, images: Tensor, progress: Progress | None = None) -> Tensor:
            known, kept = self._settled(condition, None, nothing)
            return self._drawn(Drawing(condition, image_keys(seed, images), sampling, known, kept, progress, slide))

        return sample

    def check_sampling(self, sampling: Sampling) -> None:
        """TokbenchError where this generator cannot draw so."""
        sampling.check(self.config.generator.head)
        if sampling.guidance != 1.0 and sampling.guidance_schedule == "scales" and self.config.pyramid is None:
            raise TokbenchError("guidance_schedule scales is for var, whose codes have scales; use linear")

    def cast(self, dtype: torch.dtype) -> Generator:
        """Weights in another precision, for drawing; the tokenizer's code vectors, which are summed, stay fp32."""
        vectors = self.embedding.vectors
        self.to(dtype)
        if self.config.generator.input != "learned":
            self.embedding.vectors = vectors
        return self

    # What they share -------------------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def codes_per_image(self) -> int:
        """Those that are drawn and that a code length is of: positions, without those given, times depth."""
        return (self.places - self.settled) * self.depth

    def sequence(self, codes: Tensor, grid: Grid | None = None) -> Tensor:
        """Codes (B, *grid, D) as (B, T, D), checked for shape and type; of another grid where one is given."""
        shape = (*(grid or self.grid), self.depth)
        if tuple(codes.shape[1:]) != shape or codes.dtype != torch.int64:
            raise TokbenchError(
                f"codes must be int64 (B, {', '.join(map(str, shape))}), got {codes.dtype} {tuple(codes.shape)}"
            )
        return codes.flatten(1, -2)

    def shown(self, condition: Tensor) -> Tensor | None:
        """Which places of the sequence checked conditions (B, ...) leave to be attended to, bool (B, N + T); None: all.
        Those of the codes are."""
        shown = self.condition.shown(condition)
        return None if shown is None else F.pad(shown, (0, self.places), value=True)

    def check_codes(self, codes: Tensor, grid: Grid | None = None) -> None:
        """TokbenchError where a code is outside its vocabulary. A look at every value: not for the training loop."""
        check_vocabulary(Generator.sequence(self, codes, grid), self.vocabulary, self.limits)

    def _kept(self, given: Tensor | None, mask: Tensor | None, n: int, grid: Grid) -> tuple[Tensor | None, Tensor]:
        """Given codes (n, T, D) and where they hold (n, T), on this grid."""
        if (given is None) != (mask is None):
            raise TokbenchError("given codes and the mask that says where they hold go together")
        if given is None or mask is None:
            return None, torch.zeros(n, math.prod(grid), dtype=torch.bool, device=self.device)
        given = given.to(self.device)
        if len(given) not in (1, n):
            raise TokbenchError(f"{len(given)} given code stacks for {n} images")
        self.check_codes(given, grid)
        if mask.dtype != torch.bool or tuple(mask.shape) not in (grid, (n, *grid)):
            sides = ", ".join(map(str, grid))
            raise TokbenchError(
                f"the mask must be boolean ({sides}) or (n, {sides}), got {mask.dtype} {tuple(mask.shape)}"
            )
        kept = mask.to(self.device).expand(n, *grid).flatten(1)
        return given.expand(n, *grid, self.depth).flatten(1, -2), kept

    def _settled(self, condition: Tensor, known: Tensor | None, kept: Tensor) -> tuple[Tensor | None, Tensor]:
        """The same as ``_kept`` answers, with what a checked condition gives."""
        codes = self.condition.settled(condition)
        if codes is None:
            return known, kept
        rest = codes.new_zeros(len(codes), self.places, self.depth) if known is None else known
        first = torch.arange(self.places, device=kept.device) < self.settled
        return torch.cat([codes, rest[:, self.settled :]], dim=1), kept | first

    def take_quantizer(self, quantizer: Any) -> None:
        """Take over the weights of the tokenizer's quantizer, where the generator has one of its own (``pyramid``)."""
        raise NotImplementedError

    def set_code_vectors(self, tables: Sequence[Tensor]) -> None:
        """Take over the tokenizer's code vectors (K_d, channels), where ``input`` is ``codes``."""
        embedding = self.embedding
        rows = torch.cat(list(tables[:1] if self.config.shared_codes else tables))
        if rows.shape != embedding.vectors.shape:
            raise TokbenchError(f"code vectors {tuple(rows.shape)} do not fit {tuple(embedding.vectors.shape)}")
        embedding.vectors.copy_(rows)

    embedding: Any
    limits: Tensor | None  # codes that each position has, (T,) in raster order; None: all
    _pair: tuple[Any, Any] = (None, None)  # a plain tuple: their weights are not the generator's

    def come_with(self, tokenizer: Any, condition_tokenizer: Any = None) -> None:
        """Keep the tokenizers that were read with it at hand; they are neither saved nor moved with its weights."""
        self._pair = (tokenizer, condition_tokenizer)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer that was read with an imported generator; None for others (see ``Pipeline.load``)."""
        return self._pair[0]

    @property
    def condition_tokenizer(self) -> Any:
        """The tokenizer of its condition, likewise."""
        return self._pair[1]

    @classmethod
    def of(cls, config: GeneratorConfig) -> Generator:
        """An ``AR``, ``MLM``, ``PixelSNAIL`` or ``VAR``, as the configuration says, with random weights."""
        from tokbench.generators.building import build

        return build(config)

    def card(self) -> Card:
        return generator_card(self)

    def public_config(self) -> GeneratorConfig:
        """Where the tokenizer lay on this machine is not told: its hash says enough."""
        reference = self.config.tokenizer
        if reference is None or not Path(reference.source).exists():
            return self.config
        said = reference.model_copy(update={"source": Path(reference.source).name})
        return self.config.model_copy(update={"tokenizer": said})

"""VAR: a transformer over scales, one forward pass a scale (Tian et al. 2024, arXiv:2404.02905; FoundationVision/VAR).

The codes of a scale are drawn together, independently of one another, given the map that the coarser ones decode to.

Shape legend: B batch, P places of a condition that is a prefix, N codes of the pyramid, D codes per position, K_d
vocabulary at depth d, C width.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import quantizers
from quantizers.ms_rq import MSRQ
from tokbench.config.generator import GeneratorConfig, VARGeneratorConfig
from tokbench.generators.base import Drawing, Generator
from tokbench.generators.exact import Exact
from tokbench.generators.noise import place_keys
from tokbench.generators.sampling import draw, guided
from tokbench.generators.transformer import Cache
from tokbench.generators.var_blocks import EPS, ScaleBlock, initialise
from tokbench.models.vit import through


class VAR(Exact):
    """p(codes | condition) = product over scales s, their positions t and depths d of p(S_{s,t,d} | S_{<s}, condition).

    It reads, at each position of a scale, the map of all coarser ones brought to that scale: the first scale a start
    vector. ``quantizer`` is the tokenizer's, which knows the maps; it travels with the weights and never learns.
    """

    mask: Tensor
    takes_targets = True

    @staticmethod
    def stacks(settings: VARGeneratorConfig) -> list[nn.Module]:
        return [ScaleBlock(settings, 0.0) for _ in range(settings.layers)]

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(config)
        settings, pyramid = config.generator, config.pyramid
        assert isinstance(settings, VARGeneratorConfig) and pyramid is not None
        self.settings, width = settings, settings.width
        found = quantizers.build(pyramid.name, **pyramid.options)
        assert isinstance(found, MSRQ)
        self.scales = found.scales
        self.counts = [math.prod(scale) for scale in self.scales]
        self.starts = [0, *itertools.accumulate(self.counts)]
        self.before = config.condition.places if settings.condition_by == "prefix" else 0
        self.start = nn.Parameter(torch.randn(self.counts[0], width) / width**0.5)
        self.position = nn.Parameter(torch.randn(self.before + self.places, width) / width**0.5)
        self.level = nn.Parameter(torch.randn(len(self.scales), width) / width**0.5)
        self.into = nn.Linear(found.code_dim, width)
        rates = [settings.drop_path * i / max(1, settings.layers - 1) for i in range(settings.layers)]
        self.blocks = nn.ModuleList(ScaleBlock(settings, rate) for rate in rates)
        self.shared_modulation = nn.Linear(width, 6 * width) if settings.condition_by == "shared-adaln" else None
        adaptive = settings.condition_by != "prefix"
        self.norm = nn.LayerNorm(width, EPS, elementwise_affine=not adaptive)
        self.head_modulation = nn.Linear(width, 2 * width) if adaptive else None
        self.classifiers = nn.ModuleList(nn.Linear(width, size) for size in config.vocabulary)
        initialise(self, width, settings.layers)
        self.quantizer = found.eval().requires_grad_(False)
        level = torch.tensor([scale for scale, count in enumerate(self.counts) for _ in range(count)])
        seen = torch.cat([level.new_full((self.before,), -1), level])
        self.register_buffer("mask", seen[:, None] >= seen, persistent=False)
        self.register_buffer("levels", level, persistent=False)
        self.checkpointing = False

    levels: Tensor

    def train(self, mode: bool = True) -> VAR:
        super().train(mode)
        self.quantizer.eval()
        return self

    def take_quantizer(self, quantizer: nn.Module) -> None:
        """Take over the weights of the tokenizer's quantizer."""
        self.quantizer.load_state_dict(quantizer.state_dict())

    def cast(self, dtype: torch.dtype) -> Generator:
        kept = {name: tensor.clone() for name, tensor in self.quantizer.state_dict().items()}
        self.to(dtype)
        self.quantizer.float().load_state_dict(kept)
        return self

    # One pass over all scales ----------------------------------------------------------------------------------

    def _logits(self, sequence: Tensor, condition: Tensor) -> list[Tensor]:
        """For each depth logits (B, N, K_d), each conditioned on all coarser scales."""
        maps = self.quantizer.next_inputs(self.quantizer.join(sequence))
        vector, prefix = self._condition(condition)
        x = torch.cat([self.start.expand(len(sequence), -1, -1), self.into(maps.to(self.into.weight.dtype))], dim=1)
        if prefix is None:
            assert vector is not None
            first = self.counts[0]
            x = torch.cat([x[:, :first] + vector[:, None], x[:, first:]], dim=1)
        x = x + self.level[self.levels]
        x = (x if prefix is None else torch.cat([prefix, x], dim=1)) + self.position
        modulation = self._modulation(vector)
        x = through(self.blocks, x, self.checkpointing, modulation, self.mask)
        return self._classified(x[:, self.before :], vector)

    def _condition(self, condition: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Checked conditions -> one vector (B, C) for the adaptive norms, or a prefix (B, P, C)."""
        x: Tensor = self.condition(condition)
        return (None, x) if self.settings.condition_by == "prefix" else (x[:, 0], None)

    def _modulation(self, vector: Tensor | None) -> Tensor | None:
        """What the blocks are given."""
        if vector is None or self.shared_modulation is None:
            return None if vector is None else F.silu(vector)
        return self.shared_modulation(F.silu(vector)).unflatten(-1, (6, -1))

    def _classified(self, x: Tensor, vector: Tensor | None) -> list[Tensor]:
        x = self.norm(x)
        if vector is not None and self.head_modulation is not None:
            scale, shift = self.head_modulation(F.silu(vector)).unflatten(-1, (2, -1))[:, :, None].unbind(1)
            x = x * (1 + scale) + shift
        return [head(x) for head in self.classifiers]

    def _loss(self, sequence: Tensor, condition: Tensor, targets: Sequence[Tensor] | None, keys: Tensor) -> Tensor:
        return self.cross_entropy(self._logits(sequence, condition), targets or sequence)

    # One pass a scale ------------------------------------------------------------------------------------------

    def _draw(self, drawing: Drawing) -> Tensor:
        condition, keys, sampling, known, kept, progress, *_ = drawing
        doubled, last = sampling.guidance != 1.0, max(1, len(self.scales) - 1)
        both = torch.cat([condition, self.condition.null(len(keys))]) if doubled else condition
        vector, prefix = self._condition(both)
        run = _Run(self, len(both), vector, prefix)
        total, found = self.quantizer.blank(len(keys), self.start), []
        for scale, (start, count) in enumerate(zip(self.starts, self.counts, strict=False)):
            maps = self.quantizer.seen_at(total, scale) if scale else None
            logits = run.step(scale, torch.cat([maps, maps]) if doubled and maps is not None else maps)
            place = torch.arange(start, start + count, device=self.device)
            codes = torch.empty(len(keys), count, self.depth, dtype=torch.int64, device=self.device)
            for d, x in enumerate(logits):
                x = guided(x.float(), sampling.scale(scale / last)) if doubled else x.float()
                codes[..., d] = draw(x, place_keys(keys[:, None], place * self.depth + d), sampling)
            if known is not None:
                at = slice(start, start + count)
                codes = torch.where(kept[:, at, None], known[:, at], codes)
            total = self.quantizer.add(total, scale, self.quantizer.join(codes))
            found.append(codes)
            if progress is not None:
                progress((start + count) / self.places)
        return torch.cat(found, dim=1)


class _Run:
    """A batch of B on its way through the scales, with the keys and values of those behind it."""

    def __init__(self, model: VAR, batch: int, vector: Tensor | None, prefix: Tensor | None) -> None:
        self.model, self.vector, self.prefix = model, vector, prefix
        self.modulation = model._modulation(vector)
        room = (batch, model.settings.heads, model.before + model.places, model.settings.width)
        self.batch = batch
        self.caches = [Cache.empty(model.start, *room) for _ in model.blocks]

    def step(self, scale: int, maps: Tensor | None) -> list[Tensor]:
        """The map so far at this scale (B, h w, d), none for the first -> for each depth logits (B, h w, K_d)."""
        model = self.model
        at, count = model.before + model.starts[scale], model.counts[scale]
        if maps is None:
            x = model.start.expand(self.batch, -1, -1)
            x = x if self.vector is None else x + self.vector[:, None]
        else:
            x = model.into(maps.to(model.into.weight.dtype))
        x = x + model.level[scale] + model.position[at : at + count]
        if scale == 0 and self.prefix is not None:  # the condition's places see one another alone
            seen, mask = model.before, model.mask[: at + count, : at + count]
            x, at = torch.cat([self.prefix + model.position[:seen], x], dim=1), 0
        else:
            mask = None
        for block, cache in zip(model.blocks, self.caches, strict=True):
            x = block(x, self.modulation, mask, cache, at)
        return model._classified(x[:, -count:], self.vector)

"""AR: a causal transformer over positions and one over the codes of a position.

RQ-Transformer (Lee et al. 2022, arXiv:2203.01941, section 3.2; kakaobrain/rq-vae-transformer). On codes of depth 1 and
without depth layers it is VQ-GAN's GPT (Esser et al. 2021, arXiv:2012.09841); on the sub-tokens of a factorised LFQ it
is Open-MAGVIT2's. Cost: layers * T^2 + depth_layers * T * D^2, against layers * (T D)^2 for the flattened stack.

Shape legend: B batch, N places of the condition, T positions of the grid, D codes per position, K_d vocabulary at depth
d, C width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tokbench.config.generator import ARConfig, GeneratorConfig
from tokbench.errors import TokbenchError
from tokbench.generators.autoregressive import Autoregressive
from tokbench.generators.base import BatchSampler
from tokbench.generators.bits import BitHead, to_bits, two_logits
from tokbench.generators.condition import Given
from tokbench.generators.embedding import CodeEmbedding
from tokbench.generators.noise import place_keys, uniform
from tokbench.generators.sampling import Sampling
from tokbench.generators.transformer import Dropouts, Transformer, axial_rotation, initialise
from tokbench.generators.window import Slide

if TYPE_CHECKING:
    from tokbench.generators.ar_decoding import ARDecoder


class AR(Autoregressive):
    """A transformer over the positions and one over the codes of each.

    The spatial transformer reads, at its first N places, the condition and, at place N - 1 + t, the sum of the vectors
    of S_{t-1}; its output there, h_t, is the first input of the depth transformer, which then reads the sum of the
    vectors of S_{t,<d}.
    """

    rotation: Tensor | None

    @staticmethod
    def stacks(settings: ARConfig) -> list[nn.Module]:
        sizes = settings.layers, settings.depth_layers
        return [Transformer(settings.width, settings.heads, layers) for layers in sizes]

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(config)
        settings = config.generator
        assert isinstance(settings, ARConfig)
        self.settings = settings
        width, depth = settings.width, self.depth
        self.embedding = CodeEmbedding(config, depth_stack=settings.depth_layers > 0 and depth > 1)
        learned = settings.positions == "learned"
        before = self.condition.config.places
        # A row a place; of one place the row alone, which is how weights of class-conditional models are stored.
        self.position_condition = nn.Parameter((torch.randn(before, width) * 0.02).squeeze(0)) if learned else None
        # One row a position; what follows the last position is never read.
        self.position = nn.Parameter(torch.randn(self.places, width) * 0.02) if learned else None
        rotation = None if learned else axial_rotation(self.grid, width // settings.heads, before, config.condition.map)
        if rotation is not None and self.order is not None:
            rotation = torch.cat([rotation[:before], rotation[before:][self.order]])
        self.register_buffer("rotation", rotation, persistent=False)
        dropouts = Dropouts.of(settings)
        self.drop = nn.Dropout(dropouts.embedding)
        self.body = Transformer(width, settings.heads, settings.layers, dropouts, whole=config.condition.whole)
        if settings.depth_layers:
            self.position_depth = nn.Parameter(torch.randn(depth, width) * 0.02)
            heads = settings.depth_heads or settings.heads
            self.head = Transformer(width, heads, settings.depth_layers, dropouts)
        share = settings.share_head if settings.share_head is not None else len(set(config.vocabulary)) == 1
        self.norm = nn.LayerNorm(width)
        if self.by_bits:
            counts = [sum(self.by_bits[d] for d in unit) for unit in self.units]
            masked = settings.head == "masked-bits"
            self.bit_heads = nn.ModuleList(
                BitHead(width, n, settings.bit_layers, masked) for n in (counts[:1] if share else counts)
            )
        else:
            sizes = config.vocabulary[:1] if share else config.vocabulary
            self.classifiers = nn.ModuleList(nn.Linear(width, size) for size in sizes)
        self.apply(initialise)

    @property
    def units(self) -> list[range]:
        return super().units if self.settings.depth_layers else [range(self.depth)]

    def bit_head(self, unit: range) -> BitHead | None:
        if not self.by_bits:
            return None
        head = self.bit_heads[unit.start if len(self.bit_heads) > 1 else 0]
        assert isinstance(head, BitHead)
        return head

    # The whole stack at once -----------------------------------------------------------------------------------

    def _logits(self, sequence: Tensor, condition: Tensor) -> list[Tensor]:
        logits = self._read(sequence, condition)[1]
        return list(logits.unbind(2) if isinstance(logits, Tensor) else logits)

    def _read(self, sequence: Tensor, condition: Tensor) -> tuple[Tensor, Tensor | list[Tensor]]:
        before, contexts = self._contexts(sequence, condition)
        if self.by_bits:
            parts = [head.in_order(x, bits) for head, x, bits in self._parts(contexts, sequence)]
            return before, list(two_logits(torch.cat(parts, dim=-1)).unbind(-2))
        if len(self.classifiers) == 1 and self.limits is None:  # one product, or each depth's gradient is one of all
            return before, self.classifiers[0](contexts)
        return before, [self.within(head(x)) for head, x in zip(self.classifiers, contexts.unbind(2), strict=True)]

    def _parts(self, contexts: Tensor, sequence: Tensor) -> Iterator[tuple[BitHead, Tensor, Tensor]]:
        """For each unit its head, its contexts (B, T, C) and its bits (B, T, n)."""
        for unit, context in zip(self.units, contexts.unbind(2), strict=True):
            head, own = self.bit_head(unit), slice(unit.start, unit.stop)
            assert head is not None
            yield head, context, to_bits(sequence[..., own], self.by_bits[own])

    def _loss(self, sequence: Tensor, condition: Tensor, targets: Sequence[Tensor] | None, keys: Tensor) -> Tensor:
        if not self.by_bits:
            return super()._loss(sequence, condition, targets, keys)
        if targets is not None:
            raise TokbenchError("soft targets are shares of whole codes, and this generator's head says bits")
        mine = keys[: len(sequence)]
        before, contexts = self._contexts(self.read(sequence, mine), condition)
        at = place_keys(mine[:, None], torch.arange(self.places, device=keys.device))
        nats = [
            head.nats(context, bits, place_keys(at, u))[:, self.settled :].mean()
            for u, (head, context, bits) in enumerate(self._parts(contexts, sequence))
        ]
        return self.condition.with_loss(torch.stack(nats).sum() / self.depth, before, condition)

    def _contexts(self, sequence: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """What ``_read`` answers first, and what the codes of the U units are read off, (B, T, U, C)."""
        batch, places, depth = sequence.shape
        vectors = self.embedding(sequence)  # (B, T, D, channels)
        outputs = self._body(vectors, condition)
        before, found = outputs[:, :-places], outputs[:, -places:, None]
        if self.settings.depth_layers:
            if depth > 1:
                seen = vectors[:, :, :-1]
                if self.settings.depth_context == "sum":  # added as a step does; cumsum is far slower on a CPU
                    seen = torch.stack(list(accumulate(seen.unbind(2))), dim=2)
                found = torch.cat([found, self.embedding.into_depth(seen)], dim=2)
            found = self.head.many((found + self.position_depth).flatten(0, 1)).view(batch, places, depth, -1)
        return before, self.norm(found)

    def _body(self, vectors: Tensor, condition: Tensor, blocks: int | None = None) -> Tensor:
        """Code vectors (B, T, D, channels) -> the spatial transformer's outputs (B, N - 1 + T, C), after ``blocks``."""
        before = self.body_input(vectors[:, :-1].sum(-2), slice(vectors.shape[1] - 1))
        x = torch.cat([self.start(condition), before], dim=1)
        return self.body(self.drop(x), self.rotation, self.shown(condition), blocks=blocks)

    @torch.no_grad()
    def after_block(self, codes: Tensor, block: int, condition: Given = None) -> Tensor:
        """Codes (B, *grid, D) -> (B, T, C): the spatial transformer after its first ``block`` blocks, at the place from
        which each position is predicted, which has seen the codes before it."""
        sequence = self.sequence(codes)
        chosen = self.condition.check(condition, len(codes))
        return self._body(self.embedding(sequence), chosen, block)[:, -self.places :]

    def read(self, sequence: Tensor, keys: Tensor) -> Tensor:
        """With the chance 1 - ``pkeep`` another code in the place of one that is not given, uniform over its
        vocabulary: CompVis/taming-transformers, ``Net2NetTransformer.forward``."""
        if not self.training or self.settings.pkeep == 1:
            return sequence
        noise = -2 - 2 * torch.arange(sequence[0].numel(), device=keys.device)  # places that no code's own noise has
        kept = uniform(place_keys(keys[:, None], noise)).view(sequence.shape) < self.settings.pkeep
        kept[:, : self.settled] = True
        limits = self.limits_in_order
        sizes = torch.tensor(self.vocabulary, device=keys.device) if limits is None else limits[:, None]
        drawn = place_keys(keys[:, None], noise - 1).view(sequence.shape)
        others = (uniform(drawn) * sizes).long().minimum(sizes - 1)  # a uniform of fp32 may round up to 1
        if self.by_bits:  # of these it would have too few bits, and the vocabularies are powers of two
            others = drawn & (sizes - 1)
        return torch.where(kept, sequence, others)

    def start(self, condition: Tensor) -> Tensor:
        """The first inputs of the spatial transformer, (B, N, C)."""
        x: Tensor = self.condition(condition)
        return x if self.position_condition is None else x + self.position_condition

    def body_input(self, sums: Tensor, positions: int | slice) -> Tensor:
        """Sums of code vectors (B, N, channels) of so many positions, or (B, channels) of one -> the same with C."""
        x = self.embedding.into_body(sums)
        return x if self.position is None else x + self.position[positions]

    def batch_sampler(self, n: int, sampling: Sampling, slide: Slide | None = None) -> BatchSampler:
        from tokbench.generators.ar_decoding import GraphedSampler

        # Recording costs about as much as drawing one batch, so only repeated batches are worth it.
        graphed = self.device.type == "cuda" and not self.settled and slide is None
        self.check_sampling(sampling)
        return GraphedSampler(self, n, sampling) if graphed else super().batch_sampler(n, sampling, slide)

    def decoder(self, batch: int) -> ARDecoder:
        from tokbench.generators.ar_decoding import ARDecoder

        return ARDecoder(self, batch)

"""MLM: a bidirectional transformer that fills in masked positions, many at a time.

MaskGIT (Chang et al. 2022, arXiv:2202.04200; google-research/maskgit), MAGVIT-v2 on factorised sub-tokens (Yu et al.
2023, arXiv:2310.05737), MaskBit with the codes' bits as input (Weber et al. 2024, arXiv:2409.16211). A position's
codes are masked together and predicted independently of one another, by one head a depth, or all their bits by one
head of bits, each given others.

Shape legend: B batch, N places of the condition, T positions of the grid, D codes per position, K_d vocabulary at depth
d, C width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tokbench.config.generator import GeneratorConfig, MLMConfig
from tokbench.generators.base import Drawing, Generator
from tokbench.generators.bits import BitHead, symbols, to_codes, two_logits
from tokbench.generators.condition import Given
from tokbench.generators.embedding import CodeEmbedding
from tokbench.generators.limits import limited, smoothed_cross_entropy
from tokbench.generators.noise import gumbel, place_keys, uniform
from tokbench.generators.sampling import Sampling, draw, guided, mask_fraction
from tokbench.generators.transformer import Dropouts, Transformer, axial_rotation, initialise

BOUND_DRAWS = 8  # masks an image on which the bound of ``nll`` is estimated


class MLM(Generator):
    """p(codes at masked positions | codes at the others, condition).

    ``nll`` estimates the upper bound of an order-agnostic model (Hoogeboom et al. 2021, arXiv:2110.02037, eq. 4): what
    the codes cost when positions are filled in one by one in a random order.
    """

    exact_nll = False
    rotation: Tensor | None

    @staticmethod
    def stacks(settings: MLMConfig) -> list[nn.Module]:
        return [Transformer(settings.width, settings.heads, settings.layers)]

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(config)
        settings = config.generator
        assert isinstance(settings, MLMConfig)
        self.settings = settings
        width = settings.width
        self.embedding = CodeEmbedding(config, depth_stack=False)
        # MaskBit's masked bits are 0, which no bit is; the other inputs have a learned vector for "masked".
        self.masked = None if settings.input == "bits" else nn.Parameter(torch.randn(width) * 0.02)
        learned = settings.positions == "learned"
        before = self.condition.config.places
        self.position = nn.Parameter(torch.randn(before + self.places, width) * 0.02) if learned else None
        rotation = None if learned else axial_rotation(self.grid, width // settings.heads, before, config.condition.map)
        self.register_buffer("rotation", rotation, persistent=False)
        dropouts = Dropouts.of(settings)
        self.drop = nn.Dropout(dropouts.embedding)
        self.body = Transformer(width, settings.heads, settings.layers, dropouts, causal=False)
        self.norm = nn.LayerNorm(width)
        if self.by_bits:
            self.bit_head = BitHead(width, sum(self.by_bits), settings.bit_layers, settings.head == "masked-bits")
        else:
            self.classifiers = nn.ModuleList(nn.Linear(width, size) for size in config.vocabulary)
        self.apply(initialise)

    def logits(self, codes: Tensor, masked: Tensor, condition: Given = None) -> list[Tensor]:
        """Codes (B, *grid, D), masked bool (B, T) -> for each depth logits (B, T, K_d), at every position; where the
        head says bits, for each of them logits (B, T, 2), given those before it of the code that is there."""
        return self._logits(self.sequence(codes), masked, self.condition.check(condition, len(codes)))

    def _logits(self, sequence: Tensor, masked: Tensor, condition: Tensor) -> list[Tensor]:
        x = self._contexts(sequence, masked, condition)
        if self.by_bits:
            return list(two_logits(self.bit_head.in_order(x, symbols(sequence, self.by_bits))).unbind(-2))
        return [limited(head(x), self.limits) for head in self.classifiers]

    def _contexts(self, sequence: Tensor, masked: Tensor, condition: Tensor) -> Tensor:
        """(B, T, C), what the heads read."""
        sums = self.embedding(sequence.masked_fill(masked[..., None], 0)).sum(-2)
        if self.masked is None:
            x = self.embedding.into_body(sums.masked_fill(masked[..., None], 0.0))
        else:
            x = self.embedding.into_body(sums)
            x = torch.where(masked[..., None], self.masked.to(x.dtype), x)
        x = torch.cat([self.condition(condition).to(x.dtype), x], dim=1)
        if self.position is not None:
            x = x + self.position
        outputs: Tensor = self.body(self.drop(x), self.rotation, self.shown(condition))
        return self.norm(outputs[:, -self.places :])

    def training_mask(self, keys: Tensor) -> Tensor:
        """Keys (B,) -> bool (B, T): as many as ``training_count`` says; which of those not given, is uniform."""
        places = torch.arange(self.settled, self.places, device=keys.device)
        order = place_keys(keys[:, None], places).argsort(-1).argsort(-1)
        return F.pad(order < self.training_count(keys)[:, None], (self.settled, 0))

    def training_count(self, keys: Tensor) -> Tensor:
        """Keys (B,) -> how many positions are masked: the schedule at a uniform draw, at least 1."""
        done = uniform(place_keys(keys, self.places))
        schedule = self.settings.schedule
        if schedule == "cosine":
            fraction = torch.cos(torch.pi / 2 * done)
        else:
            fraction = torch.acos(done) / (torch.pi / 2) if schedule == "arccos" else 1 - done
        free = self.places - self.settled
        return (fraction * free).ceil().clamp(1, free)

    def _loss(self, sequence: Tensor, condition: Tensor, targets: Sequence[Tensor] | None, keys: Tensor) -> Tensor:
        mine = keys[: len(sequence)]
        masked = self.training_mask(mine)
        smoothing = self.settings.label_smoothing
        if self.by_bits:
            contexts = self._contexts(sequence, masked, condition)[masked]
            bits = symbols(sequence, self.by_bits)[masked]
            at = place_keys(mine[:, None], torch.arange(self.places, device=keys.device))[masked]
            loss = self.bit_head.nats(contexts, bits, at, smoothing).mean() / self.depth
        elif self.limits is not None:
            limits = self.limits.expand_as(masked)[masked]
            found = self._logits(sequence, masked, condition)[0][masked]
            loss = smoothed_cross_entropy(found, sequence[..., 0][masked], limits, smoothing)
        else:
            logits = self._logits(sequence, masked, condition)
            parts = [
                F.cross_entropy(x[masked], sequence[..., d][masked], label_smoothing=smoothing)
                for d, x in enumerate(logits)
            ]
            loss = torch.stack(parts).mean()
        # A mean over masked positions, of which this part of the batch has more or fewer than the others.
        share = self.training_count(mine).sum() * (len(keys) / len(mine)) / self.training_count(keys).sum()
        return loss * share

    @torch.no_grad()
    def nll(self, codes: Tensor, condition: Given = None) -> Tensor:
        self.check_codes(codes)
        sequence = self.sequence(codes)
        chosen, free = self.condition.check(condition, len(codes)), self.places - self.settled
        total = torch.zeros(len(codes), dtype=torch.float64, device=codes.device)
        for i in range(BOUND_DRAWS):
            # The same masks for every image: a value must not depend on its batch. The counts are stratified.
            random = torch.Generator().manual_seed(i)
            u = (i + float(torch.rand((), generator=random))) / BOUND_DRAWS
            count = 1 + int(u * free)
            masked = torch.zeros(self.places, dtype=torch.bool)
            masked[self.settled + torch.randperm(free, generator=random)[:count]] = True
            masked = masked.to(codes.device)
            logits = self._logits(sequence, masked.expand(len(codes), -1), chosen)
            for x, symbol in zip(logits, symbols(sequence, self.by_bits).unbind(-1), strict=True):
                losses = F.cross_entropy(x.float().transpose(1, 2), symbol, reduction="none")
                total += losses[:, masked].double().sum(-1) * (free / count / BOUND_DRAWS)
        return total

    def _draw(self, drawing: Drawing) -> Tensor:
        """MaskGIT's parallel decoding (maskgit/libml/parallel_decode.py): every step draws all masked positions and
        keeps the most confident; confidence is log p plus Gumbel noise that fades."""
        condition, keys, sampling, known, kept, progress, _ = drawing
        n, places, depth, steps = len(keys), self.places, self.depth, sampling.steps
        keys = keys[:, None]
        place = torch.arange(places, device=self.device)
        codes = torch.zeros(n, places, depth, dtype=torch.int64, device=self.device)
        if known is not None:
            codes = torch.where(kept[..., None], known, codes)
        settled = kept.clone()
        unknown = (~settled).sum(-1)
        doubled = sampling.guidance != 1.0
        both = torch.cat([condition, self.condition.null(n)]) if doubled else condition
        for step in range(steps):
            masked, scale = ~settled, sampling.scale(step / max(1, steps - 1)) if doubled else None
            twice = (codes.repeat(2, 1, 1), masked.repeat(2, 1)) if doubled else (codes, masked)
            first = (step * places + place) * (depth + 1)
            drawn, confidence = self._drawn_at_once(self._contexts(*twice, both), keys, first, scale, sampling)
            codes = torch.where(masked[..., None], drawn, codes)
            if step < steps - 1:
                done = (step + 1) / steps
                at = place_keys(keys, (step * places + place) * (depth + 1) + depth)
                noise = gumbel(at, torch.zeros(1, dtype=torch.int64, device=self.device))[..., 0]
                confidence += sampling.choice_temperature * (1 - done) * noise
                settled = settled | ~self._masked_again(confidence, masked, unknown, done, sampling)
            if progress is not None:
                progress((step + 1) / steps)
        return codes.unflatten(1, self.grid)

    def _drawn_at_once(
        self, contexts: Tensor, keys: Tensor, first: Tensor, scale: float | None, sampling: Sampling
    ) -> tuple[Tensor, Tensor]:
        """Codes (n, T, D) for every position and their log-probabilities (n, T), given contexts (n or 2n, T, C), under
        the noise of keys (n, 1) at places (T,) of which each depth has one of its own."""
        if self.by_bits:
            bits, confidence = self.bit_head.draw(contexts, place_keys(keys, first), sampling, scale)
            return to_codes(bits, self.by_bits), confidence
        confidence, drawn = torch.zeros(len(keys), self.places, device=self.device), []
        for d, head in enumerate(self.classifiers):
            logits = head(contexts).float()
            logits = limited(logits if scale is None else guided(logits, scale), self.limits, -math.inf)
            drawn.append(draw(logits, place_keys(keys, first + d), sampling))
            confidence += logits.log_softmax(-1).gather(-1, drawn[-1][..., None])[..., 0]
        return torch.stack(drawn, dim=-1), confidence

    def _masked_again(
        self, confidence: Tensor, masked: Tensor, unknown: Tensor, done: float, sampling: Sampling
    ) -> Tensor:
        """Bool (n, T): the least confident of the masked positions, as many as the schedule leaves masked."""
        count = mask_count(unknown, masked.sum(-1), done, sampling)
        rank = confidence.masked_fill(~masked, torch.inf).argsort(-1).argsort(-1)
        return masked & (rank < count[:, None])


def mask_count(unknown: Tensor, masked: Tensor, done: float, sampling: Sampling) -> Tensor:
    """How many positions stay masked: floor(N gamma(done)), at least 1 and at most one less than there are."""
    wanted = (unknown * mask_fraction(done, sampling.mask_schedule)).floor().long()
    return wanted.minimum(masked - 1).clamp_min(1)

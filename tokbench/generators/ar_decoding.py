"""Drawing from an AR one code at a time, with static key/value caches for both stacks; on a GPU as CUDA graphs."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from tokbench.generators.ar import AR
from tokbench.generators.autoregressive import Autoregressive
from tokbench.generators.base import Drawing, Progress
from tokbench.generators.bits import to_codes
from tokbench.generators.noise import gumbel, image_keys, place_keys
from tokbench.generators.sampling import Sampling, draw, guided
from tokbench.generators.stepping import Steps

_AHEAD = 2**16  # numbers of noise that are made at once


class ARDecoder:
    """A :class:`~tokbench.generators.autoregressive.Decoder` with keys and values in static memory.

    Args:
        batch: how many stacks go through side by side, R.
    """

    def __init__(self, model: AR, batch: int) -> None:
        self.model = model
        self.before = model.condition.config.places - 1  # of the sequence, before the place that position 0 is read at
        width, like = model.body.width, model.norm.weight
        self.body = Steps(model.body, batch, self.before + model.places)
        self.head = Steps(model.head, batch, model.depth) if model.settings.depth_layers else None
        self.input = like.new_zeros(batch, width)
        # At hand: of few rows the calls of modules cost more than they compute.
        self.norm = model.norm.weight, model.norm.bias
        heads: list[nn.Linear] = [] if model.by_bits else list(model.classifiers)  # type: ignore[arg-type]
        self.classifiers = [(head.bias, head.weight.t()) for head in heads]
        if self.body.few:
            self.classifiers = [(bias, weight.contiguous()) for bias, weight in self.classifiers]
        self.output = self.depth_input = self.sums = self.input
        self.shown: Tensor | None = None
        if model.condition.config.hides:  # memory that is written over: a recorded graph reads it there
            self.shown = torch.ones(batch, self.before + 1 + model.places, dtype=torch.bool, device=model.device)

    def restart(self, condition: Tensor, codes: Tensor | None = None) -> None:
        """Begin with these conditions (R, ...), in the same memory, after codes (R, t, D): one pass over all places
        fills the caches."""
        model = self.model
        x = model.start(condition)
        if codes is not None and codes.shape[1]:
            x = torch.cat([x, model.body_input(model.embedding(codes).sum(-2), slice(codes.shape[1]))], dim=1)
        if self.shown is not None and (shown := model.shown(condition)) is not None:
            self.shown.copy_(shown)
        # The last place is the first step's, where it comes again if those before it saw it too.
        filled = x if x.shape[1] <= model.body.whole else x[:, :-1]
        if filled.shape[1]:
            self.body.fill(filled, model.rotation, self.shown)
        self.input.copy_(x[:, -1])

    def begin(self, t: int) -> None:
        """The spatial step of position ``t``."""
        self.output = self.body(self.input, self.before + t, self.model.rotation, self.shown)
        self.depth_input = self.output

    def logits(self, t: int, d: int) -> Tensor:
        """(R, K_d), or (R, C) for a head of bits, given everything before depth ``d`` of position ``t``."""
        model, x = self.model, self.output
        if self.head is not None:
            x = self.head(self.depth_input + model.position_depth[d], d)
        normed = torch.layer_norm(x, x.shape[-1:], *self.norm)
        if model.by_bits:
            return normed
        bias, weight = self.classifiers[d if len(self.classifiers) > 1 else 0]
        return torch.addmm(bias, normed, weight)

    def push(self, t: int, d: int, codes: Tensor) -> None:
        """Codes (R,) of depth ``d`` at position ``t`` are settled."""
        model = self.model
        vectors = model.embedding.at(d, codes)
        self.sums = self.sums + vectors if d else vectors
        if d + 1 < model.depth:
            seen = self.sums if model.settings.depth_context == "sum" else vectors
            self.depth_input = model.embedding.into_depth(seen)
        elif t + 1 < model.places:
            self.input.copy_(model.body_input(self.sums, t))

    def bytes_per_position(self, t: int) -> int:
        """Bytes that position ``t`` must at least move: the body's weights and its caches so far, and the depth
        stack's weights and the classifier's once for every depth."""
        model = self.model
        of = {name: sum(p.numel() * p.element_size() for p in m.parameters()) for name, m in model.named_children()}
        seen = self.before + t + 1
        cache = sum(2 * k.shape[0] * k.shape[1] * k.shape[3] * seen * k.element_size() for k, _ in self.body.caches)
        of_head = model.bit_heads if model.by_bits else model.classifiers
        heads = [sum(p.numel() * p.element_size() for p in c.parameters()) for c in of_head]
        units = len(model.units)
        classifiers = sum(heads) if len(heads) > 1 else heads[0] * units
        return of["body"] + cache + units * of.get("head", 0) + classifiers


class Draw:
    """A batch of n that is drawn: the decoder, the codes so far and the noise keys. ``restart``, then ``position(t)``
    settles one position after the other.

    Args:
        known, kept: codes (n, T, D) that are given, and where (n, T) they hold. A window may slide over the T places:
            ``move`` begins at its next one.
    """

    def __init__(self, model: Autoregressive, n: int, sampling: Sampling, known: Tensor | None, kept: Tensor) -> None:
        self.model, self.sampling, self.known, self.kept = model, sampling, known, kept
        self.doubled = sampling.guidance != 1.0
        self.decoder = model.decoder(2 * n if self.doubled else n)
        self.codes = torch.zeros(*kept.shape, model.depth, dtype=torch.int64, device=model.device)
        self.keys = torch.zeros(n, self.codes[0].numel(), dtype=torch.int64, device=model.device)  # of every code
        self.noise = NoiseAhead(self.keys, max(model.vocabulary))

    def restart(self, condition: Tensor, keys: Tensor) -> None:
        """Begin a batch, the first or another of as many images in the same memory."""
        self.move(condition)
        self.take(keys)

    def take(self, keys: Tensor) -> None:
        """Draw by these noise keys (n,)."""
        self.keys.copy_(place_keys(keys[:, None], torch.arange(self.keys.shape[1], device=keys.device)))
        self.noise.forget()

    def move(self, condition: Tensor, seen: Tensor | None = None) -> None:
        """Go on with these conditions, after these codes (n, t, D) of the grid."""
        if self.doubled:
            condition = torch.cat([condition, self.model.condition.null(len(condition))])
            seen = None if seen is None else torch.cat([seen, seen])
        self.decoder.restart(condition, seen)

    @torch.inference_mode()  # calls cost less in it, and what it makes is not seen outside
    def position(self, t: int, place: int | None = None) -> None:
        """One spatial step and D depth steps: of position ``t``, which is ``place`` of the codes; empty: the same."""
        place = t if place is None else place
        scale = self.sampling.scale(place / max(1, self.codes.shape[1] - 1))
        self.decoder.begin(t)
        for unit in self.model.units:
            drawn = self._drawn(t, unit, place * self.model.depth + unit.start, scale)
            for d, chosen in zip(unit, drawn.unbind(-1), strict=True):
                if self.known is not None:
                    chosen = torch.where(self.kept[:, place], self.known[:, place, d], chosen)
                self.codes[:, place, d] = chosen
                self.decoder.push(t, d, torch.cat([chosen, chosen]) if self.doubled else chosen)

    def _drawn(self, t: int, unit: range, code: int, scale: float) -> Tensor:
        """Codes (n, depths of the unit), whatever is given; the first is the ``code``-th that an image has."""
        logits, head, keys = self.decoder.logits(t, unit.start), self.model.bit_head(unit), self.keys[:, code]
        if head is not None:
            bits, _ = head.draw(logits, keys, self.sampling, scale if self.doubled else None)
            return to_codes(bits, self.model.by_bits[unit.start : unit.stop])
        logits = guided(logits.float(), scale) if self.doubled else logits.float()
        noise = self.noise.of(code, logits.shape[-1], self.sampling)
        return draw(self.model.within(logits, t, -math.inf), keys, self.sampling, noise)[..., None]


class NoiseAhead:
    """The noise of all codes, made for several places at once on a CPU: of few rows the calls cost more than the
    numbers. As many places as stay in the cache.

    Args:
        keys: (n, places), of every place.
        size: codes of the largest vocabulary.
    """

    def __init__(self, keys: Tensor, size: int) -> None:
        self.keys, self.size = keys, size
        self.count = _AHEAD // (len(keys) * size) if keys.device.type == "cpu" else 0
        self.forget()

    def forget(self) -> None:
        """The keys are others now."""
        self.first, self.made = 0, torch.empty(0, 0, 0)

    def of(self, place: int, size: int, sampling: Sampling) -> Tensor | None:
        """(n, size) of one place; None where as much is made at a time anyway, or not of all codes."""
        if self.count < 2 or sampling.temperature == 0 or (sampling.top_k or size) < size:
            return None
        if not 0 <= place - self.first < self.made.shape[1]:
            self.first = place
            self.made = gumbel(self.keys[:, place : place + self.count], torch.arange(self.size))
        return self.made[:, place - self.first, :size]


class GraphedSampler:
    """Batches of one size: ``Draw.position`` recorded once for every t as a CUDA graph and replayed for every batch.
    No launch overhead, and every graph attends to exactly the t + 1 places there are. Needs a CUDA device."""

    @torch.no_grad()
    def __init__(self, model: AR, n: int, sampling: Sampling) -> None:
        kept = torch.zeros(n, model.places, dtype=torch.bool, device=model.device)
        self.run = Draw(model, n, sampling, None, kept)
        self.graphs: list[torch.cuda.CUDAGraph] = []
        with torch.cuda.device(model.device):  # streams are the current device's, which need not be the model's
            self._record()

    def _record(self) -> None:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # warm up outside of capture: libraries allocate their workspaces
            for t in range(min(2, self.run.model.places)):
                self.run.position(t)
        torch.cuda.current_stream().wait_stream(stream)
        for t in range(self.run.model.places):
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self.graphs[0].pool() if self.graphs else None):
                self.run.position(t)
            self.graphs.append(graph)

    @torch.no_grad()
    def __call__(self, condition: Tensor, seed: int, images: Tensor, progress: Progress | None = None) -> Tensor:
        with torch.cuda.device(self.run.model.device):
            self.run.restart(condition, image_keys(seed, images))
            codes = complete(self.run, lambda t: self.graphs[t].replay(), progress)
        return self.run.model.in_place(codes).unflatten(1, self.run.model.grid)


def draw_codes(model: Autoregressive, drawing: Drawing) -> Tensor:
    """Codes (n, T, D); see ``Generator.generate``."""
    run = Draw(model, len(drawing.keys), drawing.sampling, drawing.known, drawing.kept)
    run.restart(drawing.condition, drawing.keys)
    return complete(run, run.position, drawing.progress)


def complete(run: Draw, position: Callable[[int], None], progress: Progress | None = None) -> Tensor:
    """Settle every position of a batch; its codes (n, T, D)."""
    places = run.model.places
    for t in range(places):
        position(t)
        if progress is not None:
            progress((t + 1) / places)
    return run.codes.clone()

"""Codes as a string of bits: a range coder under the generator's probabilities or under fixed frequencies.

Encoder and decoder must see the same probabilities to the last bit, or everything after the first difference is lost.
So both evaluate the model code by code through the same calls (:class:`~tokbench.generators.autoregressive.Decoder`),
in float64 on the CPU, and round the logits to a grid a thousand times coarser than any rounding error there; what
follows is integer arithmetic. The coder is constriction's (Bamler 2022, arXiv:2201.01741).
"""

from __future__ import annotations

import copy
import math
from typing import Any

import constriction
import numpy as np
import torch
from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.generators.autoregressive import Autoregressive
from tokbench.generators.base import Generator
from tokbench.generators.bits import BitHead, signs, to_bits, to_codes, two_logits
from tokbench.generators.condition import Given

_GRID = 512  # steps of a logit in base 2: the rounding costs under 1e-6 bits per code
_LEAST = -(2.0**60)  # in such steps, of a code that is not there
_TABLE = np.array([round(2 ** (i / _GRID) * 2**30) for i in range(_GRID)], dtype=np.int64)

Words = np.ndarray[Any, Any]


def _categorical() -> Any:
    return constriction.stream.model.Categorical(perfect=False)


class ModelCoder:
    """Code stacks to words and back under an ``Autoregressive``.

    Raises:
        TokbenchError: a generator without an exact likelihood.
    """

    def __init__(self, generator: Generator) -> None:
        if not isinstance(generator, Autoregressive):
            raise TokbenchError("codes can be compressed under ar and pixelsnail only: an mlm has no exact likelihood")
        self.model = copy.deepcopy(generator).cpu().double().eval()

    @torch.no_grad()
    def _run(self, n: int, condition: Given, coder: Any, codes: Tensor | None) -> Tensor:
        model = self.model
        out = torch.zeros(n, model.places, model.depth, dtype=torch.int64)
        decoder = model.decoder(n)
        decoder.restart(model.condition.check(condition, n))
        for t in range(model.places):
            decoder.begin(t)
            for unit in model.units:
                own = slice(unit.start, unit.stop)
                logits, wanted = decoder.logits(t, unit.start), None if codes is None else codes[:, t, own]
                if (head := model.bit_head(unit)) is None:
                    out[:, t, own] = _coded(model.within(logits, t), coder, wanted)
                else:
                    bits = None if wanted is None else to_bits(wanted, model.by_bits[own])
                    out[:, t, own] = to_codes(_coded_bits(head, logits, coder, bits), model.by_bits[own])
                for d in unit:
                    decoder.push(t, d, out[:, t, d])
        return out

    def encode(self, codes: Tensor, condition: Given = None) -> Words:
        """int64 (n, *grid, D) -> uint32 words."""
        self.model.check_codes(codes)
        coder = constriction.stream.queue.RangeEncoder()
        self._run(len(codes), condition, coder, self.model.sequence(codes))
        return coder.get_compressed()

    def decode(self, words: Words, n: int, condition: Given = None) -> Tensor:
        """The inverse: int64 (n, *grid, D)."""
        coder = constriction.stream.queue.RangeDecoder(words)
        return self.model.in_place(self._run(n, condition, coder, None)).view(n, *self.model.shape)


def _coded(logits: Tensor, coder: Any, wanted: Tensor | None) -> Tensor:
    """Symbols (n, 1) that these are, or that the coder holds, under logits (n, K)."""
    weights = frequencies(logits)
    if wanted is None:
        return torch.from_numpy(coder.decode(_categorical(), weights).astype(np.int64))[:, None]
    coder.encode(wanted[:, 0].numpy().astype(np.int32), _categorical(), weights)
    return wanted


def _coded_bits(head: BitHead, context: Tensor, coder: Any, wanted: Tensor | None) -> Tensor:
    """The same of bits (n, bits), one after the other, under what the head says of contexts (n, C)."""
    context = head.context(context)
    known = context.new_zeros(len(context), head.bits)
    for i in range(head.bits):
        bit = None if wanted is None else wanted[:, i : i + 1].long()
        found = _coded(two_logits(head.logits(context, known)[:, i]), coder, bit)
        known[:, i] = signs(found[:, 0]).to(known.dtype)
    return known > 0


class HistogramCoder:
    """Code maps to words and back under fixed frequencies of each depth: order 0.

    Args:
        histogram: counts (K_d,) of each depth; a code that was never seen counts as half a time.
    """

    def __init__(self, histogram: list[Words]) -> None:
        self.weights = [2.0 * counts.astype(np.float64) + 1.0 for counts in histogram]

    def _models(self) -> list[Any]:
        return [constriction.stream.model.Categorical(weights, perfect=False) for weights in self.weights]

    @property
    def least_bits(self) -> float:
        """What a position costs at least: its likeliest codes. The coder's own rounding may save a little."""
        return 0.9 * sum(-math.log2(weights.max() / weights.sum()) for weights in self.weights)

    def bits(self, codes: Tensor) -> float:
        """What codes (n, *grid, D) cost under these frequencies."""
        total = 0.0
        for depth, weights in enumerate(self.weights):
            p = weights / weights.sum()
            total -= float(np.log2(p[codes[..., depth].flatten().numpy()]).sum())
        return total

    def encode(self, codes: Tensor) -> Words:
        """int64 (n, *grid, D) -> uint32 words."""
        coder = constriction.stream.queue.RangeEncoder()
        for depth, model in enumerate(self._models()):
            coder.encode(codes[..., depth].flatten().numpy().astype(np.int32), model)
        return coder.get_compressed()

    def decode(self, words: Words, shape: tuple[int, ...]) -> Tensor:
        """The inverse, of ``shape`` (n, *grid): int64 (n, *grid, D)."""
        coder = constriction.stream.queue.RangeDecoder(words)
        count = math.prod(shape)
        maps = [coder.decode(model, count).astype(np.int64).reshape(shape) for model in self._models()]
        return torch.from_numpy(np.stack(maps, axis=-1))


def frequencies(logits: Tensor) -> Words:
    """Logits float64 (n, K) -> whole numbers proportional to the rounded probabilities, as float64 (n, K)."""
    steps = torch.round(logits * (_GRID / math.log(2))).clamp_min(_LEAST).to(torch.int64)
    below = (steps.amax(-1, keepdim=True) - steps).numpy()  # how far below the likeliest, from 0 up
    whole = -(-below // _GRID)
    return (_TABLE[whole * _GRID - below] >> np.minimum(whole, 62)).astype(np.float64)

"""How codes are drawn: settings, filters of the distribution, guidance and its schedules."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from tokbench.config.generator_evaluation import check_head
from tokbench.config.generator_model import Head
from tokbench.errors import TokbenchError, did_you_mean
from tokbench.generators.kernels import have_kernels
from tokbench.generators.noise import gumbel

# Logits a CPU draws from at a time: noise is a chain of steps over int64, eight times slower where it leaves the cache.
_IN_CACHE = 2**16

Schedule = Literal["constant", "linear", "cosine", "scales"]
MaskSchedule = Literal["cosine", "arccos", "linear"]


@dataclass(frozen=True)
class Sampling:
    """Settings of one draw. Order: guidance, temperature, top-k, top-p.

    Args:
        temperature: divides the logits; 0 takes the likeliest code.
        top_k: only the k likeliest codes; None: all.
        top_p: only the likeliest codes whose probabilities reach p, in (0, 1].
        guidance: s in ``u + s (c - u)``, c and u the logits with and without the class: 1 is no guidance, 0 is
            unconditional. (The other convention, ``c + s' (c - u)``, has s' = s - 1.)
        guidance_schedule: constant, or from 1 up to s over the codes (``ar``) or steps (``mlm``), linearly or along a
            half cosine; ``scales``: linearly over the scales of ``var``, as VAR does.
        steps: decoding steps of ``mlm``.
        choice_temperature: of the noise with which ``mlm`` chooses what to keep; falls linearly to 0 (MaskGIT: 4.5).
        mask_schedule: how much ``mlm`` leaves masked after each step.
        bit_steps: steps in which head ``masked-bits`` draws the bits of a position, equally many in each, in an order
            by chance; None: one by one, the low ones first.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    guidance: float = 1.0
    guidance_schedule: Schedule = "constant"
    steps: int = 12
    choice_temperature: float = 4.5
    mask_schedule: MaskSchedule = "cosine"
    bit_steps: int | None = None

    def __post_init__(self) -> None:
        for name in ("temperature", "choice_temperature", "guidance"):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0:
                raise TokbenchError(f"{name} {value} is not a number from 0 up")
        if self.top_k is not None and self.top_k < 1:
            raise TokbenchError(f"top_k {self.top_k} is below 1")
        if not 0 < self.top_p <= 1:
            raise TokbenchError(f"top_p {self.top_p} is not above 0 and at most 1")
        for name in ("steps", "bit_steps"):
            if (count := getattr(self, name)) is not None and count < 1:
                raise TokbenchError(f"{name} {count} is below 1")
        for name, known in (("guidance_schedule", get_args(Schedule)), ("mask_schedule", get_args(MaskSchedule))):
            if (value := getattr(self, name)) not in known:
                raise TokbenchError(f"{name} {value!r} is unknown{did_you_mean(str(value), known)}")

    def replace(self, **settings: Any) -> Sampling:
        """A copy with some settings changed; TokbenchError for one that does not exist."""
        names = [field.name for field in dataclasses.fields(self)]
        for name in settings:
            if name not in names:
                raise TokbenchError(f"sampling has no setting {name!r}{did_you_mean(name, names)}")
        return dataclasses.replace(self, **settings)

    def check(self, head: Head) -> None:
        """TokbenchError where this head of a generator cannot draw so."""
        try:
            check_head(head, self)
        except ValueError as error:
            raise TokbenchError(str(error)) from None

    def scale(self, done: float) -> float:
        """The guidance when the fraction ``done`` of the way, 0..1, is behind."""
        if self.guidance_schedule == "constant":
            return self.guidance
        rise = done if self.guidance_schedule in ("linear", "scales") else 0.5 * (1 - math.cos(math.pi * done))
        return 1.0 + (self.guidance - 1.0) * rise


def guided(logits: Tensor, scale: float) -> Tensor:
    """Logits (2n, ...), the conditional ones first -> (n, ...): u + scale (c - u)."""
    conditional, unconditional = logits.chunk(2)
    return unconditional + scale * (conditional - unconditional)


def filtered(logits: Tensor, sampling: Sampling) -> Tensor:
    """Logits (..., K) after temperature (above 0), top-k and top-p; what is out is -inf. Ties at the edge stay in."""
    logits = logits if sampling.temperature == 1 else logits / sampling.temperature
    size = logits.shape[-1]
    if sampling.top_k is not None and sampling.top_k < size:
        edge = logits.topk(sampling.top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < edge, -math.inf)
    if sampling.top_p < 1:
        ordered = _likeliest(logits, sampling.top_p)
        mass = (ordered - logits.logsumexp(-1, keepdim=True)).exp()
        inside = mass.cumsum(-1) - mass < sampling.top_p  # the mass before it: the likeliest is always in
        edge = ordered.masked_fill(~inside, math.inf).amin(-1, keepdim=True)
        logits = logits.masked_fill(logits < edge, -math.inf)
    return logits


def _likeliest(logits: Tensor, mass: float, few: int = 1024) -> Tensor:
    """The logits in falling order, as many as it takes for their probabilities to reach ``mass``.

    Sorting a large vocabulary on a CPU costs more than the step that made it, and few codes nearly always do. On a GPU
    the sort is cheap, and a look at the values would break a graph.
    """
    if logits.device.type == "cpu" and logits.shape[-1] > few:
        ordered = logits.topk(few, dim=-1).values
        if bool(((ordered - logits.logsumexp(-1, keepdim=True)).exp().sum(-1) > mass).all()):
            return ordered
    return logits.sort(dim=-1, descending=True).values


def draw(logits: Tensor, keys: Tensor, sampling: Sampling, noise: Tensor | None = None) -> Tensor:
    """Logits (n, K) and a noise key each (n,) -> codes (n,): the Gumbel-max trick, robust where batches round apart.
    ``noise`` (n, K): that of all codes under these keys, where it is at hand."""
    logits = logits.float()
    if sampling.temperature == 0:
        return logits.argmax(-1)
    top_k = sampling.top_k
    if top_k is not None and top_k < logits.shape[-1]:
        # Noise for the candidates alone; it belongs to the code, so leaving the others out changes nothing.
        values, candidates = logits.topk(top_k, dim=-1)
        values = filtered(values, dataclasses.replace(sampling, top_k=None))
        best = (values + gumbel(keys, candidates)).argmax(-1, keepdim=True)
        return candidates.gather(-1, best)[..., 0]
    size = logits.shape[-1]
    if have_kernels(logits):
        from tokbench.generators.fused_draw import argmax_with_noise

        with torch.cuda.device(logits.device):  # Triton starts kernels on the current one
            if sampling.top_p < 1:
                return argmax_with_noise(filtered(logits, sampling), keys, 1.0)
            return argmax_with_noise(logits, keys, sampling.temperature)
    if noise is not None:
        return (filtered(logits, sampling) + noise).argmax(-1)
    codes = torch.arange(size, device=logits.device)
    if logits.device.type != "cpu" or logits.numel() <= _IN_CACHE:
        return (filtered(logits, sampling) + gumbel(keys, codes)).argmax(-1)
    rows = max(1, _IN_CACHE // size)
    parts = zip(logits.reshape(-1, size).split(rows), keys.reshape(-1).split(rows), strict=True)
    drawn = [(filtered(part, sampling) + gumbel(of, codes)).argmax(-1) for part, of in parts]
    return torch.cat(drawn).view(keys.shape)


def mask_fraction(done: float, schedule: MaskSchedule) -> float:
    """The fraction of positions masked when the fraction ``done`` of decoding (or a uniform draw of training) is
    behind: gamma of MaskGIT (Chang et al. 2022, arXiv:2202.04200), 1 at 0 and 0 at 1."""
    if schedule == "cosine":
        return math.cos(math.pi / 2 * done)
    if schedule == "arccos":
        return math.acos(done) / (math.pi / 2)
    return 1.0 - done

"""Drawing speed at equal parameters: one code at each of 16x16 positions against four at each of 8x8.

The comparison of Lee et al. 2022 (arXiv:2203.01941, figure 4), with random weights, which cost as much to evaluate as
trained ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch

from tokbench.bench.timing import seconds_of
from tokbench.config.generator import ARConfig, GeneratorConfig
from tokbench.generators.ar import AR
from tokbench.generators.ar_decoding import ARDecoder
from tokbench.generators.base import Generator
from tokbench.generators.sampling import Sampling


@dataclass(frozen=True)
class Contender:
    """A code stack and the transformer for it."""

    name: str
    shape: tuple[int, ...]
    layers: int
    depth_layers: int

    def build(self, width: int, heads: int, vocabulary: int, device: str, dtype: torch.dtype) -> AR:
        """Random weights."""
        config = GeneratorConfig(
            generator=ARConfig(
                width=width,
                heads=heads,
                layers=self.layers,
                depth_layers=self.depth_layers,
                input="codes",
            ),
            shape=self.shape,
            vocabulary=(vocabulary,) * self.shape[-1],
            code_channels=256,
            shared_codes=self.shape[-1] > 1,
        )
        with torch.device(device):
            model = AR(config)
        model.embedding.vectors.normal_()
        model.cast(dtype)
        return model.eval()


def contenders(layers: int, depth_layers: int) -> tuple[Contender, Contender]:
    """VQ 16x16x1 and RQ 8x8x4 with the same number of layers in all, so the same parameters but for a few."""
    return (
        Contender("VQ 16x16x1", (16, 16, 1), layers + depth_layers, 0),
        Contender("RQ 8x8x4", (8, 8, 4), layers, depth_layers),
    )


@dataclass(frozen=True)
class Timing:
    """One contender at one batch size. ``floor`` is what moving the weights and caches alone would take, or None."""

    name: str
    batch: int
    seconds: float  # the median of the turns, for the whole batch
    parameters: int
    memory: int  # bytes: weights and caches; on a GPU the peak that was allocated; of ``next_scale`` the weights
    floor: float | None
    shape: tuple[int, ...] = (1, 1, 1)  # of the codes
    generator: str = "ar"

    @property
    def per_image(self) -> float:
        return self.seconds / self.batch


def bandwidth(device: str, megabytes: int = 512, turns: int = 5) -> float:
    """Bytes per second that this device reads, measured by summing a large tensor."""
    x = torch.ones(megabytes * 2**18, device=device)
    return x.numel() * x.element_size() / min(seconds_of(x.sum, device) for _ in range(turns))


def floor_seconds(model: AR, batch: int, bytes_per_second: float) -> float:
    """Time that moving the bytes takes, every weight once a step and every cache once a position."""
    decoder = ARDecoder(model, batch)
    total = sum(decoder.bytes_per_position(t) for t in range(model.places))
    return total / bytes_per_second


def in_turns(
    models: Mapping[str, Generator],
    batch: int,
    *,
    device: str,
    turns: int,
    sampling: Sampling,
    seed: int,
    graphs: bool = True,
) -> dict[str, tuple[float, int]]:
    """For each model the median of the seconds that drawing a batch takes, and on a GPU the peak that was allocated, 0
    elsewhere. Their turns alternate; the first of each warms up, untimed. ``graphs``: CUDA graphs where there are any.
    """
    samplers = {
        name: model.batch_sampler(batch, sampling) if graphs else Generator.batch_sampler(model, batch, sampling)
        for name, model in models.items()
    }
    seconds: dict[str, list[float]] = {name: [] for name in models}
    peaks = dict.fromkeys(models, 0)
    for turn in range(turns + 1):
        for name, model in models.items():
            if device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            images = torch.arange(batch, device=device) + turn * batch
            took = seconds_of(partial(samplers[name], model.condition.null(batch), seed, images), device)
            if device == "cuda":
                peaks[name] = torch.cuda.max_memory_allocated()
            if turn:
                seconds[name].append(took)
    return {name: (sorted(seconds[name])[turns // 2], peaks[name]) for name in models}


@torch.no_grad()
def compare(
    batches: list[int],
    *,
    layers: int,
    depth_layers: int,
    width: int,
    heads: int,
    vocabulary: int,
    device: str,
    dtype: torch.dtype,
    turns: int = 3,
    sampling: Sampling | None = None,
    seed: int = 0,
    graphs: bool = True,
    only: str = "",
) -> list[Timing]:
    """Both contenders, or those whose names begin with ``only``, at every batch size, timed ``in_turns``."""
    torch.manual_seed(seed)
    sampling = sampling or Sampling()
    asked = [c for c in contenders(layers, depth_layers) if c.name.startswith(only)]
    models = {c.name: c.build(width, heads, vocabulary, device, dtype) for c in asked}
    rate = bandwidth(device)
    found = []
    for batch in batches:
        timed = in_turns(models, batch, device=device, turns=turns, sampling=sampling, seed=seed, graphs=graphs)
        for name, model in models.items():
            seconds, peak = timed[name]
            found.append(
                Timing(
                    name=name,
                    batch=batch,
                    seconds=seconds,
                    parameters=sum(p.numel() for p in model.parameters()),
                    memory=peak if device == "cuda" else held_bytes(model, batch),
                    floor=floor_seconds(model, batch, rate),
                    shape=model.config.shape,
                )
            )
    return found


def held_bytes(model: AR, batch: int) -> int:
    """Bytes of the weights and of the caches of a batch."""
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    decoder = ARDecoder(model, batch)
    caches = [*decoder.body.caches, *(decoder.head.caches if decoder.head else [])]
    return weights + sum(2 * cache.keys.numel() * cache.keys.element_size() for cache in caches)

"""iFID: what the decoder makes of latents halfway between an image and the one most like it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.metrics.altered import Alteration, Altered, AlteredMetric, Images, in_every_layer
from tokbench.metrics.feature_statistics import lowest
from tokbench.metrics.statistics import gather_over_processes

AMONG = 10_000  # images whose latents are kept to look for neighbours in
_NUMBERS = 2**28  # floats of latents that are kept


@dataclass(frozen=True)
class Interpolation(Alteration):
    """Latents, *before the quantizer*, that have gone the share ``weight`` of the way to their nearest neighbour, then
    quantized.

    z' = (1 - weight) z + weight z_n, z_n the nearest latent, in squared distance over all its numbers, among those of
    the other images of the data set; among at most 10,000 of them, chosen by their places, or as many as 2^28 numbers
    hold. Of two equal images the other one is the neighbour, and nothing moves.
    """

    of_latents = True
    weight: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise ValueError(f"weight is {self.weight:g}; it is a share of the way, 0 to 1")

    def begin(self, tokenizer: Any, images: Images) -> Altered:
        if not hasattr(tokenizer, "latents"):
            raise TokbenchError("this tokenizer has no latents before its codes to interpolate")
        kept, places = _gallery(tokenizer, images)
        if len(kept) < 2:
            raise TokbenchError("an image alone has no neighbour; it takes two or more")

        def altered(z: Tensor | None, _: Tensor, positions: Tensor) -> Tensor:
            assert z is not None
            other = kept[nearest(z.flatten(1), kept, positions.to(z.device), places)].view_as(z)
            codes: Tensor = tokenizer.quantizer.encode(torch.lerp(z, other.to(z.dtype), self.weight))
            return codes

        return altered


def nearest(z: Tensor, kept: Tensor, positions: Tensor, places: Tensor) -> Tensor:
    """z (B, F) of images at ``positions`` (B,) -> the row of ``kept`` (N, F), of those at ``places`` (N,), that is
    nearest to each and not of the same image."""
    distances = kept.square().sum(1) - 2 * z.float() @ kept.T
    return distances.masked_fill_(positions[:, None] == places, torch.inf).argmin(1)


@torch.no_grad()
def _gallery(tokenizer: Any, images: Images) -> tuple[Tensor, Tensor]:
    """Latents (N, F) of images of all processes, float32, and their places in the data set (N,), in order of place."""
    latents, places, device, most = torch.zeros(0), torch.zeros(0, dtype=torch.int64), torch.device("cpu"), AMONG
    for batch, positions in images():
        z = tokenizer.latents(batch).flatten(1)
        device, most = z.device, min(AMONG, max(2, _NUMBERS // z.shape[1]))
        latents = torch.cat([latents.view(-1, z.shape[1]), z.float().cpu()])
        places = torch.cat([places, positions.cpu()])
        latents, places = lowest(most, places, latents)
    parts = gather_over_processes((latents, places))
    width = max((part.shape[1] for part, _ in parts if part.ndim == 2), default=0)
    latents = torch.cat([part.view(-1, width) for part, _ in parts])
    latents, places = lowest(most, torch.cat([own for _, own in parts]), latents)
    order = places.argsort()
    return latents[order].to(device), places[order].to(device)


class InterpolatedFID(AlteredMetric):
    """Fréchet distance between the originals and what is decoded halfway between each and its nearest neighbour.

    Xu et al. 2026 (arXiv:2603.05630), for latents without a quantizer: there the neighbour is looked for among training
    images, drawn from the ten nearest by their angle, and the way follows the sphere. Here it is the nearest of the
    images that are measured, the way straight, and codes are made of what is interpolated (``Interpolation``).
    Setting: ``ifid:weight=0.5``.
    """

    name = "ifid"
    alteration = Interpolation


in_every_layer(InterpolatedFID, "iFID")

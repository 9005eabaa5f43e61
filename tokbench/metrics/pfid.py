"""pFID: how much worse reconstructions become when codes are exchanged for near ones, as a generator's mistakes do."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tokbench.errors import TokbenchError
from tokbench.metrics.altered import Alteration, Altered, AlteredMetric, Images, in_every_layer

SEED = 0


@dataclass(frozen=True)
class Perturbation(Alteration):
    """Of a share ``beta`` of the images, a share ``alpha`` of the codes become one of the ``delta`` nearest of their
    codebook.

    Every image is chosen with chance beta, every code of those (each depth of each position on its own) with chance
    alpha, and a chosen code becomes any of the delta codes of its depth whose vectors are nearest to its own, itself
    among them, with equal chance. Chances depend on the image's place in the data set and on nothing else.
    """

    alpha: float = 0.5
    beta: float = 1.0
    delta: float = 8

    def __post_init__(self) -> None:
        for name in ("alpha", "beta"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise ValueError(f"{name} is {value:g}; it is a share, 0 to 1")
        if not 2 <= self.delta < math.inf or self.delta != int(self.delta):
            raise ValueError(f"delta is {self.delta:g}; it is how many codes are near: a whole number from 2 on")

    def begin(self, tokenizer: Any, images: Images) -> Altered:
        quantizer, count = tokenizer.quantizer, int(self.delta)
        if not hasattr(quantizer, "neighbours"):
            raise TokbenchError("codes of this tokenizer have no vectors that could be near each other")
        for given, _ in itertools.islice(images(), 1):  # what has no such neighbours is said before anything is decoded
            quantizer.neighbours(tokenizer.encode(given[:1]), count)
        return lambda _, codes, positions: self.perturbed(quantizer, codes, positions)

    def perturbed(self, quantizer: Any, codes: Tensor, positions: Tensor) -> Tensor:
        """Codes (B, \\*grid, D) of the images at these places of the data set (B,) -> the perturbed ones."""
        from tokbench.generators.noise import image_keys, place_keys, uniform

        flat, count = codes.flatten(1), int(self.delta)
        keys = image_keys(SEED, positions.to(codes.device))
        places = 2 * torch.arange(flat.shape[1], device=codes.device)
        hit = uniform(place_keys(keys[:, None], places)) <= self.alpha
        hit &= (uniform(keys) <= self.beta)[:, None]
        rank = (uniform(place_keys(keys[:, None], places + 1)) * count).long().clamp_max(count - 1)
        near = quantizer.neighbours(codes, count).reshape(*flat.shape, count)
        return torch.where(hit, near.gather(-1, rank[..., None])[..., 0], flat).view_as(codes)


class PerturbedFID(AlteredMetric):
    """Fréchet distance between the originals and their reconstructions from perturbed codes.

    The idea is that of Qiu et al. 2025 (arXiv:2503.08354 and 2509.12474), who report that it predicts gFID and publish
    the perturbation (``latent_perturbation.py`` of lxa9867/ImageFolder) but no script of the measure. What is computed
    here is therefore defined by ``Perturbation``: with alpha, beta and delta as they name them, delta nearest codes
    taken around the chosen code, not around the latent. Settings: ``pfid:alpha=0.5:beta=1:delta=8``.
    """

    name = "pfid"
    alteration = Perturbation


in_every_layer(PerturbedFID, "pFID")

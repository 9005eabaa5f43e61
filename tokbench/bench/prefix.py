"""What a condition costs a decoder that keeps keys and values: reading it once, and attending to it at every code."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from tokbench.generators.ar import AR
from tokbench.generators.transformer import Cache


def prefix_costs(model: AR, condition: Tensor) -> dict[str, Callable[[], object]]:
    """To be timed: reading checked conditions (B, ...), and the attention of all layers at every position, to the codes
    alone and to all places."""
    batch, before = len(condition), model.condition.config.places
    decoder = model.decoder(batch)
    query = torch.randn(batch, model.body.heads, 1, model.body.width // model.body.heads, device=model.device)
    attend = partial(_attend, decoder.body.caches, query, model.places)
    return {
        "reading": torch.no_grad()(partial(decoder.restart, condition)),
        "attention to codes": partial(attend, 1),
        "attention to all": partial(attend, before),
    }


@torch.no_grad()
def _attend(caches: list[Cache], query: Tensor, places: int, before: int) -> None:
    """One query at each of ``places``, of each layer, to all places up to it and those ``before``."""
    for t in range(places):
        for keys, values in caches:
            F.scaled_dot_product_attention(query, keys[:, :, : before + t], values[:, :, : before + t])

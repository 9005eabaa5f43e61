"""GroupNorm over a whole image that is looked at in tiles.

GroupNorm subtracts and divides by what it finds in the image at hand: of a tile of sky that is sky alone, and the
tile comes out unlike its neighbours. So the statistics are taken once, from windows spread over the image which are
normalised together, and then hold for every tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

from .blocks import AdaptiveGroupNorm

_BORDER = 4  # of a window's side, this part at each end is left out: it has seen the zeros beyond the border
Found = dict[nn.GroupNorm, tuple[Tensor, Tensor]]


@contextmanager
def normalised_together(network: nn.Module, found: Found, codes: Tensor | None = None) -> Iterator[None]:
    """Within, every GroupNorm of ``network`` normalises by the statistics in ``found``, and where it has none there
    yet, by those of its input, all images of the batch together, which it puts there.

    codes: (1, C, h, w), a whole image's, which an adaptive GroupNorm then takes instead of a tile's.
    """
    replaced: list[nn.Module] = []
    try:
        for module in network.modules():
            if isinstance(module, nn.GroupNorm):
                module.forward = partial(_normalise, module, found)  # type: ignore[method-assign]
                replaced.append(module)
            elif isinstance(module, AdaptiveGroupNorm) and codes is not None:
                module.forward = partial(_adapt, module, codes)  # type: ignore[method-assign]
                replaced.append(module)
        yield
    finally:
        for module in replaced:
            del module.forward


def _normalise(norm: nn.GroupNorm, found: Found, x: Tensor) -> Tensor:
    if norm not in found:
        groups = _inside(x).float().unflatten(1, (norm.num_groups, -1)).transpose(0, 1).flatten(1)
        variance, mean = torch.var_mean(groups, dim=1, correction=0)
        found[norm] = mean, (variance + norm.eps).rsqrt()
    each = x.shape[1] // norm.num_groups
    mean, factor = (statistic.repeat_interleave(each) for statistic in found[norm])
    if norm.affine:
        factor = factor * norm.weight
    shift = -mean * factor + (norm.bias if norm.affine else 0.0)
    return torch.addcmul(shift.to(x.dtype)[:, None, None], x, factor.to(x.dtype)[:, None, None])


def _adapt(norm: AdaptiveGroupNorm, whole: Tensor, x: Tensor, codes: Tensor) -> Tensor:
    return type(norm).forward(norm, x, whole)


def _inside(x: Tensor) -> Tensor:
    above, beside = x.shape[-2] // _BORDER, x.shape[-1] // _BORDER
    return x[..., above : x.shape[-2] - above, beside : x.shape[-1] - beside]

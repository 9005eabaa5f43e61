"""Noise as a pure function of (seed, image, place, code): an image is the same in whatever batch it is drawn, and
trained on in the same way whatever processes and micro-batches its batch is split over.

SplitMix64 in int64 tensors, so that every device draws the same bits. No state, nothing that a resumed run could lose.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tokbench.splitmix import GOLDEN, M1, mix_all, signed, top_bits

_GOLDEN = signed(GOLDEN)
_BITS = 24


def image_keys(seed: int, images: Tensor) -> Tensor:
    """int64 (n,) numbers of images -> a key for each, int64 (n,)."""
    start = mix_all(torch.tensor([signed(seed)], dtype=torch.int64, device=images.device) + _GOLDEN)
    return mix_all(start + (images.to(torch.int64) + 1) * _GOLDEN)


def place_keys(keys: Tensor, place: Tensor | int) -> Tensor:
    """Keys (n,) and a place of the code stack -> keys of that place; places broadcast: (n, 1) with (p,) -> (n, p)."""
    return mix_all(keys + (signed((place + 1) * M1) if isinstance(place, int) else (place + 1) * signed(M1)))


def batch_keys(seed: int, batch: int, size: int, first: int = 0) -> Tensor:
    """A key for each row of the batch numbered ``batch`` of ``size`` rows, int64 (size,) on the CPU, from row ``first``
    on and then around."""
    return image_keys(seed, batch * size + (torch.arange(size) + first) % size)


def random_keys(n: int, device: torch.device) -> Tensor:
    """int64 (n,) keys drawn from torch's own generator."""
    return torch.randint(2**63 - 1, (n,), device=device)


def uniform(keys: Tensor) -> Tensor:
    """Uniform in (0, 1), float32, under each key."""
    return (top_bits(keys, _BITS).to(torch.float32) + 0.5) * 2.0**-_BITS


def gumbel(keys: Tensor, codes: Tensor) -> Tensor:
    """Standard Gumbel noise, float32, of each code under each key: keys (n,), codes (K,) or (n, K) -> (n, K)."""
    bits = top_bits(keys[..., None] + (codes + 1) * _GOLDEN, _BITS)
    # -log of an exponential variate; log1p keeps the small variates, which are the ones that win, exact.
    below_zero = bits.to(torch.float32).add_(0.5).mul_(-(2.0**-_BITS)).clamp_min_(2.0**-_BITS - 1.0)
    return below_zero.log1p_().neg_().log_().neg_()

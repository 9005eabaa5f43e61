"""Which codes lie near which: by the distance of their vectors, of any quantizer whose codes have vectors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import comb
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from quantizers.base import Quantizer

MOST = 2**20
"""Codes of a depth that are looked through, a vector being made of each; of corners there may be any number."""

_NUMBERS = 2**24  # distances held at a time
_TIES = 1e-4  # of the squared distance of the nearest: what is nearer to it than that counts as equally near
_MIX = -7046029254386353131  # an odd number whose products spread the bits (2^64 / golden ratio)


@torch.no_grad()
def neighbours(quantizer: Quantizer, codes: Tensor, count: int) -> Tensor:
    """Codes (B, ..., D) -> (B, ..., D, count): of each code the ``count`` of its depth whose vectors are nearest to its
    own in code space, itself first, then the others in order of distance.

    Codes that are equally near, as the n corners beside one of LFQ's are, come in an order that was drawn once.

    Raises:
        ValueError: a depth or a position has fewer codes than that, or more than can be looked through.
    """
    flat, positions = quantizer._check_codes(codes)
    if sizes := quantizer.position_sizes(positions[1:]):
        return _by_position(quantizer, flat, sizes, count).reshape(*codes.shape, count)
    for size in quantizer.codebook_sizes:
        if not 1 <= count <= size:
            raise ValueError(f"{quantizer.label} has no {count} codes near each other: a codebook has {size}")
    of_depth = _corners if quantizer.corners else _looked_through
    found = [of_depth(quantizer, own, depth, count) for depth, own in enumerate(flat.unbind(-1))]
    return torch.stack(found, dim=-2).reshape(*positions, flat.shape[-1], count)


def _by_position(quantizer: Quantizer, codes: Tensor, sizes: Sequence[int], count: int) -> Tensor:
    """Codes (B, T, 1) where position t has the first sizes[t] -> (B, T, count), each among its own."""
    if not 1 <= count <= min(sizes):
        label, least = quantizer.label, min(sizes)
        raise ValueError(f"{label} has no {count} codes near each other: position {sizes.index(least)} has {least}")
    found = codes.new_empty(*codes.shape[:2], count)
    for size in set(sizes):
        at = torch.tensor([own == size for own in sizes], device=codes.device)
        found[:, at] = _looked_through(quantizer, codes[:, at, 0], 0, count, size)
    return found


def _looked_through(quantizer: Quantizer, codes: Tensor, depth: int, count: int, first: int | None = None) -> Tensor:
    """Codes (B, T) of one depth -> (B, T, count), by the distances to all, or to the first so many."""
    size = first or quantizer.codebook_sizes[depth]
    if size > MOST:
        raise ValueError(f"{quantizer.label}: the nearest of {size:,} codes are not looked for, of {MOST:,} at most")
    stack = torch.zeros(1, size, quantizer.num_codebooks, dtype=torch.int64, device=codes.device)
    stack[0, :, depth] = torch.arange(size, device=codes.device)
    vectors = quantizer._embed(stack)[0, :, depth].float()
    order = torch.rand(size, generator=torch.Generator().manual_seed(0)).to(codes.device)
    seen, places = codes.unique(return_inverse=True)
    parts = [_nearest(vectors, part, order, count) for part in seen.split(max(1, _NUMBERS // size))]
    return torch.cat(parts)[places]


def _nearest(vectors: Tensor, codes: Tensor, order: Tensor, count: int) -> Tensor:
    """Codes (U,) among vectors (K, d) -> (U, count). ``order`` (K,), 0..1, settles ties."""
    own, squares = vectors[codes], vectors.square().sum(1)
    distances = (squares[codes, None] + squares - 2 * own @ vectors.T).clamp_min(0)
    rows = torch.arange(len(codes), device=codes.device)
    distances[rows, codes] = torch.inf
    distances += _TIES * distances.amin(1, keepdim=True).nan_to_num(posinf=0.0) * order
    distances[rows, codes] = -1
    return distances.topk(count, largest=False).indices


def _corners(quantizer: Quantizer, codes: Tensor, depth: int, count: int) -> Tensor:
    """The same of corners of a cube, which are the nearer the fewer of their bits differ."""
    bits = quantizer.codebook_sizes[depth].bit_length() - 1
    most, held = 0, 1
    while held < count:
        most += 1
        held += comb(bits, most)
    if held > MOST:
        raise ValueError(f"{quantizer.label}: the nearest {count:,} of 2^{bits} codes are too many to look through")
    flips = [sum(1 << bit for bit in chosen) for n in range(most + 1) for chosen in combinations(range(bits), n)]
    masks = torch.tensor(flips, dtype=torch.int64, device=codes.device)
    number = torch.tensor([n for n in range(most + 1) for _ in range(comb(bits, n))], device=codes.device)
    others = codes[..., None] ^ masks
    drawn = ((others * _MIX >> 40) & (2**23 - 1)).float() / 2**23  # 0..1, a function of the code
    return others.gather(-1, (number + drawn).topk(count, largest=False).indices)

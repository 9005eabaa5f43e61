"""The codes nearest to each, of every quantizer: against all distances between vectors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_quantizer_contract import every, make, rows

import quantizers as Q


@every
def test_neighbours_are_the_codes_whose_vectors_are_nearest(name: str, kwargs: dict[str, Any]) -> None:
    q = make(name, kwargs).eval()
    codes = q.encode(rows(q, 2, 3, 3))
    sizes = q.position_sizes(codes.shape[1:-1])  # of a codebook that grows
    count = min(4, *q.codebook_sizes, *sizes)
    near = q.neighbours(codes, count)
    assert near.shape == (*codes.shape, count) and torch.equal(near[..., 0], codes)
    assert torch.equal(near, q.neighbours(codes, count)) and near.sort(-1).values.diff(dim=-1).gt(0).all()
    for depth, size in enumerate(q.codebook_sizes):
        if size > 2**12:
            continue
        size = sizes[0] if sizes else size
        stack = torch.zeros(1, size, q.num_codebooks, dtype=torch.int64)
        stack[0, :, depth] = torch.arange(size)
        vectors = q._embed(stack)[0, :, depth].double()
        code = codes[..., depth].flatten()[0]
        distances = (vectors - vectors[code]).norm(dim=-1)
        own = distances[near[..., depth, :].reshape(-1, count)[0]]
        torch.testing.assert_close(own, distances.sort().values[:count], rtol=1e-3, atol=1e-3)


def test_equally_near_codes_of_bits_are_all_found_by_some_code() -> None:
    q = Q.build("lfq", codebook_size=256)
    codes = torch.arange(256)[:, None, None]
    near = q.neighbours(codes, 4)[:, 0, 0]
    flipped = near[:, 1:] ^ near[:, :1]
    assert sorted(flipped.unique().tolist()) == [2**bit for bit in range(8)]  # one bit each, and every bit


def test_what_cannot_be_is_one_line() -> None:
    q = Q.build("vq", dim=4, codebook_size=8)
    codes = torch.zeros(1, 2, 1, dtype=torch.int64)
    assert q.neighbours(codes, 8).sort(-1).values.tolist() == [[[list(range(8))]] * 2]
    for count in (0, 9):
        with pytest.raises(ValueError, match=rf"VQ has no {count} codes near each other: a codebook has 8"):
            q.neighbours(codes, count)
    with pytest.raises(ValueError, match="outside their vocabularies"):
        q.neighbours(codes + 8, 2)


@pytest.mark.parametrize(
    ("name", "options"), [("lfq", {"codebook_size": 2**40, "entropy_groups": [20, 20]}), ("bsq", {"bits": 80})]
)
def test_of_more_corners_than_can_be_looked_through_few_bits_differ(name: str, options: dict[str, Any]) -> None:
    q = Q.build(name, **options)
    codes = q.encode(torch.randn(3, 5, q.dim))
    flipped = q.neighbours(codes, 60) ^ codes[..., None]
    counts = torch.tensor([f"{number:b}".count("1") for number in flipped.flatten().tolist()]).view_as(flipped)
    assert counts[..., 0].eq(0).all() and counts[..., 1:41].eq(1).all() and counts[..., 41:].eq(2).all()
    assert all(len(set(row)) == 60 for row in flipped.flatten(0, -2).tolist())
    q = Q.build("fsq", levels=[8] * 7)
    with pytest.raises(ValueError, match=r"FSQ: the nearest of 2,097,152 codes are not looked for, of 1,048,576"):
        q.neighbours(q.encode(torch.randn(1, 2, 7)), 8)

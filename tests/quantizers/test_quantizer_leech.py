"""The Leech lattice's minimal vectors are known by their number, lengths and inner products."""

from __future__ import annotations

import torch

import quantizers as Q
from quantizers.leech import golay_codewords, minimal_vectors


def test_the_golay_code_has_its_weights() -> None:
    weights = golay_codewords().sum(1).bincount(minlength=25)
    assert {w: int(n) for w, n in enumerate(weights) if n} == {0: 1, 8: 759, 12: 2576, 16: 759, 24: 1}


def test_the_vectors_have_the_inner_products_of_the_lattice() -> None:
    vectors = minimal_vectors().float()
    assert vectors.shape == (196_560, 24) and (vectors.square().sum(1) == 32).all()
    # One of each shape sees the same: itself, 4,600 at 60 degrees, and so on to its opposite.
    for k in (0, 1104, 50_000, 196_559):
        values, counts = (vectors @ vectors[k]).unique(return_counts=True)
        assert values.tolist() == [-32, -16, -8, 0, 8, 16, 32]
        assert counts.tolist() == [1, 4600, 47104, 93150, 47104, 4600, 1]


def test_codes_are_the_nearest_and_map_to_themselves() -> None:
    q = Q.build("leech").eval()
    z = torch.randn(40, 24)
    assert torch.equal(q.encode(z)[:, 0], (z.double() @ minimal_vectors().double().T).argmax(1))
    assert (q.encode(torch.zeros(3, 24)) == 0).all() and torch.equal(q.encode(1e37 * z), q.encode(z))
    some = torch.arange(0, 196_560, 997)[:, None]
    assert torch.equal(q.encode(3 * q.decode(some)), some)
    assert Q.configurations("leech", bits=18) == [{}]

"""The distance between histograms of codes."""

from __future__ import annotations

import math

import pytest
import torch

from tokbench.metrics.chd import CodebookHistogramDistance, hellinger
from tokbench.metrics.statistics import CodeHistogram


def counted(codes: torch.Tensor, sizes: list[int]) -> CodeHistogram:
    histogram = CodeHistogram(sizes)
    histogram.update(codes)
    return histogram


def test_it_is_hellingers_distance_whatever_the_numbers_of_codes() -> None:
    p, q = torch.tensor([4, 0, 4, 8]), torch.tensor([1, 1, 0, 2])
    shares = (p / p.sum()).double(), (q / q.sum()).double()
    expected = float((shares[0].sqrt() - shares[1].sqrt()).norm()) / math.sqrt(2)
    assert hellinger(p, q) == pytest.approx(expected) == hellinger(q, 3 * p)
    assert hellinger(p, 5 * p) == pytest.approx(0, abs=1e-7) and hellinger(p, torch.tensor([0, 9, 0, 0])) == 1
    assert hellinger(p.to_sparse(), q.to_sparse()) == pytest.approx(expected)


def test_the_value_is_the_mean_over_depths_of_dense_and_of_sparse_counts() -> None:
    one, other = torch.randint(4, (6, 3, 3, 2)), torch.randint(4, (8, 3, 3, 2))
    dense, sparse = (
        CodebookHistogramDistance().between(counted(one, sizes), counted(other, sizes), "p")
        for sizes in ([4, 4], [2**40, 2**40])
    )
    assert dense.value == pytest.approx(sum(dense.by_depth or ()) / 2) and dense.value == pytest.approx(sparse.value)
    assert dense.n == 8 and dense.extra["n_reference"] == 6 and dense.note is None
    assert sparse.note == f"only 54 positions for a codebook of {2**40}"
    nothing = CodebookHistogramDistance().between(counted(one, [4, 4]), CodeHistogram([4, 4]), "p")
    assert nothing.value is None and "one of them is empty" in str(nothing.note)

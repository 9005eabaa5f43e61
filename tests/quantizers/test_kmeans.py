"""k-means from given centroids, against VQ-GAN's over RGB, and what is no input of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from quantizers.functional import kmeans


def test_steps_over_rgb_are_the_official_ones(golden_conditional: Path) -> None:
    numbers = np.load(golden_conditional / "kmeans_rgb.npz")
    pixels = torch.from_numpy(numbers["image"]).movedim(1, -1).reshape(-1, 3)
    start = pixels[torch.from_numpy(numbers["initial_rows"]).long()]
    before = start.clone()
    for step, expected in enumerate(torch.from_numpy(numbers["centroids_by_step"]), start=1):
        centroids, sizes = kmeans(pixels, len(start), initial=start, iterations=step)
        torch.testing.assert_close(centroids, expected, rtol=1e-5, atol=1e-5)
        assert int(sizes.sum()) == len(pixels)
    assert torch.equal(start, before)


def test_wrong_input_is_one_line() -> None:
    with pytest.raises(ValueError, match=r"initial centroids \(4, 2\): k and the vectors need \(4, 3\)"):
        kmeans(torch.randn(9, 3), 4, initial=torch.randn(4, 2))
    with pytest.raises(ValueError, match=r"vectors \(N, d\), at least one, not \(0, 3\)"):
        kmeans(torch.randn(0, 3), 4)
    with pytest.raises(ValueError, match="k-means: k must be an integer of at least 1, not 0"):
        kmeans(torch.randn(9, 3), 0)
    with pytest.raises(ValueError, match="k-means got 1 NaN or Inf among the 27 values"):
        kmeans(torch.tensor([[float("nan"), 0.0, 0.0]] + [[1.0, 2.0, 3.0]] * 8), 2)

"""Where a window stands that slides over a map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tokbench.errors import TokbenchError
from tokbench.generators.window import windows


@pytest.mark.parametrize(("height", "width"), [(16, 16), (18, 21)])
def test_places_are_the_official_ones(golden_conditional: Path, height: int, width: int) -> None:
    expected = torch.from_numpy(np.load(golden_conditional / "sliding_window.npz")[f"{height}x{width}_windows"]).long()
    assert torch.equal(windows(height, width), expected[:, :4])


@pytest.mark.parametrize("window", [1, 4, 5])
def test_every_window_lies_within_the_map_and_holds_its_code(window: int) -> None:
    i, j, top, left = windows(9, 5, window).unbind(1)
    assert torch.equal(i * 5 + j, torch.arange(45))
    assert int(top.min()) == 0 and int(top.max()) == 9 - window and int(left.max()) == 5 - window
    assert ((i >= top) & (i < top + window) & (j >= left) & (j < left + window)).all()


@pytest.mark.parametrize("window", [0, 6])
def test_a_window_that_does_not_fit_is_one_line(window: int) -> None:
    with pytest.raises(TokbenchError, match=f"{window}x{window} codes does not fit a map of 9x5"):
        windows(9, 5, window)

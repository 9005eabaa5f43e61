"""Where in its image a crop lies: a number for each pixel, cropped as the image is."""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image
from torch import Tensor

from tokbench.data.maps import Map


def coordinate_map(height: int, width: int) -> Tensor:
    """(1, 1, height, width) in [0, 1): each pixel's number in raster order over how many there are. Crop it as the
    image."""
    return (torch.arange(height * width) / (height * width)).view(1, 1, height, width)


class Coordinates(Map):
    """Those of a whole image, as what a crop takes: of a rescaled image they are numbered anew, as taming's are."""

    def __init__(self, size: tuple[int, int]) -> None:
        width, height = size
        super().__init__(Image.fromarray(coordinate_map(height, width)[0, 0].numpy()))

    def resize(self, size: tuple[int, int], resample: int = Image.Resampling.BICUBIC, **_: Any) -> Map:
        """Of an image of that size."""
        return Coordinates(size)

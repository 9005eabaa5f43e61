"""The crops by name, and the protocols that evaluate with them. Torch-free; the functions are in ``tokbench.data``.

A crop is one function in a file there, found by being there: ``@crop("mine", {"mine": "who evaluates with it"})``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tokbench.config.grid import Size
from tokbench.registry import Registry

if TYPE_CHECKING:
    from PIL import Image

    CropFunction = Callable[[Image.Image, Size], Image.Image]

RANDOM, RANDOM_CUT = "random", "random-cut"
"""The crops with chance, which are part of :class:`tokbench.data.crops.View`: ADM's, the usual one for training, and a
random place of the image as it is, never rescaled."""

CHANCE = (RANDOM, RANDOM_CUT)


def measured_by(crop: str | None) -> str:
    """The crop that what was trained on another is measured with, where no protocol says one."""
    return "cut" if crop in (RANDOM_CUT, "cut") else "adm"


@dataclass(frozen=True)
class Crop:
    """A crop without chance: RGB image -> RGB image of a size. ``protocol``: what figures on its images are called by.

    Raises ValueError, when called, for an image that it does not take.
    """

    name: str
    protocol: str
    function: CropFunction

    def __call__(self, image: Image.Image, size: Size) -> Image.Image:
        return self.function(image, size)


@dataclass(frozen=True)
class Protocol:
    """How a paper's evaluation sizes its images. Figures of different protocols share no column."""

    name: str
    crop: str
    source: str


CROPS: Registry[Crop] = Registry("crop", "tokbench.data")
PROTOCOLS: Registry[Protocol] = Registry("protocol", "tokbench.data")


def crop(name: str, protocols: dict[str, str]) -> Callable[[CropFunction], CropFunction]:
    """Decorator that makes a crop known. ``protocols``: names of those that use it, and who they are; the first is the
    crop's own. A name taken twice is an error."""

    def decorate(function: CropFunction) -> CropFunction:
        CROPS.add(name, Crop(name, next(iter(protocols)), function))
        for protocol, source in protocols.items():
            PROTOCOLS.add(protocol, Protocol(protocol, name, source))
        return function

    return decorate

"""The images everyone has: colour photographs that ship inside the packages tokbench depends on. No network.

Photographs, not crops, are held out. Training crops are drawn at random places and scales, evaluation crops lie on a
fixed grid that covers each held-out photograph at four scales. Both are cut from copies scaled once, on opening; by the
crops ``random-cut`` and ``cut`` from the photographs at their own scale alone.

``photos:dense`` is the same with thousands of overlapping evaluation crops, as many as a Fréchet distance needs for its
covariance. They show three photographs over and over: such a distance compares models measured on these very crops,
and is comparable with nothing else.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tokbench.config.crop import CHANCE, measured_by
from tokbench.config.grid import Grid, axes
from tokbench.data.adm import covering_sizes
from tokbench.data.base import ImageDataset, Sample, Split, digest, evenly
from tokbench.data.crops import OWN_SCALE, View
from tokbench.data.decode import load_image
from tokbench.data.draws import below, uniforms
from tokbench.data.media import IMAGES
from tokbench.data.registry import register
from tokbench.errors import TokbenchError, size_text


@dataclass(frozen=True)
class Photograph:
    """A file inside an installed package."""

    name: str
    package: str
    path: str
    split: Split

    def file(self) -> Path:
        """Where it lies. Raises TokbenchError where the package, or the file in it, is not there."""
        spec = importlib.util.find_spec(self.package)
        root = Path(spec.origin).parent if spec and spec.origin else None
        if root is None or not (root / self.path).is_file():
            where = f"{root / self.path} is missing" if root else f"{self.package} is not installed"
            raise TokbenchError(f"the built-in photograph {self.name!r} is not there: {where}; reinstall the package")
        return root / self.path


PHOTOGRAPHS = (
    Photograph("astronaut", "skimage", "data/astronaut.png", "train"),
    Photograph("motorcycle", "skimage", "data/motorcycle_left.png", "train"),
    Photograph("rocket", "skimage", "data/rocket.jpg", "train"),
    Photograph("ihc", "skimage", "data/ihc.png", "train"),
    Photograph("china", "sklearn", "datasets/images/china.jpg", "train"),
    Photograph("flower", "sklearn", "datasets/images/flower.jpg", "train"),
    Photograph("chelsea", "skimage", "data/chelsea.png", "eval"),
    Photograph("coffee", "skimage", "data/coffee.png", "eval"),
    Photograph("grace_hopper", "matplotlib", "mpl-data/sample_data/grace_hopper.jpg", "eval"),
)
"""Held out: an animal, a still life, a portrait. Trained on: a person, machines, a building, a plant, tissue."""

TRAIN_ZOOMS = tuple(2 ** (k / 4) for k in range(13))
"""Short side of the scaled photograph over the crop's side, 1 (the whole scene) to 8 (a detail), log-uniform."""

EVAL_ZOOMS = (1.0, 2**0.5, 2.0, 2 * 2**0.5)

DENSE_ZOOMS = tuple(2 ** (k / 8) for k in range(13))
DENSE = 768
"""Crops of each held-out photograph in ``photos:dense``: 2,304 in all, more than FID's 2,048 features."""

EPOCH = 2048
"""Training crops per epoch where no limit is given: chance decides the crops, so the length is a convention."""


@dataclass(frozen=True)
class ScaledPhoto:
    """A photograph at one scale: uint8 (3, H, W)."""

    photo: str
    pixels: np.ndarray

    def crop(self, top: int, left: int, size: Grid) -> np.ndarray:
        """``size``: (H, W)."""
        return self.pixels[:, top : top + size[0], left : left + size[1]]

    def name(self, top: int, left: int) -> str:
        return f"{self.photo}@{min(self.pixels.shape[1:])}+{top}+{left}"


@functools.lru_cache(maxsize=32)
def _pyramid(photo: Photograph, size: Grid, zooms: tuple[float, ...]) -> list[ScaledPhoto]:
    """The photograph just covering (H, W) times each zoom, as far as it has the pixels (1 always); without zooms as it
    is.

    Every cell of a sweep opens the same; nobody writes into them.
    """
    image = _decoded(photo)
    copies = [image.resize(scaled, Image.Resampling.BICUBIC) for scaled in covering_sizes(image, size, zooms)]
    if not copies and (image.height < size[0] or image.width < size[1]):
        raise TokbenchError(
            f"photos: {photo.name} is {size_text(image.size[::-1])}, smaller than the {size_text(size)} cut of it"
        )
    copies = copies or [image]
    return [ScaledPhoto(photo.name, np.ascontiguousarray(np.asarray(copy).transpose(2, 0, 1))) for copy in copies]


@functools.lru_cache(maxsize=16)
def _decoded(photo: Photograph) -> Image.Image:
    return load_image(photo.file())


def _tiles(length: int, size: int) -> list[int]:
    """Starts of the fewest evenly spaced tiles that cover ``length``."""
    count = math.ceil(length / size)
    return [round(k * (length - size) / (count - 1)) for k in range(count)] if count > 1 else [0]


class _Photos(ImageDataset):
    def __init__(
        self,
        split: Split,
        view: View,
        zooms: tuple[float, ...],
        source: str = "photos",
        photographs: Sequence[Photograph] = (),
    ) -> None:
        super().__init__(source, split, view)
        self.photographs = list(photographs) or [p for p in PHOTOGRAPHS if p.split == split]
        self.shape = axes(view.image_size)
        zooms = () if view.crop in OWN_SCALE else zooms
        self.levels = [_pyramid(p, self.shape, zooms) for p in self.photographs]

    @property
    def _size(self) -> str:
        return f"{'grey ' if self.view.channels == 1 else ''}{size_text(self.image_size)}"

    @property
    def content(self) -> str:
        hashes = [hashlib.sha256(p.file().read_bytes()).hexdigest() for p in self.photographs]
        return digest("photos", *hashes)


class TrainPhotos(_Photos):
    """Random crops at random scales of the training photographs, ``length`` to an epoch."""

    def __init__(
        self, view: View, length: int = EPOCH, source: str = "photos", photographs: Sequence[Photograph] = ()
    ) -> None:
        super().__init__("train", view, TRAIN_ZOOMS, source, photographs)
        self.length = length

    def part(self, share: float, held_out: bool) -> ImageDataset:
        """By photograph, of which the last are held out: crops of one overlap."""
        left = len(self.photographs) - max(1, round(share * len(self.photographs)))
        if left < 1:
            raise TokbenchError(
                f"{self.source}: of its {len(self.photographs)} training photographs none would be left"
            )
        if held_out:
            view = replace(self.view, crop=measured_by(self.view.crop), flip=False)
            return ValidationPhotos(view, photographs=self.photographs[left:])
        return TrainPhotos(self.view, self.length, self.source, self.photographs[:left])

    def __len__(self) -> int:
        return self.length

    def sample(self, index: int, epoch: int = 0) -> Sample:
        """Photograph, scale and place are each uniform; all follow from (seed, epoch, index)."""
        high, wide = self.shape
        photo, zoom, row, column, flip = uniforms(5, self.view.seed, epoch, index)
        levels = self.levels[below(len(self.levels), photo)]
        level = levels[below(len(levels), zoom)]
        _, height, width = level.pixels.shape
        top, left = below(height - high + 1, row), below(width - wide + 1, column)
        pixels = level.crop(top, left, self.shape)
        if self.view.flip and flip < 0.5:
            pixels = pixels[:, :, ::-1]
        return {"image": self.view.seen(torch.from_numpy(pixels.copy())), "label": -1, "id": level.name(top, left)}

    def describe(self) -> str:
        """One line for people."""
        names = ", ".join(p.name for p in self.photographs)
        flips = ", flips" if self.view.flip else ""
        return f"photos (train): {len(self)} random {self._size} crops of {names}{flips}"


class _HeldOut(_Photos):
    """Fixed crops of the held-out photographs, the same in every epoch."""

    crops: list[tuple[ScaledPhoto, int, int]]
    kind: str

    def __len__(self) -> int:
        return len(self.crops)

    def sample(self, index: int, epoch: int = 0) -> Sample:
        """The same crop in every epoch."""
        level, top, left = self.crops[index]
        pixels = level.crop(top, left, self.shape).copy()
        return {"image": self.view.seen(torch.from_numpy(pixels)), "label": -1, "id": level.name(top, left)}

    def describe(self) -> str:
        """One line for people."""
        names = ", ".join(p.name for p in self.photographs)
        crops = f"{len(self)} {self.kind} {self._size} crops"
        return f"{self.source} (eval): {crops} of {names}, which are never trained on"


class EvalPhotos(_HeldOut):
    """The fixed grid of crops over the held-out photographs: whole scenes first, the photographs taking turns."""

    kind = "fixed"

    def __init__(self, view: View, limit: int | None = None, photographs: Sequence[Photograph] = ()) -> None:
        super().__init__("eval", view, EVAL_ZOOMS, photographs=photographs)
        grids = [list(self._grid(levels)) for levels in self.levels]
        turns = itertools.zip_longest(*grids)
        crops = [crop for turn in turns for crop in turn if crop is not None]
        self.crops = [crops[k] for k in evenly(len(crops), limit)]

    def _grid(self, levels: list[ScaledPhoto]) -> Iterator[tuple[ScaledPhoto, int, int]]:
        for level in levels:
            _, height, width = level.pixels.shape
            for top in _tiles(height, self.shape[0]):
                for left in _tiles(width, self.shape[1]):
                    yield level, top, left


class ValidationPhotos(EvalPhotos):
    """The same of training photographs that are held out."""

    def __init__(self, view: View, photographs: Sequence[Photograph]) -> None:
        super().__init__(view, photographs=photographs)
        self.split = "validation"


class DensePhotos(_HeldOut):
    """Overlapping crops of the held-out photographs, ``DENSE`` of each, at thirteen scales, in a fixed mixed order.

    Strongly correlated: neighbours share most of their pixels. Photographs too small for so many crops give fewer.
    """

    kind = "overlapping"

    def __init__(self, view: View, limit: int | None = None) -> None:
        super().__init__("eval", view, DENSE_ZOOMS, "photos:dense")
        crops = [crop for levels in self.levels for crop in self._dense(levels)]
        # Mixed, so that the first crops, or every hundredth, are not all of one photograph.
        crops = [crops[k] for k in sorted(range(len(crops)), key=lambda k: uniforms(1, 0, 0, k))]
        self.crops = [crops[k] for k in evenly(len(crops), limit)]

    def _dense(self, levels: list[ScaledPhoto]) -> list[tuple[ScaledPhoto, int, int]]:
        """``DENSE`` crops on the widest regular grid that has so many; all there are, where no grid has."""
        places: list[tuple[ScaledPhoto, int, int]] = []
        for stride in range(max(self.shape), 0, -1):
            places = [
                (level, top, left)
                for level in levels
                for top in range(0, level.pixels.shape[1] - self.shape[0] + 1, stride)
                for left in range(0, level.pixels.shape[2] - self.shape[1] + 1, stride)
            ]
            if len(places) >= DENSE:
                break
        return [places[k] for k in evenly(len(places), DENSE)]

    @property
    def content(self) -> str:
        return digest("dense", super().content)


@register(
    {
        "photos": "photographs that ship with the installed packages; needs no network",
        "photos:dense": "the same, with 2,304 overlapping held-out crops: enough for FID, comparable with itself alone",
    },
    (IMAGES,),
)
def open_photos(source: str, rest: str, split: Split, view: View, limit: int | None) -> ImageDataset:
    """``photos``, or ``photos:dense``. Its crops are part of what it is, so another crop is refused."""
    if view.crop not in (CHANCE if split == "train" else ("adm", "cut")):
        raise TokbenchError(
            f"photos cuts its own crops ({'random' if split == 'train' else 'a fixed grid'} at several scales); "
            f"crop {view.crop!r} is for whole images: leave it out, or use another data source"
        )
    if split == "train":
        return TrainPhotos(view, EPOCH if limit is None else limit, source)
    return DensePhotos(view, limit) if rest == "dense" else EvalPhotos(view, limit)

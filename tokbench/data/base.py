"""What every set of images is: a length, samples by index, and the truth about what was left out."""

from __future__ import annotations

import hashlib
from typing import Any, ClassVar, Literal, TypedDict

from torch import Tensor
from torch.utils.data import Dataset

from tokbench.config.grid import Size
from tokbench.data.coordinates import Coordinates
from tokbench.data.crops import View
from tokbench.data.decode import UnreadableImage
from tokbench.data.maps import map_tensor
from tokbench.data.media import IMAGES
from tokbench.errors import TokbenchError, counted
from tokbench.results.record import DataRef

Split = Literal["train", "eval"]
AnySplit = Literal["train", "eval", "validation"]


class _Caption(TypedDict, total=False):
    text: str


class Sample(_Caption):
    """One image: ``image`` uint8 (C, H, W), or a map (``tokbench.data.maps``); ``label`` (-1 where there is none);
    ``id`` stable between runs; ``text`` where captions were asked for."""

    image: Tensor
    label: int
    id: str


class _Captions(TypedDict, total=False):
    text: list[str]


class Batch(_Captions):
    """``image`` uint8 (B, C, H, W), ``label`` int64 (B,), ``id`` list of B strings, perhaps ``text`` of as many."""

    image: Tensor
    label: Tensor
    id: list[str]


def measured_on(
    images: Any, n: int, *, size: Size | None = None, protocol: str | None = None, skipped: int | None = None
) -> DataRef:
    """What a record says of ``n`` measured images of a dataset; what is given stands in place of the dataset's own."""
    return DataRef(
        spec=images.source,
        split=images.split,
        n=n,
        size=images.image_size if size is None else size,
        protocol=images.protocol if protocol is None else protocol,
        skipped=len(images.skipped) if skipped is None else skipped,
        of=images.of,
        frame_rate=images.frame_rate,
    )


class ImageDataset(Dataset[Sample]):
    """Images by index, in raster order. Subclasses give ``__len__`` and ``picture``.

    Attributes:
        source, split: the spec string and ``train`` or ``eval``; ``validation`` of training images that are held out.
        image_size: of a sample in pixels: a side, or (H, W).
        classes: names of the labels; empty where there are none.
        skipped: (id or path, reason) of every image that could not be used, as far as is known by now.
        notes: lines on what is odd about the whole: images in both splits, labels that are not classes.
        of: how many images the source has for its splits together, or the split before a limit; None: these are all.
        share: a line on ``of``: how many of how many, why, and how to take all; empty where these are all.
        frame_rate: frames a second of the clips: all their frames over all their time; None of images, and where a
            rate is not known.
        captions: the text of every image, once ``read_captions`` was called.
        coordinates: whether samples say where in their image they lie, once ``give_coordinates`` was called.
        fingerprint: hash of the content and of everything done to it; equal fingerprints mean equal samples.
        protocol: how images get their size: ``tokbench-v1`` or the crop's own name; of grey ones with ``-grey``.
    """

    classes: list[str]
    skipped: list[tuple[str, str]]
    notes: list[str]
    captions: list[str] | None = None
    coordinates = False
    places_crops: ClassVar[bool] = False  # whether samples are what the view makes of a loaded image and nothing more

    def __init__(self, source: str, split: AnySplit, view: View) -> None:
        self.source, self.view = source, view
        self.split: AnySplit = split
        self.image_size = view.size
        self.classes, self.skipped, self.notes = [], [], []
        self.of: int | None = None
        self.share = ""
        self.frame_rate = view.frame_rate

    def __len__(self) -> int:
        raise NotImplementedError

    def part(self, share: float, held_out: bool) -> ImageDataset:
        """Of training images the ``share`` that is held out to choose settings by, or the others.

        Raises:
            TokbenchError: these cannot be divided.
        """
        raise TokbenchError(f"{self.source}: its {self.view.media.many} are not divided; name a source in its place")

    def raw_sample(self, index: int) -> tuple[Any, int, str]:
        """(what the view loads: a decoded RGB image, label, id) of one index, before any crop.

        Raises:
            UnreadableImage: where the file turns out to be damaged only now.
        """
        raise NotImplementedError

    def read_captions(self) -> None:
        """Have every sample come with its ``text``; images without one are left out, counted and named.

        Raises:
            TokbenchError: the source has no captions.
        """
        raise TokbenchError(
            f"{self.source}: no captions there: use images with .txt or .json files beside them (in a folder, a zip or "
            "shards), or a table with a column called caption or text"
        )

    def give_coordinates(self) -> None:
        """Have every sample come with its ``coordinates``, float32 (1, H, W): ``tokbench.data.coordinates``.

        Raises:
            TokbenchError: the source does not know where its samples lie.
        """
        if not self.places_crops or self.view.media is not IMAGES or self.view.crop == "taming":
            of = "of images in folders, archives and tables, in any crop but taming's"
            raise TokbenchError(f"{self.source}: where crops lie is known {of}")
        self.coordinates = True

    def truth(self, index: int) -> Any:
        """What the source knows that a sample shows, for the metrics that are of this source alone."""
        raise NotImplementedError

    @property
    def content(self) -> str:
        """Hash of what the images are, before anything is done to them."""
        raise NotImplementedError

    def sample(self, index: int, epoch: int = 0) -> Sample:
        """One sample. Random crops and flips depend on (seed, epoch, index) and on nothing else.

        Raises:
            UnreadableImage: where the file turns out to be damaged only now.
        """
        loaded, label, name = self.raw_sample(index)
        try:
            image, place = self.view.take(loaded, epoch, index)
        except ValueError as error:
            raise UnreadableImage(name, str(error)) from None
        more: Any = self.goes_with(loaded, index, epoch)
        if self.captions is not None:
            more = {**more, "text": self.captions[index]}
        return {"image": image, "label": label, "id": name + place, **more}

    def goes_with(self, loaded: Any, index: int, epoch: int) -> dict[str, Tensor]:
        """What else a sample has, beside the loaded image. Raises UnreadableImage where that cannot be had."""
        if not self.coordinates:
            return {}
        placed: Any = self.view(Coordinates(loaded.size), epoch, index)  # type: ignore[arg-type]
        return {"coordinates": map_tensor(placed, "depth")}

    def __getitem__(self, index: int) -> Sample:
        """The sample as in epoch 0. Raises IndexError beyond the end and UnreadableImage for a damaged file."""
        size = len(self)
        if not -size <= index < size:
            raise IndexError(f"{self.source} ({self.split}) has {size} {self.view.media.sample}s; there is no {index}")
        return self.sample(index % size)

    def samples(self, indices: list[int], epoch: int) -> tuple[list[Sample], list[tuple[str, str]]]:
        """Samples of a batch, and what was found unreadable on the way.

        In training the next readable image stands in, so that batches stay full; in evaluation the image is left
        out, so that nothing counts twice. Both depend on the files alone, not on workers or on what was read before.
        """
        found: list[Sample] = []
        bad: list[tuple[str, str]] = []
        for first in indices:
            index, before = first, len(bad)
            while True:
                try:
                    found.append(self.sample(index, epoch))
                    break
                except UnreadableImage as error:
                    bad.append((error.path, error.reason))
                if self.split != "train":
                    break
                index = (index + 1) % len(self)
                if index == first:
                    path, reason = bad[before]
                    raise TokbenchError(
                        f"{self.source}: none of its {len(self)} {self.view.media.many} can be read; {path}: {reason}"
                    )
        return found, bad

    def readable(self, indices: list[int]) -> list[Sample]:
        """Those of the samples that can be read: ``samples`` to look at.

        Raises:
            TokbenchError: none can be read.
        """
        found, bad = self.samples(indices, 0)
        if not found:
            first = "; ".join(f"{path}: {reason}" for path, reason in bad[:1])
            raise TokbenchError(
                f"{self.source} ({self.split}): no {self.view.media.one} to look at: {first or 'it is empty'}"
            )
        return found

    @property
    def protocol(self) -> str:
        """The name under which figures on these samples may be compared."""
        return self.view.protocol

    @property
    def fingerprint(self) -> str:
        """16 hex digits: content, split and preprocessing."""
        return digest(self.content, self.split, self.view.describe(), str(len(self)))

    def describe(self) -> str:
        """One line for people: source, split, count, preprocessing, what was skipped."""
        text = f"{self.source} ({self.split}): {counted(len(self), self.view.media.sample)}, {self.view.describe()}"
        text += f", {len(self.classes)} classes" if self.classes else ""
        text += f"; {len(self.skipped)} skipped" if self.skipped else ""
        return "; ".join([text, *self.notes])


def digest(*parts: str) -> str:
    """16 hex digits over the parts; ("ab", "c") and ("a", "bc") differ."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def evenly(count: int, limit: int | None) -> list[int]:
    """``limit`` indices spread evenly over ``count`` (all, where there are no more): class-sorted sets stay mixed."""
    if limit is None or limit >= count:
        return list(range(count))
    return [k * count // limit for k in range(limit)]

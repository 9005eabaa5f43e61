"""Clips and images trained on together: batches of either kind in a stated proportion, an image being one frame.

The plan is a function of the batch's number alone: of the first n batches floor(share * n) are of images, so that they
are spread evenly. A run continues exactly where it stopped, and every process has the same kind at the same step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from tokbench.config.data import DataConfig
from tokbench.data.base import Batch, ImageDataset, Sample, digest
from tokbench.data.loader import Loader
from tokbench.data.stream import StreamedImages
from tokbench.errors import TokbenchError


class JointClips(ImageDataset):
    """Training clips (an epoch is one of theirs, an index one of theirs) with images beside them, read over and over.

    Labels are left out: those of two sources are not the classes of one set.

    Args:
        clips: samples (C, T, S, S).
        images: samples (C, S, S), of the same sides and channels.
        share: of the batches that are of images, above 0 and below 1.
    """

    def __init__(self, clips: ImageDataset, images: ImageDataset, share: float) -> None:
        super().__init__(clips.source, "train", clips.view)
        if not 0 < share < 1:
            raise TokbenchError(f"data.images_share is {share}; it must be above 0 and below 1")
        self.clips, self.images, self.images_share = clips, images, share
        self.notes, self.of, self.share = [*clips.notes, *images.notes], clips.of, clips.share
        # One list of the three: each loader adds what it finds unreadable to its own set's.
        self.skipped = clips.skipped = images.skipped = [*clips.skipped, *images.skipped]

    def __len__(self) -> int:
        return len(self.clips)

    def sample(self, index: int, epoch: int = 0) -> Sample:
        return self.clips.sample(index, epoch) | {"label": -1}  # type: ignore[return-value]

    @property
    def content(self) -> str:
        return digest("joint", self.clips.fingerprint, self.images.fingerprint, repr(self.images_share))

    def describe(self) -> str:
        """One line for people."""
        return f"{self.clips.describe()}; in {self.images_share:.0%} of the batches {self.images.describe()}"


def joined(clips: ImageDataset | StreamedImages, images: ImageDataset | StreamedImages, data: DataConfig) -> JointClips:
    """``data.source`` with ``data.images`` beside it. TokbenchError for a stream, whose batches are not counted."""
    for found, key in ((clips, "source"), (images, "images")):
        if isinstance(found, StreamedImages):
            raise TokbenchError(f"data.{key} {found.source}: what is joined is not streamed; leave :streaming out")
    return JointClips(clips, images, data.images_share)  # type: ignore[arg-type]


class JointLoader:
    """Batches (B, C, T, S, S) of clips and (B, C, 1, S, S) of images; the interface of ``Loader``."""

    def __init__(self, dataset: JointClips, *, start_batch: int = 0, **settings: Any) -> None:
        self.dataset, self.start_batch, self.epoch = dataset, start_batch, 0
        self._clips, self._images = Loader(dataset.clips, **settings), Loader(dataset.images, **settings)
        if not len(self._images):
            raise TokbenchError(f"data.images {dataset.images.source} has no images for a single batch")

    def set_epoch(self, epoch: int) -> None:
        """The epoch of the clips that the next iteration goes through."""
        self.epoch = epoch

    def __len__(self) -> int:
        """The batches of an epoch of clips, and those of images among them."""
        clips = len(self._clips)
        total = clips
        while total - self._of_images(total) < clips:
            total += 1
        return total

    def _of_images(self, batches: int) -> int:
        """How many of the first so many are of images."""
        return math.floor(batches * self.dataset.images_share + 1e-9)

    def __iter__(self) -> Iterator[Batch]:
        start, self.start_batch = self.start_batch, 0
        length = len(self)
        self._clips.set_epoch(self.epoch)
        self._clips.start_batch = start - self._of_images(start)
        clips = iter(self._clips)
        images = self._endless_images(self.epoch * self._of_images(length) + self._of_images(start))
        for batch in range(start, length):
            one_frame = self._of_images(batch + 1) > self._of_images(batch)
            found = next(images if one_frame else clips, None)
            if found is None:  # nothing of a clip's batch could be read
                return
            pixels = found["image"].unsqueeze(2) if one_frame else found["image"]
            yield {"image": pixels, "label": torch.full_like(found["label"], -1), "id": found["id"]}

    def _endless_images(self, before: int) -> Iterator[Batch]:
        """Epoch after epoch of them, from batch ``before`` on."""
        epoch, self._images.start_batch = divmod(before, len(self._images))
        while True:
            self._images.set_epoch(epoch)
            yield from self._images
            epoch += 1

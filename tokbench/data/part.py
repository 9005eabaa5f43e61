"""A set of training images in two: those left to train on, and those held out to choose settings by."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tokbench.config.crop import measured_by
from tokbench.data.base import ImageDataset, Sample, digest, evenly
from tokbench.errors import TokbenchError

if TYPE_CHECKING:
    from tokbench.data.whole import WholePictures


class Part(ImageDataset):
    """Some of the training images: those that are left, as they were, or those held out, in the protocol's crop."""

    def __init__(self, whole: WholePictures, share: float, held_out: bool) -> None:
        view = replace(whole.view, crop=measured_by(whole.view.crop), flip=False) if held_out else whole.view
        super().__init__(whole.source, "validation" if held_out else "train", view)
        self.whole = copy.copy(whole)  # in the part's view, what goes with an image too
        self.whole.view, self.classes = view, whole.classes
        self.skipped, self.notes, self.captions = whole.skipped, whole.notes, whole.captions
        count = len(whole)
        chosen = set(evenly(count, max(1, round(share * count))))
        self.indices = [k for k in range(count) if (k in chosen) == held_out]
        if not self.indices:
            raise TokbenchError(
                f"{whole.source}: {count} training images cannot be divided; name a source in its place"
            )
        self.of, self.share = count, whole.share
        self.mark = f"{share:g}"

    def __len__(self) -> int:
        return len(self.indices)

    def raw_sample(self, index: int) -> tuple[Any, int, str]:
        return self.whole.raw_sample(self.indices[index])

    def sample(self, index: int, epoch: int = 0) -> Sample:
        """As in the whole, with its index: those left to train on keep their crops and flips by chance."""
        return self.whole.sample(self.indices[index], epoch)

    def truth(self, index: int) -> Any:
        return self.whole.truth(self.indices[index])

    def read_captions(self) -> None:
        """Of the whole, whose images without one are left out and were numbered until now."""
        own = set(self.whole.kept[self.indices].tolist())
        self.whole.read_captions()
        self.indices = [k for k, position in enumerate(self.whole.kept.tolist()) if position in own]
        if not self.indices:
            raise TokbenchError(f"{self.source}: none of its {self.split} images has a caption")
        texts = self.whole.captions or []
        self.captions = [texts[k] for k in self.indices]
        self.skipped, self.notes = self.whole.skipped, self.whole.notes

    def give_coordinates(self) -> None:
        self.whole.give_coordinates()

    @property
    def label_count(self) -> int | None:
        """Of pairs with masks: how many labels there may be (``Paired``)."""
        return getattr(self.whole, "label_count", None)

    @label_count.setter
    def label_count(self, count: int) -> None:
        self.whole.label_count = count  # type: ignore[attr-defined]

    @property
    def content(self) -> str:
        return digest("part", self.mark, self.whole.content)

    @property
    def fingerprint(self) -> str:
        return digest("part", self.mark, self.split, self.whole.fingerprint_with(self.view))

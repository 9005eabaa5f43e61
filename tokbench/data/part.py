"""A set of training images in two: those left to train on, and those held out to choose settings by."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tokbench.data.base import ImageDataset, Sample, digest, evenly
from tokbench.errors import TokbenchError

if TYPE_CHECKING:
    from tokbench.data.whole import WholePictures


class Part(ImageDataset):
    """Some of the training images: those that are left, as they were, or those held out, in the protocol's crop."""

    def __init__(self, whole: WholePictures, share: float, held_out: bool) -> None:
        view = replace(whole.view, crop="adm", flip=False) if held_out else whole.view
        super().__init__(whole.source, "validation" if held_out else "train", view)
        self.whole, self.classes = whole, whole.classes
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

    def picture(self, index: int) -> tuple[Any, int, str]:
        return self.whole.picture(self.indices[index])

    def sample(self, index: int, epoch: int = 0) -> Sample:
        """Those left to train on are what they were: the same crops and flips by chance."""
        if self.split == "train":
            return self.whole.sample(self.indices[index], epoch)
        return super().sample(index, epoch)

    @property
    def content(self) -> str:
        return digest("part", self.mark, self.whole.content)

    @property
    def fingerprint(self) -> str:
        return digest("part", self.mark, self.split, self.whole.fingerprint_with(self.view))

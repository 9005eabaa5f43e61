"""``webdataset:FILES``: shards of images in tar archives, read at any place.

An index of each shard makes every image addressable, so shards get what folders get: one order for any number of
processes and workers, nothing lost or doubled however many shards there are, and exact resume without reading on.
Shards far away, which can only be read from front to back, are streamed: ``webdataset:FILES:streaming``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tokbench.data.base import ImageDataset, Split, digest
from tokbench.data.crops import View
from tokbench.data.registry import register
from tokbench.data.shard_stream import open_streamed_shards
from tokbench.data.specs import other_files, split_files
from tokbench.data.stream import StreamedImages
from tokbench.data.tarindex import (
    Member,
    contents,
    index_shard,
    is_number,
    no_pictures,
    numbered,
    read_caption,
    read_member,
)
from tokbench.data.whole import WholePictures, hash_split, stamped


class ShardImages(WholePictures):
    """Images of tar shards in the order of shards and of their members. The id is ``SHARD/KEY``.

    ``others``: the shards of the other split, read where labels are names, so that both number them alike.
    """

    def __init__(self, source: str, split: Split, view: View, shards: list[Path], others: Sequence[Path] = ()) -> None:
        super().__init__(source, split, view)
        self.shards = shards
        self.members: list[list[Member]] = []
        for shard in shards:
            members, problems = index_shard(shard, source, view.media)
            self.members.append(members)
            self.skipped.extend(problems)
        self._starts = np.cumsum([0] + [len(members) for members in self.members])
        texts = {member.label for members in self.members for member in members}
        if not all(map(is_number, texts - {""})):
            texts.update(member.label for shard in others for member in index_shard(shard, source, view.media)[0])
        self._numbers, self.classes, note = numbered(texts, source)
        self.notes = [note] if note else []

    @property
    def count(self) -> int:
        """Images in all shards."""
        return int(self._starts[-1])

    def name(self, position: int) -> str:
        shard, member = self._find(position)
        return f"{shard.name}/{member.key}"

    def label(self, position: int) -> int:
        return self._numbers[self._find(position)[1].label]

    def encoded(self, position: int) -> bytes:
        return read_member(*self._find(position))

    def caption(self, position: int) -> str:
        return read_caption(*self._find(position))

    def _find(self, position: int) -> tuple[Path, Member]:
        shard = int(np.searchsorted(self._starts, position, side="right")) - 1
        return self.shards[shard], self.members[shard][position - int(self._starts[shard])]

    @property
    def content(self) -> str:
        """Keys, sizes, labels and the shards' times: what can be known of large ones without reading the images."""
        return contents(self.shards, self.members)

    @property
    def store(self) -> str:
        return digest(*(stamped(shard) for shard in self.shards))


@register({"webdataset:FILES[:streaming]": "tar shards of images; globs, or train=FILES,eval=FILES"})
def open_shards(source: str, rest: str, split: Split, view: View, limit: int | None) -> ImageDataset | StreamedImages:
    """``FILES`` (paths or globs, comma-separated), or ``train=FILES,eval=FILES``; ``:streaming`` at the end streams.

    Without names, shards called after their split (train-000.tar, val-000.tar) belong to it; otherwise one image in
    ten is held out.

    Raises:
        TokbenchError: no such shard, no tar archive, no images.
    """
    if rest.endswith(":streaming"):
        return open_streamed_shards(source, rest.removesuffix(":streaming"), split, view, limit)
    files, divide = split_files(rest, split, source)
    images = ShardImages(source, split, view, files, other_files(rest, split, source))
    if not images.count:
        raise no_pictures(source, files, images.skipped, view.media)
    everything = range(images.count)
    chosen = hash_split([images.name(k) for k in everything], split, source) if divide else everything
    images.select(chosen, limit, images.count)
    return images

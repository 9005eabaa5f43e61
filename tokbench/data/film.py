"""A video from its first frame on, in pieces that are read one by one: whoever takes them needs memory for one."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from einops import rearrange
from torch import Tensor

from tokbench.config.grid import Grid
from tokbench.data.container import UnreadableVideo
from tokbench.data.video import Video


class Film:
    """The frames of an open video, or its first ``most``. ``size`` is (T, H, W). Raises UnreadableVideo."""

    def __init__(self, video: Video, most: int | None = None) -> None:
        self.video = video
        count = len(video) if most is None else min(most, len(video))
        self.size: Grid = (count, *video.frames([0]).shape[1:3])

    def pieces(self, first: int, then: int) -> Iterator[Tensor]:
        """uint8 (3, t, H, W): the ``first`` frames, ``then`` so many each, and what is left.

        Raises:
            UnreadableVideo: one of them is damaged, or of another size than the first.
        """
        start, end, count = 0, first, self.size[0]
        while start < count:
            frames = self.video.frames(range(start, min(end, count)))
            if frames.shape[1:3] != self.size[1:]:
                raise UnreadableVideo(self.video.name, "its frames change their size")
            yield rearrange(torch.from_numpy(frames), "t h w c -> c t h w")
            start, end = end, end + then

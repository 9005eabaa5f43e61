"""The settings under which papers report FVD. Values under different ones are on different scales: they share no
column, because each is a metric of its own name (``gfvd_magvit`` ...), and an FVD under none of them names its resize
and covariance (``gfvd_tf1`` ...)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Resize = Literal["tf1", "half-pixel"]


@dataclass(frozen=True)
class FVDProtocol:
    """One paper's settings; what its sources do not give is not fixed here.

    Attributes:
        resize: how frames become 224 x 224: ``tf1`` (no half-pixel centres) or ``half-pixel``.
        biased: whether the covariance is divided by n; else by n - 1.
        frames, side: of a clip, in frames and pixels; ``side`` None: not fixed.
        count: generated clips.
        repeats: how often the paper draws them; its value is the mean over these.
        split: the reference's.
        windows: which clips of a reference video: ``all`` (one behind another) or ``random`` (one at a random place).
        source: where the settings stand, and which were not found in code.
    """

    name: str
    resize: Resize
    biased: bool
    frames: int
    side: int | None
    count: int
    repeats: int
    split: Literal["train", "eval"]
    windows: Literal["all", "random"]
    source: str

    def wrong_size(self, size: Sequence[int]) -> str | None:
        """Why clips of (T, H, W) are not this protocol's."""
        side = self.side
        if size[0] == self.frames and (side is None or tuple(size[1:]) == (side, side)):
            return None
        wanted = f"{self.frames} frames" + ("" if side is None else f" of {side}x{side}")
        return f"the protocol {self.name} takes clips of {wanted}; these are {'x'.join(map(str, size))}"

    def wrong_count(self, count: int) -> str | None:
        """Why so many generated clips are not its own."""
        if count == self.count:
            return None
        return f"the protocol {self.name} takes {self.count:,} generated clips; there are {count:,}"

    def wrong_reference(self, split: str, windows: str) -> str | None:
        """Why reference clips of this split, cut by these windows, are not its own."""
        if (split, windows) == (self.split, self.windows):
            return None
        return (
            f"the protocol {self.name} compares with {self.windows} windows of the {self.split} split; "
            f"these are {windows} windows of {split}"
        )


FVD_PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        FVDProtocol(
            "magvit", "tf1", False, 16, 128, 10_000, 4, "train", "random",
            "google-research/magvit at 05e8cfd, UCF-101: eval.data_splits, num_examples, final_num_repeats. Its "
            "tools/compute_fvd.py first resizes to 64x64, which is another number",
        ),
        FVDProtocol(
            "videogpt", "half-pixel", False, 16, None, 2_048, 10, "train", "random",
            "wilson1yao/VideoGPT and songweige/TATS; counts, repeats and reference as their papers are remembered, "
            "not read in code",
        ),
        FVDProtocol(
            "stylegan-v fvd2048_16f", "half-pixel", True, 16, 256, 2_048, 1, "train", "random",
            "universome/stylegan-v, metric fvd2048_16f: every real video once at a random place, shorter ones left "
            "out; frames from JPEG files, which nothing here can check",
        ),
    )
}  # fmt: skip

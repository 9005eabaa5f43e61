"""What a source is read for, images, maps or videos: how such files are called, and the columns they stand in."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tokbench.data.formats import MAP_SUFFIXES, SUFFIXES, passed_over


@dataclass(frozen=True)
class Media:
    """``one``, ``many`` and ``sample`` (what is made of one) for messages; ``size``: the image size that reads them;
    ``suffixes`` in lower case; ``columns`` by rank; ``tool``: what downloads them by lists of addresses; ``usual``:
    some of the suffixes and what they are of, for messages; ``shards``: part of the key of what is remembered of tar
    shards.
    """

    one: str
    many: str
    sample: str
    size: str
    suffixes: frozenset[str]
    columns: tuple[str, ...]
    tool: str
    usual: str
    shards: str

    def passed_over(self, suffix: str) -> str | None:
        """Why files that end so are not read although they are of this kind; None for what is read or is none."""
        return None if self is VIDEOS else passed_over(suffix)

    @property
    def other(self) -> Media:
        """The kind that this is not."""
        return IMAGES if self is VIDEOS else VIDEOS


IMAGES = Media(
    "image",
    "images",
    "image",
    "one number, or height and width",
    SUFFIXES,
    (
        "image", "img", "jpg", "jpeg", "png", "webp", "picture", "image_bytes", "image_base64", "base64", "url",
        "image_url",
    ),
    "img2dataset",
    ".jpg, .png, .webp and other image files",
    "shard 5",
)  # fmt: skip
MAPS = replace(
    IMAGES,
    one="map",
    many="maps",
    sample="map",
    suffixes=MAP_SUFFIXES,
    columns=("mask", "label_map", "segmentation", "depth", "depth_map", *IMAGES.columns),
    usual=".png, .npy and other files of maps",
    shards="maps of shard 2",
)
VIDEOS = Media(
    "video",
    "videos",
    "clip",
    "three numbers: frames, height and width",
    frozenset(
        ".mp4 .m4v .mov .qt .avi .mkv .webm .mpg .mpeg .m2v .ts .mts .m2ts .wmv .flv .3gp .3g2 .ogv .gif .y4m "
        ".ivf".split()
    ),
    ("video", "clip", "mp4", "m4v", "mov", "avi", "mkv", "webm", "gif", "video_bytes", "url", "video_url"),
    "video2dataset",
    ".mp4, .avi, .webm and other videos",
    "videos of shard 2",
)

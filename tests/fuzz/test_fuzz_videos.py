"""Video files: any bytes, through the one door and through the folder source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fuzzing import EXAMPLES, damaged, fuzz, survives
from hypothesis import given, settings
from hypothesis import strategies as st

from tokbench.data import open_images
from tokbench.data.video import Video

av = pytest.importorskip("av")


def encoded(kind: str, codec: str, pix_fmt: str = "yuv420p", **options: str) -> bytes:
    """Twelve frames of noise."""
    import io

    random, out = np.random.default_rng(0), io.BytesIO()
    with av.open(out, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.options = 24, 16, pix_fmt, {"g": "5", **options}
        for _ in range(12):
            pixels = random.integers(0, 255, (4, 6, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return out.getvalue()


FILES = {
    "mp4": encoded("mp4", "libx264", bf="2"),
    "webm": encoded("webm", "libvpx", **{"auto-alt-ref": "1"}),
    "mkv": encoded("matroska", "libx264", pix_fmt="yuv444p"),
    "avi": encoded("avi", "mpeg4", bf="2"),
    "ts": encoded("mpegts", "mpeg2video"),
    "gif": encoded("gif", "gif", pix_fmt="rgb8"),
    "flv": encoded("flv", "flv"),
}
videos = damaged(list(FILES.values()))


@given(data=videos, wanted=st.lists(st.integers(0, 11), min_size=1, max_size=4))
@fuzz
def test_the_door(space: Path, data: bytes, wanted: list[int]) -> None:
    def look() -> None:
        with Video(data, name="a video") as video:
            assert len(video) >= 1 and len(video.seconds) == len(video)
            lost = video.lost()
            assert lost == sorted(set(lost)) and set(lost) <= set(range(len(video)))
            frames = video.frames([index % len(video) for index in wanted])
            assert frames.dtype == np.uint8 and frames.shape[0] == len(wanted) and frames.shape[3] == 3

    survives(look, space, "a video")


@given(data=st.binary(max_size=64) | videos, suffix=st.sampled_from((".mp4", ".webm", ".AVI", ".mkv", ".ts", ".gif")))
@settings(fuzz, max_examples=max(10, EXAMPLES // 4))
def test_a_folder(space: Path, data: bytes, suffix: str) -> None:
    folder = space / "folder"
    folder.mkdir(exist_ok=True)
    (folder / "good.mp4").write_bytes(FILES["mp4"])
    path = folder / f"fuzzed{suffix}"
    path.write_bytes(data)

    def look() -> set[str]:
        clips = open_images(f"folder:eval={folder}", "eval", image_size=(4, 8, 8))
        used = {clips[i]["id"].partition("@")[0] for i in range(len(clips))}  # each of them can be read
        return used | {name for name, _ in clips.skipped}

    try:
        assert "good.mp4" in survives(look, space)
    finally:
        path.unlink()

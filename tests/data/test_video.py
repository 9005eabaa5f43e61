"""The door that clips enter by: what it makes of everything that is odd about a video file."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_videos import encode, moving, plain, read, sound_only

from tokbench.data.container import UnreadableVideo
from tokbench.data.video import Video

pytest.importorskip("av")

KINDS = {
    "H.264 with B frames": {},
    "H.264 with open groups": {"x264-params": "open-gop=1:bframes=3:keyint=12:scenecut=0"},
    "H.265": {"codec": "libx265", "x265-params": "log-level=none:keyint=12"},
    "VP8 with frames that are not shown": {
        "kind": "webm", "codec": "libvpx", "auto-alt-ref": "1", "lag-in-frames": "16", "b": "80k",
    },
    "VP9": {"kind": "webm", "codec": "libvpx-vp9", "lag-in-frames": "16", "deadline": "realtime", "cpu-used": "8"},
    "AV1": {"kind": "matroska", "codec": "libsvtav1", "preset": "12"},
    "MPEG-4 in AVI": {"kind": "avi", "codec": "mpeg4"},
    "MPEG-4 in AVI with B frames, which has no times": {"kind": "avi", "codec": "mpeg4", "bf": "2"},
    "MPEG-2": {"kind": "mpegts", "codec": "mpeg2video", "bf": "2"},
    "H.264 in a transport stream": {"kind": "mpegts"},
    "RGB as it is": {"kind": "mov", "codec": "rawvideo", "pix_fmt": "rgb24"},
    "RGB from the bottom up": {"kind": "avi", "codec": "rawvideo", "pix_fmt": "bgr24"},
    "H.264 of colours in full": {"pix_fmt": "yuv444p"},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_any_frame_is_what_decoding_from_the_front_gives(kind: str) -> None:
    data = encode(moving(50, 64, 64), **KINDS[kind])  # type: ignore[arg-type]
    whole = plain(data)
    assert len(whole) == 50 and np.array_equal(read(data), whole)
    for indices in ([49], [0], [13, 14, 15], [11, 12, 30], [30, 30, 7]):
        assert np.array_equal(read(data, indices), whole[indices]), indices
    with Video(data, name="first") as first, Video(data, name="again", index=first.index) as again:
        assert np.array_equal(again.frames([11, 12, 30]), whole[[11, 12, 30]]) and again.lost() == first.lost() == []
        assert again.declared == first.declared


def test_a_file_and_its_bytes_are_the_same(tmp_path: Path) -> None:
    data = encode(moving(20))
    for name in ("a.mp4", "with: colon, 50% & \N{SNOWMAN}.mp4", os.fsdecode(b"\xff\xfe.mp4")):
        (tmp_path / name).write_bytes(data)
        with Video(tmp_path / name, name=name) as video:
            assert np.array_equal(video.frames([3, 17]), plain(data)[[3, 17]])


def test_times_are_the_streams_own() -> None:
    times = [0, 40, 80, 400, 410, 420, 1000]
    with Video(encode(moving(7), times=times), name="a") as video:
        assert np.allclose(video.seconds, np.array(times) / 1000, atol=0.002)


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_a_phones_rotation_is_applied(rotation: int) -> None:
    data = encode(moving(5), rotation=rotation)
    assert np.array_equal(read(data), np.rot90(plain(data), rotation // 90, axes=(1, 2)))
    assert read(data).shape[1:] == ((32, 48, 3) if rotation == 180 else (48, 32, 3))


def test_odd_sides() -> None:
    frames = moving(6, 47, 31)
    data = encode(frames, pix_fmt="yuv444p")
    assert read(data).shape == (6, 31, 47, 3)
    assert np.abs(read(data).astype(int) - frames).mean() < 6


def test_of_several_streams_the_largest_is_taken() -> None:
    data = encode(moving(6, 64, 48), beside=[(32, 32), (16, 16)], audio=True)
    assert np.array_equal(read(data), plain(data, 2)) and read(data).shape[1:3] == (48, 64)


@pytest.mark.parametrize("matrix, number", [("ITU601", 6), ("ITU709", 1)])
@pytest.mark.parametrize("span, number_of_span", [("MPEG", 1), ("JPEG", 2)])
def test_colours_follow_what_the_stream_says(matrix: str, number: int, span: str, number_of_span: int) -> None:
    import av

    colours = np.zeros((4, 32, 32, 3), np.uint8)
    colours[:, :16, :16], colours[:, 16:, 16:], colours[:, :16, 16:] = (200, 30, 40), (20, 180, 60), (30, 60, 220)
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv444p"
        stream.codec_context.colorspace, stream.codec_context.color_range = number, number_of_span
        for pixels in colours:
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv444p", dst_colorspace=matrix, dst_color_range=span)))
        container.mux(stream.encode(None))
    assert np.abs(read(out.getvalue()).astype(int) - colours).max() <= 6


def remuxed(data: bytes, change: Callable[[Any], None]) -> bytes:
    """The same packets in another MP4, changed one by one."""
    import av

    out = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(out, "w", format="mp4") as made:
        stream = made.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                change(packet)
                packet.stream = stream
                made.mux(packet)
    return out.getvalue()


def test_frames_before_the_beginning_are_neither_shown_nor_missing() -> None:
    data = encode(moving(30))

    def earlier(packet: Any) -> None:  # by three frames: the container keeps them, and an edit list leaves them out
        packet.pts, packet.dts = (time - round(3 / 25 / packet.time_base) for time in (packet.pts, packet.dts))

    with Video(remuxed(data, earlier), name="a") as video:
        assert (len(video), video.declared, video.lost()) == (27, 27, [])
        assert np.array_equal(video.frames(range(27)), plain(data)[3:])


def test_times_that_are_not_those_of_the_frames_are_found() -> None:
    def wrong(packet: Any) -> None:  # as of a tool that takes the order of decoding for that of showing
        packet.pts = packet.dts

    with Video(remuxed(encode(moving(30), bf="3"), wrong), name="a") as video:
        lost = video.lost()
        assert lost
        for k in set(range(len(video))) - set(lost):
            video.frames([k])


def test_metadata_that_is_not_utf8() -> None:
    data = encode(moving(5), kind="avi", codec="mpeg4", metadata={"title": "Zugspitze"}).replace(
        b"Zugsp", b"Zug\xff\xfe"
    )
    assert len(read(data)) == 5


def test_what_is_no_video_is_said(tmp_path: Path) -> None:
    whole = encode(moving(60, 64, 64), faststart=True)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile /etc/passwd\n")
    cases = {
        "the file is empty": b"",
        "not a video in a known format": b"what?\n" * 100,
        "no video in it": sound_only(),
        "breaks off after": whole[: len(whole) * 2 // 3],
        "not a file": tmp_path / "pipe",
        "No such file": tmp_path / "gone.mp4",
    }
    for reason, source in cases.items():
        with pytest.raises(UnreadableVideo, match=reason) as caught:
            Video(source, name="b.mp4")
        assert str(caught.value).startswith("b.mp4: cannot be read as a video: ") and "\n" not in str(caught.value)
    with pytest.raises(UnreadableVideo, match="not a video in a known format"):
        Video(tmp_path / "list.mp4", name="list.mp4")


def test_flipped_bytes_lose_frames_and_never_others() -> None:
    data = encode(moving(60, 64, 64), bf="0", **{"x264-params": "scenecut=0"})
    whole = plain(data)
    start = data.index(b"mdat")
    damaged = bytearray(data)
    place = start + (len(data) - start) // 2
    for k in range(6):
        damaged[place + k] ^= 0xFF
    with Video(bytes(damaged), name="a") as video:
        lost = video.lost()
        assert len(video) == 60 and lost and len(lost) < 30
        for k in set(range(60)) - set(lost):
            assert np.array_equal(video.frames([k])[0], whole[k]), k
        with pytest.raises(UnreadableVideo, match=f"frame {lost[0]} of 60 is damaged"):
            video.frames([lost[0]])


def test_damage_is_passed_while_decoding_on_from_window_to_window() -> None:
    data = bytearray(encode(moving(60, 64, 64), bf="0", **{"x264-params": "scenecut=0"}))
    whole, place = plain(bytes(data)), data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2
    data[place : place + 6] = bytes(255 - value for value in data[place : place + 6])
    with Video(bytes(data), name="a") as video:
        lost = set(video.lost())
    with Video(bytes(data), name="a") as video:
        for start in range(0, 60, 4):
            window = range(start, start + 4)
            if lost.isdisjoint(window):
                assert np.array_equal(video.frames(window), whole[start : start + 4]), start
            else:
                with pytest.raises(UnreadableVideo, match="is damaged"):
                    video.frames(window)


def test_what_interrupts_a_window_does_not_move_the_next() -> None:
    data = encode(moving(40), kind="avi", codec="mpeg4", bf="2")  # without times: frames are counted
    whole = plain(data)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with Video(data, name="a") as video:
        with pytest.raises(KeyboardInterrupt):
            video.each(range(10), stop)
        assert np.array_equal(video.frames([10, 11]), whole[[10, 11]])


def test_frames_that_change_their_size() -> None:
    small, large = (encode(moving(12, side, side), kind="mpegts", codec="mpeg2video") for side in (32, 64))
    with Video(small + large, name="a") as video:
        assert len(video.frames([0, 1])) == 2
        with pytest.raises(UnreadableVideo, match="change their size"):
            video.frames([0, len(video) - 1])


@pytest.mark.parametrize("name", ["ucf_soccerjuggling_g23", "mmaction2_demo"])
def test_frames_of_real_clips_are_those_of_the_reference(shared: Path, name: str) -> None:
    reference, file = shared / "golden-video" / "i3d_real_clips.npz", shared / "data" / "clips" / f"{name}.mp4"
    if not (reference.exists() and file.exists()):
        pytest.skip("no real clips in ../shared")
    with Video(file, name=name) as video, np.load(reference) as known:
        assert hashlib.sha256(video.frames(range(16)).tobytes()).hexdigest() == str(known[f"{name}/frames_sha256"])


def test_any_frame_of_real_clips(shared: Path) -> None:
    files = sorted((shared / "data" / "clips").glob("*.mp4"))[::9]
    if not files:
        pytest.skip("no real clips in ../shared")
    for file in files:
        with Video(file, name=file.name) as video:
            assert video.lost() == [] and len(video) == video.declared
            whole, middle = video.frames(range(len(video))), len(video) // 2
            assert np.array_equal(video.frames([middle, middle + 5]), whole[[middle, middle + 5]])

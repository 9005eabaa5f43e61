"""Clips as samples: windows, strides and rates, one crop for all frames, and every kind of source."""

from __future__ import annotations

import functools
import io
import tarfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_videos import encode, moving, plain, sound_only

from tokbench.data import clip_view, loader, open_images
from tokbench.data.clip_view import ClipView, VideoFile
from tokbench.data.frame_index import FrameIndex
from tokbench.data.pixels import to_float, to_uint8
from tokbench.data.throughput import beside_pyav
from tokbench.data.video import Video
from tokbench.data.whole import WholePictures
from tokbench.errors import TokbenchError, TokbenchWarning

pytest.importorskip("av")
pytestmark = pytest.mark.usefixtures("own_hub_cache", "own_cache")

LENGTHS = (20, 12, 33, 17, 9, 40)
"""Frames of the videos that every source here holds."""


@functools.cache
def videos(side: int = 32) -> list[bytes]:
    return [encode(moving(n, side, side, seed=k)) for k, n in enumerate(LENGTHS)]


def write_folder(root: Path) -> str:
    for k, data in enumerate(videos()):
        file = root / ("train" if k < 4 else "val") / ("wave", "run")[k % 2] / f"{k}.mp4"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return f"folder:{root}"


def write_zip(root: Path) -> str:
    write_folder(root / "unpacked")
    with zipfile.ZipFile(root / "a.zip", "w") as archive:
        for file in sorted((root / "unpacked").rglob("*.mp4")):
            archive.write(file, file.relative_to(root / "unpacked"))
    return f"zip:{root}/a.zip"


def write_shards(root: Path) -> str:
    for split, chosen in (("train", range(4)), ("val", range(4, 6))):
        with tarfile.open(root / f"{split}-0.tar", "w") as archive:
            for k in chosen:
                for end, data in (("mp4", videos()[k]), ("cls", str(k % 2).encode()), ("txt", b"a film")):
                    member = tarfile.TarInfo(f"{k}.{end}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
    return f"webdataset:{root}/*.tar"


def write_table(root: Path) -> str:
    import datasets

    for split, chosen in (("train", range(4)), ("val", range(4, 6))):
        rows = {"video": [{"bytes": videos()[k], "path": None} for k in chosen], "label": [k % 2 for k in chosen]}
        features = datasets.Features({"video": datasets.Video(), "label": datasets.ClassLabel(names=["wave", "run"])})
        datasets.Dataset.from_dict(rows, features=features).to_parquet(root / f"{split}-0.parquet")
    return f"parquet:{root}/*.parquet"


SOURCES: dict[str, Callable[[Path], str]] = {
    "folder": write_folder,
    "zip": write_zip,
    "webdataset": write_shards,
    "parquet": write_table,
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_gives_the_same_clips(kind: str, tmp_path: Path) -> None:
    spec = SOURCES[kind](tmp_path)
    train = open_images(spec, "train", image_size=(9, 32, 32), flip=True)
    held_out = open_images(spec, "eval", image_size=(9, 32, 32))
    assert len(train) == 4 and len(held_out) == 1 + 4 and len(train.classes) == 2
    whole = torch.from_numpy(plain(videos()[5])).permute(3, 0, 1, 2)
    clips = [held_out[k] for k in range(5)]
    assert all(clip["image"].dtype == torch.uint8 for clip in clips)
    batch = next(iter(loader(held_out, batch_size=5, shuffle=False, seed=0)))["image"]
    assert torch.equal(batch, torch.stack([clip["image"] for clip in clips]))
    assert to_float(batch).is_contiguous() and torch.equal(to_uint8(to_float(batch)), batch)
    places = [clip["id"].rpartition("@")[2] for clip in clips]
    longer = clips[:4] if places[1] == "9" else clips[1:]
    assert [clip["id"].rpartition("@")[2] for clip in longer] == ["0", "9", "18", "27"]
    assert all(torch.equal(clip["image"], whole[:, 9 * k : 9 * k + 9]) for k, clip in enumerate(longer))
    first = train.sample(2, epoch=3)
    assert torch.equal(first["image"], train.sample(2, epoch=3)["image"])
    assert {train.sample(2, epoch)["id"] for epoch in range(9)} != {first["id"]}


@pytest.mark.filterwarnings("ignore::tokbench.errors.TokbenchWarning")
def test_the_lists_of_ucf101_are_its_splits(tmp_path: Path) -> None:
    root, lists = tmp_path / "UCF-101", tmp_path / "ucfTrainTestlist"
    names = [f"{of}/v_{of}_g0{k}_c01.avi" for of in ("Archery", "Bowling") for k in range(1, 4)]
    for name, data in zip(names, videos(), strict=True):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 Archery\n2 Bowling\n")
    (lists / "trainlist01.txt").write_text(f"{names[1]} 1\r\n{names[4]} 2\r\nArchery/v_Archery_g09_c01.avi 1\r\n")
    (lists / "testlist01.txt").write_text(f"{names[3]}\n{names[0]}\n")
    (lists / "trainlist02.txt").write_text(f"{names[0]} 1\n")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for file in sorted([*root.rglob("*.*"), *lists.rglob("*.*")]):
            archive.write(file, file.relative_to(tmp_path))
    for source in (f"folder:{tmp_path}", f"zip:{tmp_path}/a.zip"):
        train, held_out = (open_images(source, split, image_size=(9, 32, 32)) for split in ("train", "eval"))
        seen = {
            clip["id"].partition("@")[0].rpartition("UCF-101/")[2]: clip["label"] for clip in train.readable([0, 1])
        }
        assert seen == {names[1]: 0, names[4]: 1} and train.classes == held_out.classes == ["Archery", "Bowling"]
        assert {held_out[k]["label"] for k in range(len(held_out))} == {0, 1} and held_out.of is None
        told = "; ".join(train.notes)
        assert "neither trainlist01.txt nor testlist01.txt: 2" in told and "not there: 1, such as Archery/v_A" in told
    (lists / "testlist01.txt").write_text("Archery/other.avi\n")
    with pytest.raises(TokbenchError, match=r"testlist01.txt names none of the videos there, such as Archery/other"):
        open_images(f"folder:{tmp_path}", "train", image_size=(9, 32, 32))


def test_a_local_folder_in_the_hubs_layout(tmp_path: Path) -> None:
    write_table(tmp_path)
    train, held_out = (open_images(f"hub:{tmp_path}", split, image_size=(9, 32, 32)) for split in ("train", "eval"))
    assert len(train) == 4 and len(held_out) == 5 and train.classes == ["wave", "run"]
    assert held_out.frame_rate == 25
    streamed = open_images(f"hub:{tmp_path}:streaming", "train", image_size=(9, 32, 32))
    batches = list(loader(streamed, batch_size=2, shuffle=False, seed=0))
    assert [batch["image"].shape for batch in batches] == [(2, 3, 9, 32, 32)] * 2


def test_streams(tmp_path: Path) -> None:
    spec = f"{write_shards(tmp_path)}:streaming"
    train = open_images(spec, "train", image_size=(9, 32, 32))
    batches = list(loader(train, batch_size=2, shuffle=True, seed=0))
    assert [batch["image"].shape for batch in batches] == [(2, 3, 9, 32, 32)] * 2
    held_out = open_images(spec, "eval", image_size=(9, 32, 32), limit=2)
    assert len(held_out) == 2 and held_out[1]["image"].shape == (3, 9, 32, 32)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_do_not_depend_on_workers_or_interruption(workers: int, tmp_path: Path) -> None:
    train = open_images(write_folder(tmp_path), "train", image_size=(5, 16, 16), flip=True)

    def run(start: int, workers: int) -> list[Any]:
        batches = loader(train, batch_size=2, shuffle=True, seed=1, workers=workers, start_batch=start)
        batches.set_epoch(2)
        return list(batches)

    whole, rest = run(0, 0), run(1, workers)
    assert whole[1]["id"] == rest[0]["id"] and torch.equal(whole[1]["image"], rest[0]["image"])


def test_one_crop_and_one_flip_for_all_frames(tmp_path: Path) -> None:
    still = np.repeat(moving(1, 64, 48), 12, axis=0)
    (tmp_path / "a.mp4").write_bytes(encode(still, crf="1"))
    train = open_images(f"folder:train={tmp_path}", "train", image_size=(8, 24, 24), flip=True)
    seen = [train.sample(0, epoch)["image"].float() for epoch in range(8)]
    for clip in seen:
        assert (clip - clip[:, :1]).abs().max() < 12  # the encoder's own noise
    assert max((a - seen[0]).abs().mean() for a in seen) > 5


def test_stride_rate_and_windows(tmp_path: Path) -> None:
    times = [0, 40, 80, 120, 500, 540, 580, 900, 1000, 1040]
    data = encode(moving(10, 32, 32), times=times)
    (tmp_path / "a.mp4").write_bytes(data)
    whole = torch.from_numpy(plain(data)).permute(3, 0, 1, 2)

    def shown(frames: int, **settings: Any) -> Any:
        clips = open_images(f"folder:eval={tmp_path}", "eval", image_size=(frames, 32, 32), **settings)
        return clips, [clips[k]["image"] for k in range(len(clips))]

    clips, got = shown(2, stride=3)
    assert clips.frame_rate == pytest.approx(9 / 1.04 / 3, abs=1e-3)  # ten frames, the last shown after 1.04 s
    assert [clips[k]["id"] for k in range(len(clips))] == ["a.mp4@0", "a.mp4@6"]
    assert torch.equal(got[1], whole[:, [6, 9]])
    clips, got = shown(6, fps=5)
    assert torch.equal(got[0], whole[:, [0, 3, 3, 6, 6, 8]]) and len(clips) == 1
    assert clips.frame_rate == 5
    assert "6 frames at 5 a second" in clips.describe() and clips.protocol == "tokbench-v1-all-5fps"
    clips, got = shown(4, windows="first")
    assert len(clips) == 1 and torch.equal(got[0], whole[:, :4]) and clips.protocol == "tokbench-v1-first"
    clips, got = shown(4, channels=1, stride=2)
    assert got[0].shape == (1, 4, 32, 32) and clips.protocol == "tokbench-v1-all-stride2-grey"
    (tmp_path / "a.mp4").write_bytes(encode(moving(10, 32, 32), rate=10))
    (tmp_path / "b.mp4").write_bytes(encode(moving(10, 32, 32), rate=40))
    clips, _ = shown(5)
    assert clips.frame_rate == pytest.approx(16)  # 20 frames in 1.25 s


def test_what_cannot_be_used_is_named_and_counted(tmp_path: Path) -> None:
    whole = encode(moving(60, 64, 64), faststart=True, bf="0", **{"x264-params": "scenecut=0"})
    damaged = bytearray(whole)
    place = len(whole) * 2 // 3
    for k in range(6):
        damaged[place + k] ^= 0xFF
    files = {
        "good.mp4": whole, "damaged.mp4": bytes(damaged), "half.mp4": whole[: len(whole) // 2], "short.mp4":
        encode(moving(4, 64, 64)), "empty.mp4": b"", "text.mp4": b"no film\n" * 99, "sound.mp4": sound_only(),
    }  # fmt: skip
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with pytest.warns(TokbenchWarning, match=r"missing frames: 1 \(such as damaged.mp4: \d\d of 60 frames\)"):
        clips = open_images(f"folder:eval={tmp_path}", "eval", image_size=(5, 64, 64))
    reasons = dict(clips.skipped)
    assert set(reasons) == {"half.mp4", "short.mp4", "empty.mp4", "text.mp4", "sound.mp4"}
    assert reasons["short.mp4"] == "4 frames, and a clip takes 5"
    ids = [clips[k]["id"] for k in range(len(clips))]  # every one of them can be read
    assert sum(name.startswith("good") for name in ids) == 12
    assert 0 < sum(name.startswith("damaged") for name in ids) < 12
    with pytest.warns(TokbenchWarning, match="missing frames"):  # in the only clip that there is of it
        clips = open_images(f"folder:eval={tmp_path}", "eval", image_size=(60, 64, 64))
    assert dict(clips.skipped)["damaged.mp4"] == "damage in each clip" and [clips[0]["id"]] == ["good.mp4@0"]
    (tmp_path / "good.mp4").unlink()
    with pytest.raises(TokbenchError, match="none of the 6 videos"):
        open_images(f"folder:eval={tmp_path}", "eval", image_size=(60, 64, 64))


def test_training_goes_on_past_a_damaged_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tokbench.data import whole as whole_module

    monkeypatch.setattr(whole_module, "CHECKED_TRAINING_VIDEOS", 0)
    (tmp_path / "a.mp4").write_bytes(b"no film\n" * 99)
    (tmp_path / "b.mp4").write_bytes(encode(moving(9)))
    clips = open_images(f"folder:train={tmp_path}", "train", image_size=(5, 16, 16))
    batches = list(loader(clips, batch_size=2, shuffle=False, seed=0))
    assert batches[0]["image"].shape == (2, 3, 5, 16, 16)
    assert clips.skipped == [("a.mp4", "not a video in a known format, or damaged")]


@pytest.mark.parametrize(
    "spec, size, message",
    [
        ("photos", (5, 16, 16), "photos gives images: set the image size (data.image_size) to one number"),
        ("clips", 16, "clips gives videos: set the image size (data.image_size) to three numbers"),
        ("folder:{films}", 16, "no images in it; it holds 1 video, such as a.mp4: set data.image_size to three"),
        ("folder:{pictures}", (5, 16, 16), "no videos in it; it holds 1 image, such as a.png: set data.image_size"),
        ("folder:{films}", (0, 16, 16), "image_size is (0, 16, 16); it must be a side in pixels"),
        ("cached:folder:{films}", (5, 16, 16), "gives images"),
    ],
)
def test_a_size_of_the_other_kind_is_one_line(
    spec: str, size: Any, message: str, tmp_path: Path, folder_of: Callable[..., Path]
) -> None:
    films = tmp_path / "films"
    films.mkdir()
    (films / "a.mp4").write_bytes(encode(moving(9)))
    with pytest.raises(TokbenchError) as caught:
        open_images(spec.format(films=films, pictures=folder_of({"a": 1})), "train", image_size=size)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_no_pyav_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    (tmp_path / "a.mp4").write_bytes(encode(moving(9)))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(TokbenchError, match=r"with PyAV: pip install 'tokbench\[video\]'"):
        open_images(f"folder:{tmp_path}", "train", image_size=(5, 16, 16))


def test_the_built_in_clips_need_no_network_and_hold_a_whole_video_out() -> None:
    train = open_images("clips", "train", image_size=(17, 64, 64), flip=True)
    held_out = open_images("clips", "eval", image_size=(17, 64, 64))
    assert (len(train), len(held_out)) == (2048, 280 // 17)
    names = {train[k]["id"].partition("@")[0] for k in range(12)}
    assert names == {"big_buck_bunny.mp4", "webb_mirror.mp4"}
    assert {held_out[k]["id"].partition("@")[0] for k in (0, 15)} == {"cockatoo.mp4"}
    assert held_out[3]["image"].shape == (3, 17, 64, 64) and not held_out.notes
    assert len(open_images("clips", "eval", image_size=(17, 64, 64), limit=4)) == 4


def test_a_built_in_clip_that_was_changed_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from tokbench.data import clips as clips_module

    monkeypatch.setattr(clips_module, "FOLDER", tmp_path)
    (tmp_path / "cockatoo.mp4").write_bytes(b"another")
    with pytest.raises(TokbenchError, match="cockatoo.mp4 is not the file that tokbench ships; reinstall"):
        open_images("clips", "eval", image_size=(17, 64, 64))


def test_a_file_that_is_written_anew_is_read_anew(tmp_path: Path) -> None:
    file, view = tmp_path / "a.mp4", ClipView(image_size=32, crop="adm", frames=5, windows="first")
    for seed, count in ((0, 30), (1, 20), (2, 40), (1, 20)):
        file.write_bytes(encode(moving(count, 32, 32, seed=seed)))
        for _ in range(3):  # the second and third time, the file was closed for others in between
            clip, _ = view.take(VideoFile(file, "a.mp4"), 0, 0)
            assert np.array_equal(clip.permute(1, 2, 3, 0), plain(file.read_bytes())[:5])
            for k in range(2):
                (tmp_path / f"{k}.mp4").write_bytes(encode(moving(9, 32, 32)))
                view.take(VideoFile(tmp_path / f"{k}.mp4", "other"), 0, 0)


def test_where_frames_are_is_kept_of_so_many_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    indexed = Video._indexed
    monkeypatch.setattr(clip_view, "_kept", threading.local())
    monkeypatch.setattr(clip_view, "FRAMES", 45)

    def counted(video: Video) -> FrameIndex:
        read.append(video.name)
        return indexed(video)

    monkeypatch.setattr(Video, "_indexed", counted)
    view = ClipView(image_size=32, crop="adm", frames=5, windows="first")
    for name in "abc":
        (tmp_path / name).write_bytes(encode(moving(20, 32, 32)))
    for name in "ababcbca":
        view.take(VideoFile(tmp_path / name, name), 0, 0)
    assert "".join(read) == "abca"  # the third drives out the first, which comes again


@pytest.mark.parametrize("stride, part", [(1, (18 + 9) / 32), (2, 17 / 20)])
def test_pyav_beside_the_reader_decodes_what_the_clips_need(stride: int, part: float, tmp_path: Path) -> None:
    for k in (0, 1):
        (tmp_path / f"{k}.mp4").write_bytes(videos()[k])  # 20 and 12 frames
    settings: Any = {"image_size": (9, 32, 32), "crop": "adm", "windows": "all", "stride": stride}
    clips = open_images(f"folder:train={tmp_path}", "train", **settings)
    assert isinstance(clips, WholePictures)
    found = beside_pyav(clips, seconds=0.01)
    assert found.part == part and min(found.clips, found.decoded, found.decoded_to_rgb) > 0

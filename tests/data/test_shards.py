"""WebDataset shards, addressed and streamed: counted over processes and workers, resumed, damaged."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
import torch
from data_pictures import encoded, picture, write_shard

from tokbench.data import loader, open_images
from tokbench.data.stream import StreamedImages
from tokbench.errors import TokbenchError, TokbenchWarning

pytestmark = pytest.mark.usefixtures("own_hub_cache")
SIZES = (13, 7, 19, 5, 11)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    start = 0
    for number, size in enumerate(SIZES):
        write_shard(tmp_path / f"train-{number:03d}.tar", range(start, start + size))
        start += size
    write_shard(tmp_path / "val-000.tar", range(100, 109))
    return tmp_path


def test_addressed_shards(shards: Path) -> None:
    train, held_out = (open_images(f"webdataset:{shards}/*.tar", s, image_size=8) for s in ("train", "eval"))
    assert len(train) == sum(SIZES) and len(held_out) == 9
    assert (train[13]["id"], train[13]["label"]) == ("train-001.tar/000013", 13 % 7)
    expected = open_images(f"folder:eval={_unpacked(shards)}", "eval", image_size=8)
    assert torch.equal(held_out[2]["image"], expected[2]["image"])
    again = open_images(f"webdataset:{shards}/*.tar", "train", image_size=8)
    assert again.fingerprint == train.fingerprint != held_out.fingerprint


def _unpacked(shards: Path) -> Path:
    folder = shards / "unpacked"
    folder.mkdir(exist_ok=True)
    for key in range(100, 109):
        (folder / f"{key}.jpg").write_bytes(encoded(picture(key), "JPEG"))
    return folder


@pytest.mark.parametrize("form", ["", ":streaming"])
@pytest.mark.parametrize("world, workers", [(1, 0), (3, 0), (2, 2)])
def test_nothing_lost_nothing_doubled_and_resumed_exactly(shards: Path, form: str, world: int, workers: int) -> None:
    images = open_images(f"webdataset:train={shards}/train-*.tar{form}", "train", image_size=8, flip=True)

    def batches(rank: int, start: int = 0) -> list[tuple[list[str], torch.Tensor]]:
        source = loader(
            images, batch_size=4, shuffle=True, seed=1, workers=workers, rank=rank, world_size=world, start_batch=start
        )
        source.set_epoch(2)
        return [(b["id"], b["image"]) for b in source]

    whole = [batches(rank) for rank in range(world)]
    seen = [i for rank in whole for ids, _ in rank for i in ids]
    assert len(seen) == len(set(seen)) == sum(SIZES)
    for start in (1, 3):
        rest = batches(0, start)
        assert [ids for ids, _ in rest] == [ids for ids, _ in whole[0][start:]]
        assert all(torch.equal(a, b) for (_, a), (_, b) in zip(rest, whole[0][start:], strict=True))


def test_a_stream_is_shuffled_by_epoch_and_keeps_its_labels(shards: Path) -> None:
    stream = open_images(f"webdataset:train={shards}/train-*.tar:streaming", "train", image_size=8)
    orders = []
    for epoch in (0, 0, 1):
        source = loader(stream, batch_size=8, shuffle=True, seed=1, drop_last=True)
        source.set_epoch(epoch)
        batches = list(source)
        assert len(batches) == sum(SIZES) // 8 and all(len(b["id"]) == 8 for b in batches)
        orders.append([i for b in batches for i in b["id"]])
        for batch in batches:
            assert batch["label"].tolist() == [int(i.split("/")[1]) % 7 for i in batch["id"]]
    assert orders[0] == orders[1] != orders[2]


def test_streamed_evaluation_is_held_in_memory(shards: Path) -> None:
    held_out = open_images(f"webdataset:{shards}/*.tar:streaming", "eval", image_size=8, limit=4)
    assert len(held_out) == 4 and [held_out[i]["label"] for i in range(4)] == [100 % 7, 101 % 7, 102 % 7, 103 % 7]


def add(path: Path, name: str, data: bytes) -> None:
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize("form", ["", ":streaming"])
def test_a_damaged_picture(shards: Path, form: str) -> None:
    add(shards / "train-004.tar", "999999.jpg", b"broken")
    add(shards / "train-004.tar", "999999.cls", b"1")
    images = open_images(f"webdataset:train={shards}/train-*.tar{form}", "train", image_size=8)
    seen = [i for b in loader(images, batch_size=8, shuffle=False, seed=0) for i in b["id"]]
    assert set(seen) == {f"train-{n:03d}.tar/{k:06d}" for n, k in _keys()}
    assert [name for name, _ in images.skipped] == ["train-004.tar/999999"]


def _keys() -> list[tuple[int, int]]:
    return [(n, sum(SIZES[:n]) + k) for n, size in enumerate(SIZES) for k in range(size)]


def test_a_shard_that_breaks_off_gives_what_it_has(shards: Path) -> None:
    shard = shards / "train-002.tar"
    with tarfile.open(shard) as archive:
        third = archive.getmembers()[4]
    shard.write_bytes(shard.read_bytes()[: third.offset_data + 10])
    images = open_images(f"webdataset:{shards}/*.tar", "train", image_size=8)
    assert len(images) == sum(SIZES) - SIZES[2] + 2
    assert images.skipped[0][0] == "train-002.tar" and "breaks off" in images.skipped[0][1]


@pytest.mark.parametrize("damage", ["cut between files", "cut in a header", "header"])
def test_a_shard_whose_headers_are_damaged_does_not_end_in_silence(shards: Path, damage: str) -> None:
    shard = shards / "train-002.tar"
    with tarfile.open(shard) as archive:
        third = archive.getmembers()[4]
    content = bytearray(shard.read_bytes())
    if damage == "header":
        content[third.offset + 100] ^= 0xFF
    else:
        del content[third.offset + (200 if "header" in damage else 0) :]
    shard.write_bytes(content)
    images = open_images(f"webdataset:{shards}/*.tar", "train", image_size=8)
    assert len(images) == sum(SIZES) - SIZES[2] + 2
    assert images.skipped[0][0] == "train-002.tar" and "breaks off after 2 images" in images.skipped[0][1]


def test_members_cannot_reach_outside(shards: Path, tmp_path: Path) -> None:
    """Nothing is unpacked: a hostile name is a key and no path, a link is no image."""
    evil = tmp_path / "evil.tar"
    with tarfile.open(evil, "w") as archive:
        link = tarfile.TarInfo("a.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    add(evil, "../../b.jpg", encoded(picture(1), "JPEG"))
    images = open_images(f"webdataset:eval={evil}", "eval", image_size=8)
    assert [images[i]["id"] for i in range(len(images))] == ["evil.tar/../../b"]
    assert not (tmp_path.parent.parent / "b.jpg").exists()


def tar(path: Path, files: dict[str, bytes | str]) -> Path:
    """A shard; a text starts with ``hard:`` or ``soft:`` and is a link."""
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                kind, _, member.linkname = content.partition(":")
                member.type = tarfile.LNKTYPE if kind == "hard" else tarfile.SYMTYPE
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


JPEG = encoded(picture(1), "JPEG")


def test_links_are_read_through(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {"a/0.jpg": JPEG, "a/1.jpg": "hard:a/0.jpg", "a/2.jpg": "soft:../b/3.jpg"}
    files |= {"b/3.jpg": "soft:../a/1.jpg", "a/4.jpg": "soft:4.jpg", "a/5.jpg": "hard:gone.jpg"}
    path = tar(tmp_path / "a.tar", files | {"a/1.cls": b"3"})
    images = open_images(f"webdataset:eval={path}", "eval", image_size=8)
    assert [(images[i]["id"], images[i]["label"]) for i in range(4)] == [
        ("a.tar/a/0", -1), ("a.tar/a/1", 3), ("a.tar/a/2", -1), ("a.tar/b/3", -1)
    ]  # fmt: skip
    assert len(images) == 4 and torch.equal(images[0]["image"], images[2]["image"])
    assert {name for name, _ in images.skipped} == {"a.tar/a/4.jpg", "a.tar/a/5.jpg"}
    path = tar(tmp_path / "b.tar", files)
    stream = open_images(f"webdataset:train={path}:streaming", "train", image_size=8)
    assert len(stream) == 1 and len(stream.skipped) == 5  # a stream reads no links, and says so of each
    assert sum(len(b["id"]) for b in loader(stream, batch_size=8, shuffle=False, seed=0)) == 1


def test_a_name_ends_at_its_first_dot(tmp_path: Path) -> None:
    """Parts of one sample are no images of their own; where there is one image only, that is it."""
    path = tar(tmp_path / "a.tar", {
        "./1.jpg": JPEG, "./1.seg.png": encoded(picture(2)), "./1.cls": b"2", "n01/2.rgb.JPG": JPEG, "n01/2.cls": b"1",
        "photo.v1.1.jpg": JPEG, "photo.v1.2.jpg": JPEG, "__MACOSX/._1.jpg": JPEG, "._1.jpg": JPEG, "3.heics": b"x",
    })  # fmt: skip
    images = open_images(f"webdataset:eval={path}", "eval", image_size=8)
    assert [(images[i]["id"], images[i]["label"]) for i in range(len(images))] == [("a.tar/./1", 2), ("a.tar/n01/2", 1)]
    assert [name for name, _ in images.skipped] == ["a.tar/photo.v1.1.jpg", "a.tar/photo.v1.2.jpg", "a.tar/3.heics"]
    assert "first dot" in images.skipped[0][1] and "'photo'" in images.skipped[0][1]


@pytest.mark.parametrize("form", ["", ":streaming"])
def test_shards_without_pictures_say_what_they_hold(tmp_path: Path, form: str) -> None:
    dots = tar(tmp_path / "dots.tar", {f"photo.v1.{k}.jpg": JPEG for k in range(12)})
    arrays = tar(tmp_path / "arrays.tar", {"0.npy": b"x", "0.txt": b"y"})
    for path, message in (
        (dots, r"dots.tar/photo.v1.0.jpg and 11 more.*first dot"),
        (arrays, "holds 0.npy, 0.txt, but"),
    ):
        with pytest.raises(TokbenchError, match=f"no images in its 1 shard .*{message}"):
            open_images(f"webdataset:eval={path}{form}", "eval", image_size=8)


def test_labels_of_shards_are_classes(shards: Path) -> None:
    for form in ("", ":streaming"):
        images = open_images(f"webdataset:{shards}/*.tar{form}", "train", image_size=8)
        assert images.classes == [str(k) for k in range(7)]


def test_no_label_and_names(tmp_path: Path) -> None:
    def write(name: str, labels: list[bytes]) -> Path:
        files = {f"{k}.cls": label for k, label in enumerate(labels)} | {f"{k}.jpg": JPEG for k in range(len(labels))}
        return tar(tmp_path / name, dict(sorted(files.items())))

    none = write("none.tar", [b"-1", b"-1\n", b"-100", b""])
    images = open_images(f"webdataset:train={none}", "train", image_size=8)
    assert [images[i]["label"] for i in range(4)] == [-1] * 4 and images.classes == []
    with pytest.raises(TokbenchError, match="none.tar/3.cls holds ''.*leave :streaming out"):
        open_images(f"webdataset:train={none}:streaming", "train", image_size=8)
    stream = open_images(f"webdataset:train={write('minus.tar', [b'-1', b'-100'])}:streaming", "train", image_size=8)
    (batch,) = loader(stream, batch_size=2, shuffle=False, seed=0)
    assert batch["label"].tolist() == [-1, -1] and stream.classes == []
    some = write("some.tar", [b"-1", b"2", b"007"])
    images = open_images(f"webdataset:eval={some}", "eval", image_size=8)
    assert [images[i]["label"] for i in range(3)] == [-1, 2, 7] and len(images.classes) == 8
    write("train-0.tar", [b"n02\n", b"n01", b"-1"])
    write("val-0.tar", [b"n02", b"n03"])
    train, held_out = (open_images(f"webdataset:{tmp_path}/*-0.tar", s, image_size=8) for s in ("train", "eval"))
    assert train.classes == held_out.classes == ["n01", "n02", "n03"]
    assert [train[i]["label"] for i in range(3)] == [1, 0, -1] and [held_out[i]["label"] for i in (0, 1)] == [1, 2]
    with pytest.raises(TokbenchError, match=r"train-0.tar/0.cls holds 'n02'.*leave :streaming out"):
        open_images(f"webdataset:train={tmp_path}/train-0.tar:streaming", "train", image_size=8)
    write("ids.tar", [b"1", b"123456789012"])
    with pytest.warns(TokbenchWarning, match="numbers up to 123456789012"):
        images = open_images(f"webdataset:eval={tmp_path}/ids.tar", "eval", image_size=8)
    assert images.classes == [] and images[0]["label"] == -1


def test_wrong_shards_are_one_line(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"no tar at all" * 100)
    with tarfile.open(tmp_path / "packed.tar", "w:gz") as archive:
        archive.add(__file__, "a.jpg")
    with tarfile.open(tmp_path / "text.tar", "w"):
        pass
    write_shard(tmp_path / "word.tar", range(1))
    add(tmp_path / "word.tar", "000001.jpg", encoded(picture(1), "JPEG"))
    add(tmp_path / "word.tar", "000001.cls", b"cat")
    for name, label in (("digits", b"1" * 5000), ("beyond", b"9223372036854775808"), ("bytes", b"\x80\x03]q\x00")):
        write_shard(tmp_path / f"{name}.tar", range(1))
        add(tmp_path / f"{name}.tar", "000001.cls", label)
    for name, message in {
        "x.tar": "not a plain tar",
        "packed.tar": "not a plain tar",
        "text.tar": "no images",
        "word.tar": "holds 'cat'",
        "none.tar": "no file matches",
        "digits.tar": "digits.tar/000001.cls holds '111",
        "beyond.tar": "beyond.tar/000001.cls holds '922",
        "bytes.tar": "bytes.tar/000001.cls holds",
    }.items():
        with pytest.raises(TokbenchError, match=message) as caught:
            open_images(f"webdataset:eval={tmp_path}/{name}", "eval", image_size=8)
        assert "\n" not in str(caught.value)
    with pytest.raises(TokbenchError, match="cannot be divided"):
        open_images(f"webdataset:{shards}/train-*.tar:streaming", "train", image_size=8)
    with pytest.raises(TokbenchError, match="limit"):
        open_images(f"webdataset:train={shards}/train-*.tar:streaming", "train", image_size=8, limit=3)
    stream = open_images(f"webdataset:train={shards}/train-*.tar:streaming", "train", image_size=8)
    assert len(stream) == sum(SIZES)
    assert isinstance(stream, StreamedImages)
    stream.length = None
    with pytest.raises(TokbenchError, match="not known"):
        len(stream)
    assert len(list(loader(stream, batch_size=99, shuffle=True, seed=0))) == 1

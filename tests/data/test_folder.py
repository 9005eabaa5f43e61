"""Folders: splits and classes from sub-folders, odd files left out and named, nothing depends on chance."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from data_pictures import encoded, picture
from PIL import Image

from tokbench.data import ImageDataset, loader, open_images
from tokbench.errors import TokbenchError, TokbenchWarning

FolderOf = Callable[..., Path]


def ids(images: ImageDataset) -> list[str]:
    return [images[i]["id"] for i in range(len(images))]


def test_sub_folders_are_splits_and_classes(folder_of: FolderOf) -> None:
    root = folder_of({"train/cat/1": 1, "train/dog/x/2": 2, "val/dog/3": 3, "val/eel/4": 4, "test/cat/5": 5})
    train, held_out = (open_images(f"folder:{root}", s, image_size=16) for s in ("train", "eval"))
    assert train.classes == held_out.classes == ["cat", "dog", "eel"]
    assert [(train[i]["id"], train[i]["label"]) for i in range(2)] == [("cat/1.png", 0), ("dog/x/2.png", 1)]
    assert [(held_out[i]["id"], held_out[i]["label"]) for i in range(2)] == [("dog/3.png", 1), ("eel/4.png", 2)]


def test_a_class_may_be_called_train(folder_of: FolderOf) -> None:
    root = folder_of({f"{name}/{k}": k for name in ("car", "plane", "train") for k in range(5)})
    assert open_images(f"folder:{root}", "train", image_size=8).classes == ["car", "plane", "train"]


def test_loose_pictures_have_no_label(folder_of: FolderOf) -> None:
    images = open_images(f"folder:train={folder_of({'b': 1, 'a': 2})}", "train", image_size=8)
    assert ids(images) == ["a.png", "b.png"] and images[0]["label"] == -1 and images.classes == []


def test_hash_split_is_a_partition_that_new_pictures_leave_alone(folder_of: FolderOf) -> None:
    spec = f"folder:{folder_of({f'{k:03d}': k for k in range(120)}, width=4, height=4)}"
    before = {s: set(ids(open_images(spec, s, image_size=4))) for s in ("train", "eval")}
    assert not before["train"] & before["eval"] and len(before["train"] | before["eval"]) == 120
    assert 3 <= len(before["eval"]) <= 25
    folder_of({f"new{k}": k for k in range(30)}, width=4, height=4)
    after = {s: set(ids(open_images(spec, s, image_size=4))) for s in ("train", "eval")}
    assert before["train"] <= after["train"] and before["eval"] <= after["eval"]


def test_two_pictures_still_make_two_splits_and_one_does_not(folder_of: FolderOf) -> None:
    spec = f"folder:{folder_of({'1': 1, '2': 2}, 'two')}"
    assert [len(open_images(spec, s, image_size=8)) for s in ("train", "eval")] == [1, 1]
    with pytest.raises(TokbenchError, match="eval="):
        open_images(f"folder:{folder_of({'1': 1}, 'one')}", "eval", image_size=8)


def test_named_folders(folder_of: FolderOf) -> None:
    a, b = folder_of({"x/1": 1}, "a"), folder_of({"y/2": 2, "y/3": 3}, "b")
    spec = f"folder:train={a},eval={b}"
    assert [len(open_images(spec, s, image_size=8)) for s in ("train", "eval")] == [1, 2]
    assert open_images(spec, "eval", image_size=8).classes == ["x", "y"]
    with pytest.raises(TokbenchError, match="names no train images"):
        open_images(f"folder:eval={b}", "train", image_size=8)


def spoil(root: Path) -> set[str]:
    """Adds what is found in real folders; returns the ids that cannot be used."""
    jpeg = encoded(picture(1, 64, 64), "JPEG")
    files = {
        "zero.jpg": b"",
        "cut.jpg": jpeg[:-30],
        "page.png": b"<!doctype html>",
        "cmyk.jpg": encoded(Image.new("CMYK", (9, 9)), "JPEG"),
        "palette.png": encoded(Image.new("P", (9, 9)), transparency=0),
        "deep.png": encoded(Image.new("I;16", (9, 9), 999)),
        "moving.gif": encoded(picture(1), "GIF", save_all=True, append_images=[picture(2)]),
        "pixel.png": encoded(Image.new("RGB", (1, 1))),
        "notes.txt": b"no image and not meant to be one",
        ".hidden.png": b"",
    }
    for name, data in files.items():
        (root / name).write_bytes(data)
    (root / "dead.png").symlink_to(root / "gone.png")
    (root / "loop").symlink_to(root)
    return {"zero.jpg", "cut.jpg", "page.png", "dead.png"}


@pytest.mark.parametrize("split", ["train", "eval"])
def test_odd_files_are_converted_or_left_out_and_named(folder_of: FolderOf, split: str) -> None:
    root = folder_of({"good": 1})
    bad = spoil(root)
    images = open_images(f"folder:{split}={root}", split, image_size=8)  # type: ignore[arg-type]
    assert {name for name, _ in images.skipped} == bad and all(reason for _, reason in images.skipped)
    assert ids(images) == ["cmyk.jpg", "deep.png", "good.png", "moving.gif", "palette.png", "pixel.png"]
    assert "4 skipped" in images.describe()


def test_what_was_checked_is_remembered_until_a_file_changes(folder_of: FolderOf, own_cache: Path) -> None:
    root = folder_of({"1": 1, "2": 2})
    spec = f"folder:eval={root}"
    assert len(open_images(spec, "eval", image_size=8)) == 2
    (record,) = (own_cache / "checked").glob("*.json")
    record.write_text(json.dumps({"bytes": "", "bad": [[0, "remembered"]]}))
    assert open_images(spec, "eval", image_size=8).skipped == [("1.png", "remembered")]
    record.write_text("{ half a fi")
    assert len(open_images(spec, "eval", image_size=8)) == 2
    (root / "2.png").write_bytes(b"overwritten")
    assert [name for name, _ in open_images(spec, "eval", image_size=8).skipped] == ["2.png"]


def test_what_the_system_refused_is_not_remembered(
    folder_of: FolderOf, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = folder_of({"1": 1, "2": 2})
    read = Path.read_bytes

    def failing(path: Path) -> bytes:
        if path.name == "2.png":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", failing)
    assert open_images(f"folder:eval={root}", "eval", image_size=8).skipped == [("2.png", "Input/output error")]
    monkeypatch.undo()
    monkeypatch.setenv("TOKBENCH_CACHE", str(own_cache))
    assert not open_images(f"folder:eval={root}", "eval", image_size=8).skipped


def test_a_cache_that_cannot_be_written_costs_only_time(
    folder_of: FolderOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path / "file"))
    assert len(open_images(f"folder:eval={folder_of({'1': 1})}", "eval", image_size=8)) == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_damage_after_opening(folder_of: FolderOf, workers: int) -> None:
    """Training keeps its batches full with the next image; evaluation counts each image once; both say so."""
    root = folder_of({str(k): k for k in range(6)})
    train = open_images(f"folder:train={root}", "train", image_size=8)
    held_out = open_images(f"folder:eval={root}", "eval", image_size=8)
    (root / "2.png").write_bytes(b"")
    (root / "3.png").unlink()
    (batch,) = loader(train, batch_size=6, shuffle=False, seed=0, workers=workers)
    assert batch["id"] == ["0.png", "1.png", "4.png", "4.png", "4.png", "5.png"] and len(batch["image"]) == 6
    batches = list(loader(held_out, batch_size=2, shuffle=False, seed=0, workers=workers))
    assert [b["id"] for b in batches] == [["0.png", "1.png"], ["4.png", "5.png"]]
    for images in (train, held_out):
        assert sorted({name for name, _ in images.skipped}) == ["2.png", "3.png"]


def test_when_everything_vanishes_training_stops_with_one_line(folder_of: FolderOf) -> None:
    root = folder_of({"1": 1, "2": 2})
    train = open_images(f"folder:train={root}", "train", image_size=8)
    for file in root.iterdir():
        file.unlink()
    with pytest.raises(TokbenchError, match="none of its 2 images can be read; [12].png: .*[Nn]o such file"):
        list(loader(train, batch_size=2, shuffle=False, seed=0))


def test_crop_none_leaves_other_sizes_out(folder_of: FolderOf) -> None:
    root = folder_of({"a": 1}, width=16, height=16)
    folder_of({"b": 2}, width=17, height=16)
    images = open_images(f"folder:eval={root}", "eval", image_size=16, crop="none")
    assert ids(images) == ["a.png"] and "16x17" in images.skipped[0][1]


def test_limit_is_spread_over_the_classes(folder_of: FolderOf) -> None:
    root = folder_of({f"{name}/{k}": k for name in "abcd" for k in range(6)})
    images = open_images(f"folder:eval={root}", "eval", image_size=8, limit=8)
    assert [images[i]["label"] for i in range(8)] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_fingerprint_follows_content_and_preprocessing(folder_of: FolderOf) -> None:
    root = folder_of({"1": 1, "2": 2})
    spec = f"folder:eval={root}"
    first = open_images(spec, "eval", image_size=8).fingerprint
    os.utime(root / "1.png")
    copy = folder_of({"1": 1, "2": 2}, "copy")
    assert open_images(f"folder:eval={copy}", "eval", image_size=8).fingerprint == first
    assert open_images(spec, "eval", image_size=8).fingerprint == first
    others = {
        open_images(spec, "eval", image_size=16).fingerprint,
        open_images(spec, "eval", image_size=8, crop="taming").fingerprint,
        open_images(spec, "eval", image_size=8, limit=1).fingerprint,
        open_images(f"folder:eval={folder_of({'1': 1, '2': 2, '3': 3})}", "eval", image_size=8).fingerprint,
    }
    assert len(others | {first}) == 5


def test_wrong_paths_are_one_line(folder_of: FolderOf, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.png").write_bytes(b"no")
    only_val = folder_of({"val/1": 1, "val/2": 2}, "only")
    for spec, message in {
        f"folder:{tmp_path}/none": "there is no folder",
        f"folder:{only_val}/val/1.png": "is a file",
        f"folder:eval={tmp_path}/empty": "no images in",
        f"folder:eval={tmp_path}/bad": "x.png: not an image",
        "folder:eval=,train=x": "names nothing",
        "folder:eval=a,eval=b": "given twice",
    }.items():
        with pytest.raises(TokbenchError, match=message) as caught:
            open_images(spec, "eval", image_size=8)
        assert "\n" not in str(caught.value)
    assert len(open_images(f"folder:{only_val}", "eval", image_size=8)) == 2
    with pytest.raises(TokbenchError, match="no train sub-folder"):
        open_images(f"folder:{only_val}", "train", image_size=8)


def test_names_that_are_no_utf8(folder_of: FolderOf) -> None:
    root = folder_of({"1": 1})
    try:
        os.rename(os.fsencode(root / "1.png"), os.fsencode(root) + b"/caf\xe9.png")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    images = open_images(f"folder:eval={root}", "eval", image_size=8)
    images[0]["id"].encode("utf-8")
    assert images.fingerprint and images[0]["image"].shape == (3, 8, 8)


def test_tiny_imagenets_annotations(folder_of: FolderOf) -> None:
    root = folder_of({"train/n1/images/1": 1, "train/n2/images/2": 2, "val/images/v_0": 3, "val/images/v_1": 4})
    held_out = open_images(f"folder:{root}", "eval", image_size=8)
    assert held_out.classes == ["n1", "n2"] and [held_out[i]["label"] for i in range(2)] == [-1, -1]
    (root / "val" / "val_annotations.txt").write_text("v_1.png\tn2\t0\t0\t9\t9\nv_7.png\tn1\n\nnonsense\n")
    for spec in (f"folder:{root}", f"folder:train={root}/train,eval={root}/val"):
        held_out = open_images(spec, "eval", image_size=8)
        assert held_out.classes == ["n1", "n2"] and [held_out[i]["label"] for i in range(2)] == [-1, 1]


def test_what_systems_leave_behind_is_no_picture(folder_of: FolderOf) -> None:
    junk = {"__MACOSX/cat/._1": 3, ".thumbnails/4": 4, "@eaDir/cat/5": 5, "cat/._1": 6}
    root = folder_of({"cat/1": 1, "dog/2": 2} | junk)
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "cat/Thumbs.db"):
        (root / name).write_bytes(b"x")
    (root / "eel").mkdir()
    images = open_images(f"folder:eval={root}", "eval", image_size=8)
    assert ids(images) == ["cat/1.png", "dog/2.png"] and images.classes == ["cat", "dog"] and not images.skipped


def test_picture_files_that_are_not_read_are_counted_and_said(
    folder_of: FolderOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tokbench.data.formats.readable_formats", lambda: ("PNG", "JPEG"))  # without pillow-heif
    root = folder_of({"good": 1})
    for name in ("IMG_1.HEIC", "IMG_2.heic", "x/logo.svg", "y.CR2", "z.jxl", "new.avif"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"anything")
    with pytest.warns(TokbenchWarning, match="not read: 6 .IMG_1.HEIC and 1 more: .heic needs pillow-heif"):
        images = open_images(f"folder:eval={root}", "eval", image_size=8)
    assert len(images) == 1 and "6 skipped" in images.describe() and "heic" in images.describe()
    assert {name: "heif" in reason for name, reason in images.skipped}["IMG_2.heic"]
    (root / "good.png").unlink()
    with pytest.raises(TokbenchError, match=r"no images in it \(IMG_1.HEIC and 1 more: .heic needs pillow-heif: pip"):
        open_images(f"folder:eval={root}", "eval", image_size=8)


def test_a_phones_pictures(folder_of: FolderOf) -> None:
    heif = pytest.importorskip("pillow_heif")
    root = folder_of({"a": 1})
    heif.from_pillow(picture(2, 64, 48)).save(root / "IMG_1.HEIC")
    images = open_images(f"folder:eval={root}", "eval", image_size=8)
    assert ids(images) == ["IMG_1.HEIC", "a.png"] and not images.skipped


def test_linked_folders(folder_of: FolderOf) -> None:
    """A class may be a link; a link to another class or to a folder above is listed once, and said."""
    away, root = folder_of({"1": 1, "2": 2}, "away"), folder_of({"cat/3": 3})
    (root / "dog").symlink_to(away)
    (root / "cat" / "up").symlink_to(root)
    (root / "eel").symlink_to(root / "cat")
    images = open_images(f"folder:eval={root}", "eval", image_size=8)
    assert ids(images) == ["cat/3.png", "dog/1.png", "dog/2.png"] and images.classes == ["cat", "dog"]
    assert images.skipped == [("eel/", "a link to cat/, whose images are taken once")]


def test_links_to_links_end(tmp_path: Path) -> None:
    for k in range(24):
        (tmp_path / f"{k}").mkdir()
        for name in "ab":
            (tmp_path / f"{k}" / name).symlink_to(tmp_path / f"{k + 1}")
    (tmp_path / "24").mkdir()
    (tmp_path / "24" / "1.png").write_bytes(encoded(picture(1)))
    assert len(open_images(f"folder:eval={tmp_path}/0", "eval", image_size=8)) == 1


@pytest.mark.parametrize("how", ["links", "named"])
def test_one_folder_for_both_splits_is_said(folder_of: FolderOf, how: str) -> None:
    root = folder_of({"train/1": 1, "train/2": 2})
    (root / "val").symlink_to(root / "train")
    spec = f"folder:{root}" if how == "links" else f"folder:train={root}/train,eval={root}/train"
    for split in ("train", "eval"):
        with pytest.warns(TokbenchWarning, match="images in both splits: 2"):
            assert len(open_images(spec, split, image_size=8)) == 2


def test_hard_linked_pictures_count(folder_of: FolderOf) -> None:
    root = folder_of({"a": 1})
    os.link(root / "a.png", root / "b.png")
    assert ids(open_images(f"folder:eval={root}", "eval", image_size=8)) == ["a.png", "b.png"]


def test_kodak(shared: Path) -> None:
    """The 24 lossless photographs, whole folder held out."""
    folder = shared / "data" / "kodak24"
    if not folder.is_dir():
        pytest.skip("the folder ../shared/data/kodak24 is not beside this checkout")
    images = open_images(f"folder:eval={folder}", "eval", image_size=64)
    assert len(images) == 24 and not images.skipped and images[23]["id"] == "24.png"
    assert images[0]["image"].dtype == torch.uint8 and images[0]["image"].float().std() > 20

"""Parquet files: columns by type, splits by name, damaged rows left out."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote_from_bytes

import pytest
import torch
from data_pictures import encoded, picture

from tokbench.data import loader, open_images
from tokbench.errors import TokbenchError, TokbenchWarning

pytestmark = pytest.mark.usefixtures("own_hub_cache")


@pytest.fixture
def parquet(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, rows: dict[str, list[object]], labels: list[str] | None = None) -> Path:
        import datasets

        table = datasets.Dataset.from_dict(rows)
        if labels:
            table = table.cast_column("label", datasets.ClassLabel(names=labels))
        table.to_parquet(tmp_path / name)
        return tmp_path / name

    return write


def rows(*seeds: int) -> dict[str, list[object]]:
    return {
        "image": [{"bytes": encoded(picture(s)), "path": f"{s}.png"} for s in seeds],
        "label": [s % 3 for s in seeds],
    }


def test_splits_by_file_name_and_by_hand(parquet: Callable[..., Path], tmp_path: Path) -> None:
    a, b = parquet("train-0.parquet", rows(1, 2, 3)), parquet("val-0.parquet", rows(4, 5))
    for spec in (f"parquet:{tmp_path}/*.parquet", f"parquet:train={a},eval={b}", f"parquet:{a},{b}"):
        train, held_out = (open_images(spec, s, image_size=8) for s in ("train", "eval"))
        assert (len(train), len(held_out)) == (3, 2)
        assert [train[i]["label"] for i in range(3)] == [1, 2, 0] and held_out[1]["id"] == "1"
    one = f"parquet:{parquet('all.parquet', rows(*range(40)))}"
    parts = [open_images(one, s, image_size=8) for s in ("train", "eval")]
    found = [p[i]["id"] for p in parts for i in range(len(p))]
    assert sorted(map(int, found)) == list(range(40)) and len(parts[1]) >= 1


def test_class_names_raw_bytes_and_other_columns(parquet: Callable[..., Path]) -> None:
    named = parquet("named.parquet", rows(0, 1, 2), ["x", "y", "z"])
    assert open_images(f"parquet:eval={named}", "eval", image_size=8).classes == ["x", "y", "z"]
    raw = parquet("raw.parquet", {"text": ["a", "b"], "jpg": [encoded(picture(k), "JPEG") for k in (1, 2)]})
    images = open_images(f"parquet:eval={raw}", "eval", image_size=8)
    assert len(images) == 2 and images[0]["label"] == -1


def test_integer_labels_without_names_are_classes(parquet: Callable[..., Path], tmp_path: Path) -> None:
    table = rows(*range(6))
    table["label"] = [0, 5, None, -1, 3, 2]
    images = open_images(f"parquet:eval={parquet('plain.parquet', table)}", "eval", image_size=8)
    assert images.classes == ["0", "1", "2", "3", "4", "5"]
    assert [images[i]["label"] for i in range(6)] == [0, 5, -1, -1, 3, 2]
    parquet("train-0.parquet", rows(0, 1, 3))  # labels 0 and 1
    parquet("test-0.parquet", {"image": [{"bytes": encoded(picture(9))}], "label": [4]})
    for split in ("train", "eval"):  # as many classes in both
        assert len(open_images(f"parquet:{tmp_path}/*-0.parquet", split, image_size=8).classes) == 5


def test_labels_that_are_text_are_classes_in_both_splits_alike(parquet: Callable[..., Path]) -> None:
    def write(name: str, labels: list[object]) -> Path:
        return parquet(name, {"image": [{"bytes": encoded(picture(k))} for k in range(len(labels))], "label": labels})

    train, held_out = write("a.parquet", ["dog", "cat", None, ""]), write("b.parquet", ["eel ", "dog", "ant"])
    bare = parquet("c.parquet", {"image": [{"bytes": encoded(picture(1))}]})
    spec = f"parquet:train={train},eval={held_out}"
    sides = {split: open_images(spec, split, image_size=8) for split in ("train", "eval")}
    assert {tuple(side.classes) for side in sides.values()} == {("ant", "cat", "dog", "eel")}
    assert [sides["train"][i]["label"] for i in range(4)] == [2, 1, -1, -1]
    assert [sides["eval"][i]["label"] for i in range(3)] == [3, 2, 0]
    assert open_images(f"parquet:train={train},eval={bare}", "train", image_size=8).classes == ["cat", "dog"]


@pytest.mark.parametrize(
    "labels, classes, numbers",
    [
        ([True, False], ["False", "True"], [1, 0]),
        ([2.0, float("nan")], ["0", "1", "2"], [2, -1]),  # whole numbers of which one was missing
        ([b"x", b"a"], ["a", "x"], [1, 0]),
        (["10", "2"], ["2", "10"], [1, 0]),
    ],
)
def test_other_labels(
    parquet: Callable[..., Path], labels: list[object], classes: list[str], numbers: list[int]
) -> None:
    path = parquet("t.parquet", {"image": [{"bytes": encoded(picture(k))} for k in (1, 2)], "label": labels})
    images = open_images(f"parquet:eval={path}", "eval", image_size=8)
    assert images.classes == classes and [images[i]["label"] for i in range(2)] == numbers


@pytest.mark.parametrize("labels", [[0.5, 1.0], [[1], [2]], [7_000_000_000, 1]])
def test_columns_that_hold_no_classes_are_said(parquet: Callable[..., Path], labels: list[object]) -> None:
    path = parquet("t.parquet", {"image": [{"bytes": encoded(picture(k))} for k in (1, 2)], "label": labels})
    with pytest.warns(TokbenchWarning, match="column 'label' holds .*not taken for classes"):
        images = open_images(f"parquet:eval={path}", "eval", image_size=8)
    assert images.classes == [] and images[0]["label"] == -1 and "not taken" in images.describe()


def test_pictures_as_text(parquet: Callable[..., Path]) -> None:
    """base64 and ``data:`` addresses are images; what names another file is never opened."""
    png, jpeg = encoded(picture(1)), encoded(picture(2), "JPEG")
    cells = [
        base64.b64encode(png).decode(), f"data:image/png;base64,{base64.b64encode(png).decode()}",
        base64.urlsafe_b64encode(jpeg).decode().rstrip("="), f"data:image/png,{quote_from_bytes(png)}",
        base64.encodebytes(jpeg).decode(),
        "file:///etc/hostname", "/etc/hostname", "", None, "data:image/png;base64,%%",
    ]  # fmt: skip
    images = open_images(f"parquet:eval={parquet('t.parquet', {'image': cells})}", "eval", image_size=8)
    assert [images[i]["id"] for i in range(len(images))] == ["0", "1", "2", "3", "4"]
    assert [name for name, _ in images.skipped] == ["5", "6", "7", "8", "9"]
    assert all(torch.equal(images[0]["image"], images[i]["image"]) for i in (1, 3))
    packed = [base64.b64encode(data) for data in (png, jpeg)]
    assert len(open_images(f"parquet:eval={parquet('b.parquet', {'IMG': packed})}", "eval", image_size=8)) == 2


def test_addresses_are_not_fetched(parquet: Callable[..., Path]) -> None:
    for address in ("https://example.org/1.jpg", "file:///etc/hostname", "s3://bucket/1.jpg"):
        path = parquet("t.parquet", {"url": [address] * 2, "label": [0, 1]})
        with pytest.raises(TokbenchError, match="column 'url' holds addresses .*not fetched"):
            open_images(f"parquet:eval={path}", "eval", image_size=8)


def test_damaged_rows_are_left_out(parquet: Callable[..., Path]) -> None:
    table = rows(1, 2, 3, 4)
    table["image"][1] = {"bytes": b"broken", "path": None}  # type: ignore[call-overload]
    table["image"][2] = {"bytes": None, "path": None}  # type: ignore[call-overload]
    table["label"][3] = None  # type: ignore[call-overload]
    images = open_images(f"parquet:eval={parquet('t.parquet', table)}", "eval", image_size=8)
    assert [name for name, _ in images.skipped] == ["1", "2"]
    assert [(images[i]["id"], images[i]["label"]) for i in range(2)] == [("0", 1), ("3", -1)]


def test_wrong_files_are_one_line(parquet: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "fake.parquet").write_bytes(b"PAR1 not really")
    cut = parquet("cut.parquet", rows(1, 2, 3))
    cut.write_bytes(cut.read_bytes()[:-100])
    no_image = parquet("text.parquet", {"text": ["a"]})
    none = parquet("none.parquet", {"image": [], "label": []})
    for spec, message in {
        f"parquet:eval={tmp_path}/nowhere*.parquet": "no file matches",
        f"parquet:eval={tmp_path}/fake.parquet": "fake.parquet is not a readable Parquet",
        f"parquet:eval={cut}": "cut.parquet is not a readable Parquet",
        f"parquet:eval={no_image}": "no column holds images .columns: text",
        f"parquet:eval={none}": "no rows",
    }.items():
        with pytest.raises(TokbenchError, match=message) as caught:
            open_images(spec, "eval", image_size=8)
        assert "\n" not in str(caught.value)


def test_a_file_whose_name_is_no_utf8_is_one_line(parquet: Callable[..., Path], tmp_path: Path) -> None:
    named = os.fsencode(tmp_path) + b"/caf\xe9.parquet"
    try:
        os.rename(parquet("a.parquet", rows(1)), named)
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    with pytest.raises(TokbenchError, match=r"caf.*no name that is not UTF-8: rename it"):
        open_images(f"parquet:eval={os.fsdecode(named)}", "eval", image_size=8)


def test_tiny_imagenet(shared: Path) -> None:
    folder = shared / "data" / "tiny-imagenet-64"
    if not folder.is_dir():
        pytest.skip("the folder ../shared/data/tiny-imagenet-64 is not beside this checkout")
    spec = f"parquet:{folder}/*.parquet"
    train = open_images(spec, "train", image_size=64, crop="adm")
    assert len(train) == 20_000
    held_out = open_images(spec, "eval", image_size=64, limit=500)
    assert len(held_out) == 500 and not held_out.skipped and held_out[1]["id"] == "20"
    batch = next(iter(loader(train, batch_size=256, shuffle=True, seed=0)))
    assert len(set(batch["label"].tolist())) > 100 and batch["image"].float().std() > 50


@pytest.mark.parametrize("kind", ["absolute", "above", "link", "pipe", "inside"])
def test_a_row_may_name_pictures_of_its_own_folder_only(tmp_path: Path, kind: str) -> None:
    import pyarrow
    import pyarrow.parquet
    from PIL import Image

    home = tmp_path / "home"
    home.mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "private.png")
    Image.new("RGB", (8, 8)).save(home / "inside.png")
    (home / "link.png").symlink_to(tmp_path / "private.png")
    os.mkfifo(home / "pipe.png")
    names = {"absolute": str(tmp_path / "private.png"), "above": "../private.png"}
    rows = [{"bytes": None, "path": names.get(kind, f"{kind}.png")}] * 2
    pyarrow.parquet.write_table(pyarrow.table({"image": rows}), home / "rows.parquet")
    source = f"parquet:train={home / 'rows.parquet'}"
    if kind == "inside":
        images = open_images(source, "train", image_size=8, crop="adm")
        assert images.fingerprint and images[0]["image"].shape == (3, 8, 8)
        return
    why = "not a file" if kind == "pipe" else "outside of the table's folder"
    with pytest.raises(TokbenchError, match=why) as caught:
        open_images(source, "train", image_size=8, crop="adm")
    assert "\n" not in str(caught.value)

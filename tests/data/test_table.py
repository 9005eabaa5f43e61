"""Parquet files: columns by type, splits by name, damaged rows left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from data_pictures import encoded, picture

from tokbench.data import loader, open_images
from tokbench.errors import TokbenchError

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
        f"parquet:eval={no_image}": "no column holds pictures .columns: text",
        f"parquet:eval={none}": "no rows",
    }.items():
        with pytest.raises(TokbenchError, match=message) as caught:
            open_images(spec, "eval", image_size=8)
        assert "\n" not in str(caught.value)


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

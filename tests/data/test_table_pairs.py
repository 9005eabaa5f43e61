"""Tables with a column of images and one of what goes with them: ``parquet:FILES,masks=COLUMN``, ``hub:NAME,...``."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tokbench.data import loader, open_images
from tokbench.errors import TokbenchError

pytestmark = pytest.mark.usefixtures("own_hub_cache")
COLOURS = np.array([[250, 10, 10], [10, 250, 10]], np.uint8)


def png(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "png")
    return {"bytes": file.getvalue(), "path": None}


def rows(count: int = 12, **changed: Any) -> dict[str, list[Any]]:
    """Images of 20x30 of two halves, masks of labels 0 and 4 with the same border; ``changed``: cells by row."""
    halves = [(np.arange(30) >= 5 + k).astype(np.uint8)[None].repeat(20, 0) for k in range(count)]
    masks: list[Any] = [png(half * 4) for half in halves]
    for row, cell in changed.items():
        masks[int(row.removeprefix("row"))] = cell
    return {"seen": [png(COLOURS[half]) for half in halves], "mask": masks, "number": list(range(count))}


def typed(table: dict[str, list[Any]]) -> Any:
    import datasets

    kind = datasets.Image()
    features = datasets.Features({"mask": kind, "seen": kind, "number": datasets.Value("int64")})
    return datasets.Dataset.from_dict(table, features=features)


@pytest.mark.parametrize("kind", ["parquet", "hub"])
def test_both_columns_are_cropped_and_mirrored_alike(tmp_path: Path, kind: str) -> None:
    """The column of masks stands first and is not taken for the images."""
    typed(rows()).to_parquet(tmp_path / "train.parquet")
    source = f"parquet:train={tmp_path}/train.parquet,masks=mask" if kind == "parquet" else f"hub:{tmp_path},masks=mask"
    images = open_images(source, "train", image_size=16, flip=True, seed=3)
    images.label_count = 5  # type: ignore[attr-defined]
    batch: Any = next(iter(loader(images, batch_size=8, shuffle=True, seed=0)))
    green = batch["image"][:, 1].float()
    sure = (green < 60) | (green > 200)  # away from the border, which is blurred
    values = batch["partner"][:, 0]
    assert set(values.unique().tolist()) == {0, 4}
    assert float(((values > 2) == (green > 128))[sure].float().mean()) > 0.99
    alone = open_images(source.partition(",masks")[0], "train", image_size=16, flip=True, seed=3)
    assert alone.fingerprint != images.fingerprint


def test_what_does_not_pair_is_counted_and_named(tmp_path: Path) -> None:
    small, beyond = png(np.full((20, 20), 4, np.uint8)), png(np.full((20, 30), 9, np.uint8))
    table = rows(6, row0=None, row1=small, row2=beyond, row3={"bytes": b"no image", "path": None})
    typed(table).to_parquet(tmp_path / "t.parquet")
    with pytest.warns(Warning, match="images without masks: 1"):
        images = open_images(f"parquet:eval={tmp_path}/t.parquet,masks=mask", "eval", image_size=16)
    images.label_count = 5  # type: ignore[attr-defined]
    batch: Any = next(iter(loader(images, batch_size=8, shuffle=False, seed=0)))
    assert batch["id"] == ["4", "5"] and batch["partner"].shape == (2, 1, 16, 16)
    reasons = dict(images.skipped)
    assert reasons["0"] == "no masks for it"
    assert reasons["1"] == "column 'mask' of row 1 is 20x20, the image 20x30 (height x width)"
    assert reasons["2"] == "column 'mask' of row 2 has labels beyond the 5 that there are"
    assert "3" in str(reasons)


def test_depth_of_bytes_and_another_mask_is_another_set(tmp_path: Path) -> None:
    """A column of bare bytes, sixteen bits deep."""
    import datasets

    found = []
    for row in (0, 1):
        table = rows(4)
        deep = [Image.fromarray((np.arange(600).reshape(20, 30) * (100 + row * k)).astype(np.uint16)) for k in range(4)]
        files = [io.BytesIO() for _ in deep]
        for image, file in zip(deep, files, strict=True):
            image.save(file, "png")
        table["mask"] = [file.getvalue() for file in files]
        datasets.Dataset.from_dict(table).to_parquet(tmp_path / f"t{row}.parquet")
        images = open_images(f"parquet:eval={tmp_path}/t{row}.parquet,depth=mask", "eval", image_size=16)
        found.append(images.fingerprint)
    sample: Any = images[1]
    depth = sample["partner"]  # -1 .. 1 over the whole map, of which this is the middle
    assert depth.dtype == torch.float32 and -1 <= depth.min() < -0.9 and 0.9 < depth.max() <= 1
    assert found[0] != found[1]


@pytest.mark.parametrize(
    ("behind", "said"),
    [
        (",masks=masc", "there is no column 'masc'.*mask"),
        (",masks=number", "column 'number' holds no files"),
        (",masks=seen", "no column holds images"),
    ],
)
def test_a_wrong_column_is_one_line(tmp_path: Path, behind: str, said: str) -> None:
    table = typed(rows(3))
    (table.remove_columns("mask") if behind.endswith("seen") else table).to_parquet(tmp_path / "t.parquet")
    with pytest.raises(TokbenchError, match=said):
        open_images(f"parquet:eval={tmp_path}/t.parquet{behind}", "eval", image_size=16)


def test_what_pairs_do_not_go_with_is_one_line(tmp_path: Path) -> None:
    typed(rows(3, row0=None, row1=None, row2=None)).to_parquet(tmp_path / "train.parquet")
    with pytest.raises(TokbenchError, match="no row of its train split has masks"):
        open_images(f"parquet:train={tmp_path}/train.parquet,masks=mask", "train", image_size=16)
    with pytest.raises(TokbenchError, match="no :streaming"):
        open_images(f"hub:{tmp_path}:streaming,masks=mask", "train", image_size=16)
    with pytest.raises(TokbenchError, match="any crop but taming's"):
        open_images(f"hub:{tmp_path},masks=mask", "train", image_size=16, crop="taming")

"""Which images the page sets side by side, and where in the sheets they lie."""

from __future__ import annotations

from pathlib import Path

import pytest
from results_synthetic import folder, record

from tokbench.results.entries import gather
from tokbench.results.report.images import gather_images
from tokbench.results.report.versus import versus
from tokbench.results.sheets import Sheet, zoom
from tokbench.results.store import Store


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 30])
@pytest.mark.parametrize("size", [(64, 64), (7, 5), (3, 16, 24), (9, 16, 24)])
def test_a_sheet_is_what_a_sweep_draws(size: tuple[int, ...], count: int) -> None:
    """Of images and clips that are few or many: the shape read off the size alone is that of the file."""
    import torch

    from tokbench.pictures import grid
    from tokbench.results.sheets import COLUMNS, MOST

    tiles = [torch.zeros(3, *size, dtype=torch.uint8)] * min(count, MOST)
    rows = [tiles[start : start + COLUMNS] for start in range(0, len(tiles), COLUMNS)]
    made = grid(rows, zoom=zoom(size[-1]))
    sheet = Sheet.of(size, count, made.size)
    assert sheet is not None and sheet.tiles == len(tiles)
    assert (sheet.width, sheet.height) == grid([tiles[:1]], zoom=zoom(size[-1])).size
    assert Sheet.of(size, count, (made.width + 1, made.height)) is None


def test_models_of_the_same_originals_are_set_side_by_side_with_their_first_codes(tmp_path: Path) -> None:
    rows = [record("vq"), record("rq", depth=3), record("vq", 64)]
    home = folder(tmp_path, rows)
    entries = gather(Store(home / "runs.jsonl").read()).entries
    images, more = gather_images(entries, home, 24)
    assert more == 0 and [each.same for each in images] == [None, 0, 0]
    (group,) = versus(images)
    assert (group["tile"], group["columns"], group["count"]) == ([128, 128], 4, 8)
    assert [choice["label"] for choice in group["choices"]] == [
        "original", "vq K=256", "rq K=256 D=3, first 1 of 3", "rq K=256 D=3, first 2 of 3", "rq K=256 D=3", "vq K=64",
    ]  # fmt: skip
    first = group["choices"][2]
    by_depth = rows[1].metrics["psnr"].by_depth
    assert by_depth is not None and first["detail"] == f"0.500 bpp · {by_depth[0]:.2f} dB"
    assert (first["sheet"], first["part"], first["row"]) == ("depths", 1, 1)


def test_what_is_not_laid_out_alike_is_left_out(tmp_path: Path) -> None:
    """Other originals are a group of their own; a sheet of another shape, or damaged, is no choice."""
    from PIL import Image

    home = folder(tmp_path, [record("vq"), record("lfq"), record("fsq"), record("rq", depth=2), record("bsq")])
    records = Store(home / "runs.jsonl").read()
    cells = [home / row.artifacts["originals"] for row in records]
    Image.new("RGB", (518, 258)).save(cells[1])
    Image.new("RGB", (518, 258)).save(cells[2].with_name("reconstructions.png"))
    Image.new("RGB", (100, 90)).save(cells[3].with_name("depths.png"))
    cells[4].write_bytes(b"\x89PNG\r\n\x1a\n")
    images, _ = gather_images(gather(records).entries, home, 24)
    groups = [[choice["label"] for choice in group["choices"]] for group in versus(images)]
    assert groups == [["original", "vq K=256", "fsq K=256", "rq K=256 D=2"], ["original", "lfq K=256"]]
    for odd in ((64,), 0, (0, 64), (0, 64, 64), (2**20, 2**20, 2**20)):  # what a record from elsewhere may say
        assert Sheet.of(odd, 96, (518, 258)) is None
    assert Sheet.of(64, 0, (518, 258)) is None


def test_rows_of_one_label_are_told_apart(tmp_path: Path) -> None:
    same = record("vq").replace(name="twice as long", recipe={"long": True}, cell="abc")
    home = folder(tmp_path, [record("vq"), same])
    images, _ = gather_images(gather(Store(home / "runs.jsonl").read()).entries, home, 24)
    labels = [choice["label"] for choice in versus(images)[0]["choices"]]
    assert labels[0] == "original" and len(set(labels)) == 3 and "twice as long" in labels[2]

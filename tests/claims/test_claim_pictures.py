"""Pictures on a claim's page: the cells' own grids beside each other, or none at all."""

from __future__ import annotations

from pathlib import Path

from claims_tiny import row
from PIL import Image

from tokbench.claims.pictures import Shown, side_by_side


def _grid(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (80, 40)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def test_reconstructions_stand_beside_the_originals(tmp_path: Path) -> None:
    _grid(tmp_path / "a/originals.png", (255, 0, 0))
    _grid(tmp_path / "a/reconstructions.png", (0, 255, 0))
    _grid(tmp_path / "b/reconstructions.png", (0, 0, 255))
    paths = {"originals": "a/originals.png", "reconstructions": "a/reconstructions.png"}
    a = row("vq", 256).replace(artifacts=paths)
    b = row("vq", 256).replace(artifacts={"reconstructions": "b/reconstructions.png"})
    made = side_by_side([Shown("first", a), Shown("second", b)], tmp_path, tmp_path / "out.png")
    assert made is not None
    with Image.open(made) as picture:
        middle = picture.height - 20
        assert [picture.getpixel((x, middle)) for x in (40, 128, 216)] == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


def test_rows_of_clips_stand_one_under_another(tmp_path: Path) -> None:
    _grid(tmp_path / "originals.png", (255, 0, 0), (2560, 80))
    _grid(tmp_path / "reconstructions.png", (0, 255, 0), (2560, 80))
    a = row("vq", 256).replace(artifacts={name: f"{name}.png" for name in ("originals", "reconstructions")})
    made = side_by_side([Shown("first", a)], tmp_path, tmp_path / "out.png")
    assert made is not None
    with Image.open(made) as picture:
        assert picture.size == (1280, 2 * (40 + 20) + 8)
        assert [picture.getpixel((1000, y)) for y in (40, 108)] == [(255, 0, 0), (0, 255, 0)]


def test_nothing_is_written_where_a_picture_is_missing_or_elsewhere(tmp_path: Path) -> None:
    _grid(tmp_path / "outside.png", (1, 2, 3))
    work = tmp_path / "work"
    _grid(work / "originals.png", (1, 2, 3))
    for path in ("gone.png", "../outside.png"):
        paths = {"originals": "originals.png", "reconstructions": path}
        record = row("vq", 256).replace(artifacts=paths)
        assert side_by_side([Shown("one", record)], work, tmp_path / "out.png") is None
    assert side_by_side([Shown("none", None)], work, tmp_path / "out.png") is None
    assert not (tmp_path / "out.png").exists()

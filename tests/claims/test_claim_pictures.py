"""Pictures on a claim's page: the cells' own grids beside each other, or none at all."""

from __future__ import annotations

from pathlib import Path

from claims_tiny import row
from PIL import Image

from tokbench.claims.pictures import Shown, side_by_side


def _grid(path: Path, colour: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (80, 40), colour).save(path)


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

"""Films and strips that people look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from data_videos import moving
from PIL import Image

from tokbench.clips import save_clip, strip
from tokbench.data.video import Video
from tokbench.errors import TokbenchError

pytest.importorskip("av")


def clip(count: int = 9, width: int = 48, height: int = 32) -> torch.Tensor:
    return torch.from_numpy(moving(count, width, height)).permute(3, 0, 1, 2)


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("size", [(48, 32), (47, 31)])
@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_film_shows_the_clip(suffix: str, size: tuple[int, int], grey: bool, tmp_path: Path) -> None:
    original = clip(9, *size)[:1] if grey else clip(9, *size)
    file = save_clip(original, tmp_path / f"a{suffix}", fps=10)
    with Video(file, name=file.name) as film:
        shown = torch.from_numpy(film.frames(range(len(film)))).permute(3, 0, 1, 2)[..., : size[1], : size[0]]
        assert len(film) == 9 and np.allclose(np.diff(film.seconds), 0.1, atol=0.001)
    assert (shown.float() - original.float()).abs().mean() < 7


def test_the_same_clip_is_the_same_file(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (20, 17, 23, 3), dtype=np.uint8)
    for same in (clip(), torch.from_numpy(noise).permute(3, 0, 1, 2)):
        assert len({save_clip(same, tmp_path / f"{k}.mp4", fps=29.97).read_bytes() for k in range(8)}) == 1


def test_a_strip_has_frames_from_the_first_to_the_last(tmp_path: Path) -> None:
    picture = strip([clip(), clip()], frames=3)
    assert picture.size == (3 * 50 - 2, 2 * 34 - 2)
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
    assert torch.equal(pixels[:, :32, -48:], clip()[:, -1]) and torch.equal(pixels[:, :32, 50:98], clip()[:, 4])
    assert strip([clip(2)], frames=8).size == (98, 32)
    with Image.open(save_clip(clip(), tmp_path / "a.png", frames=4)) as saved:
        assert saved.size == (4 * 50 - 2, 32)


def test_another_name_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    with pytest.raises(TokbenchError, match=r"a clip is written as .mp4, .gif, .png, not as '.avi'"):
        save_clip(clip(), tmp_path / "a.avi")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(TokbenchError, match="PyAV"):
        save_clip(clip(), tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())
    assert save_clip(clip(), tmp_path / "a.gif").stat().st_size

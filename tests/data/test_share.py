"""Where not all images are taken it is said: of how many, why, and how to take all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from data_pictures import write_shard
from data_videos import encode, moving

from tokbench.data import open_images

pytestmark = pytest.mark.usefixtures("own_hub_cache", "own_cache")


@pytest.mark.parametrize("kept", ["", "cached:"])
def test_a_source_without_splits(kept: str, tmp_path: Path, folder_of: Callable[..., Path]) -> None:
    import datasets

    root = folder_of({f"{k}": k for k in range(24)})
    write_shard(tmp_path / "a.tar", range(24))
    column = [{"bytes": (root / f"{k}.png").read_bytes(), "path": None} for k in range(24)]
    datasets.Dataset.from_dict({"image": column}).to_parquet(tmp_path / "rows")
    for spec in (f"folder:{root}", f"webdataset:{tmp_path}/a.tar", f"parquet:{tmp_path}/rows"):
        kind, _, rest = (kept + spec).rpartition(":")
        counts = {}
        for split, how in (("eval", "held out"), ("train", "not held out")):
            images = open_images(kept + spec, split, image_size=8, crop="adm")  # type: ignore[arg-type]
            every = f"{kind}:{split}={rest}"
            assert images.of == 24 and images.share == (
                f"{kept}{spec} names no splits: {len(images)} of its 24 images are {how}, by their names; "
                f"to take all, write {every}"
            )
            whole = open_images(every, split, image_size=8, crop="adm")  # type: ignore[arg-type]
            assert (len(whole), whole.of, whole.share) == (24, None, "")
            counts[split] = len(images)
        assert sum(counts.values()) == 24


def test_a_limit(folder_of: Callable[..., Path]) -> None:
    root = folder_of({f"{k}": k for k in range(24)})
    images = open_images(f"folder:eval={root}", "eval", image_size=8, limit=5)
    assert (images.of, images.share) == (24, f"folder:eval={root} (eval): 5 of 24 images, by the limit")
    assert open_images(f"folder:eval={root}", "eval", image_size=8, limit=24).share == ""
    both = open_images(f"folder:{root}", "train", image_size=8, limit=5)
    assert both.of == 24 and both.share.endswith("images, by the limit") and "names no splits" in both.share


def test_videos_are_called_videos(tmp_path: Path) -> None:
    for k in range(4):
        (tmp_path / f"{k}.mp4").write_bytes(encode(moving(3, seed=k)))
    clips = open_images(f"folder:eval={tmp_path}", "eval", image_size=(2, 16, 16), limit=2)
    assert clips.share == f"folder:eval={tmp_path} (eval): 2 of 4 videos, by the limit"
    assert (
        " of its 4 videos are held out, by their names"
        in open_images(f"folder:{tmp_path}", "eval", image_size=(2, 16, 16)).share
    )

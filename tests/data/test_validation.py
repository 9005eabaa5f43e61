"""Images to choose settings by: no image is both trained on and chosen by, and none of them is an evaluation image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tokbench.config.data import DataConfig
from tokbench.data import open_split
from tokbench.errors import TokbenchError


def ids(images: Any) -> set[str]:
    return {images[k]["id"] for k in range(len(images))}


def test_a_share_of_a_folder_is_neither_trained_on_nor_evaluated(folder_of: Callable[..., Path]) -> None:
    files = {f"{split}/{name}/{split}{k}": k for split in ("train", "val") for name in "ab" for k in range(6)}
    spec = f"folder:{folder_of(files)}"
    plain, data = (DataConfig(source=spec, image_size=16, validation=share) for share in (None, 0.25))
    train, chosen, whole = open_split(data, "train", 3), open_split(data, "eval"), open_split(plain, "train", 3)
    assert len(chosen) == 3 and ids(train) | ids(chosen) == ids(whole) and not ids(train) & ids(chosen)
    assert chosen.classes == ["a", "b"] and {chosen[k]["label"] for k in range(3)} == {0, 1}
    assert not ids(chosen) & ids(open_split(plain, "eval"))
    assert (train.split, chosen.split, chosen.protocol) == ("train", "validation", "tokbench-v1")
    assert chosen[0]["image"].equal(chosen.samples([0], 5)[0][0]["image"])  # nothing of it is by chance
    same = next(k for k in range(len(whole)) if whole[k]["id"] == train[0]["id"])
    assert train.sample(0, 4)["image"].equal(whole.sample(same, 4)["image"])
    assert len({images.fingerprint for images in (train, chosen, whole, open_split(plain, "eval"))}) == 4


def test_photographs_are_held_out_whole() -> None:
    data = DataConfig(image_size=16, limit=64, validation=0.3)
    train, chosen = open_split(data, "train"), open_split(data, "eval")
    photos = [{name.partition("@")[0] for name in ids(images)} for images in (train, chosen)]
    assert photos[1] == {"china", "flower"} and photos[0] == {"astronaut", "motorcycle", "rocket", "ihc"}
    assert chosen.split == "validation" and len(train) == 64


def test_a_source_may_stand_in_its_place(folder_of: Callable[..., Path]) -> None:
    folder = folder_of({f"val/{k}": k for k in range(4)})
    data = DataConfig(image_size=16, validation=f"folder:eval={folder}")
    assert len(open_split(data, "eval")) == 4
    assert open_split(data, "train").fingerprint == open_split(DataConfig(image_size=16), "train").fingerprint


def test_mistakes_are_one_line(folder_of: Callable[..., Path]) -> None:
    for share in (0.0, 1.0, -2.0):
        with pytest.raises(ValidationError, match="share above 0 and below 1"):
            DataConfig(validation=share)
    one = f"folder:train={folder_of({'1': 1}, 'one')}"
    for source, share, said in (
        (one, 0.5, "1 training images cannot be divided"),
        ("photos", 0.95, "of its 6 training photographs none would be left"),
    ):
        with pytest.raises(TokbenchError, match=f"data.validation {share}: .*{said}"):
            open_split(DataConfig(source=source, image_size=16, validation=share), "train")
    clips = DataConfig(source="clips", image_size=(5, 16, 16), validation=0.1)
    with pytest.raises(TokbenchError, match=r"data.validation 0.1: clips: its \w+ are not divided; name a source"):
        open_split(clips, "train")


def test_each_part_has_its_own_captions(folder_of: Callable[..., Path]) -> None:
    folder = folder_of({f"train/{k}": k for k in range(8)})
    for k in range(7):  # the last has none
        (folder / "train" / f"{k}.txt").write_text(f"number {k}")
    data = DataConfig(source=f"folder:train={folder}/train", image_size=16, validation=0.5)
    found: set[str] = set()
    for split in ("train", "eval"):
        images: Any = open_split(data, split)  # type: ignore[arg-type]
        before = ids(images)
        images.read_captions()
        samples = [images[k] for k in range(len(images))]
        assert [s["text"] for s in samples] == images.captions == [f"number {Path(s['id']).stem}" for s in samples]
        assert ids(images) == {name for name in before if Path(name).stem != "7"}
        found |= set(images.captions)
    assert len(found) == 7

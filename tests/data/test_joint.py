"""Clips and images in one plan: stated proportion, exact resume, every process alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from data_videos import encode, moving

from tokbench.data import loader, open_images
from tokbench.data.joint import JointClips
from tokbench.errors import TokbenchError

pytest.importorskip("av")


@pytest.fixture
def joint(tmp_path: Path, folder_of: Callable[..., Path]) -> Callable[[float], JointClips]:
    films = tmp_path / "films"
    films.mkdir()
    for k in range(10):
        (films / f"{k}.mp4").write_bytes(encode(moving(6, 16, 16, seed=k)))
    pictures = folder_of({f"{k}": k for k in range(7)})

    def make(share: float) -> JointClips:
        clips = open_images(f"folder:train={films}", "train", image_size=(5, 8, 8))
        images = open_images(f"folder:train={pictures}", "train", image_size=8, flip=True)
        return JointClips(clips, images, share)

    return make


def run(dataset: JointClips, epoch: int, start: int = 0, **settings: Any) -> list[Any]:
    batches = loader(dataset, batch_size=2, shuffle=True, seed=3, drop_last=True, start_batch=start, **settings)
    batches.set_epoch(epoch)
    found = list(batches)
    assert len(found) == len(batches) - start
    return found


@pytest.mark.parametrize("share, kinds", [(0.5, "CICICICIC"), (0.2, "CCCCIC"), (0.75, "CIIICIIICIIICIIIC")])
def test_batches_are_of_one_kind_each_in_the_stated_proportion(
    joint: Callable[[float], JointClips], share: float, kinds: str
) -> None:
    found = run(joint(share), 0)
    lengths = {1: "I", 5: "C"}
    assert sorted("".join(lengths[b["image"].shape[2]] for b in found)) == sorted(kinds)
    clips = [name.partition("@")[0] for batch in found if batch["image"].shape[2] == 5 for name in batch["id"]]
    assert len(set(clips)) == len(clips) == 10  # an epoch is one of the clips
    assert all(batch["image"].shape[1::2] == (3, 8) and set(batch["label"].tolist()) == {-1} for batch in found)


def test_it_goes_on_exactly_where_it_stopped(joint: Callable[[float], JointClips]) -> None:
    for epoch in (0, 2):
        whole = run(joint(0.5), epoch)
        for start in (1, 4, len(whole) - 1):
            rest = run(joint(0.5), epoch, start, workers=2 if start == 4 else 0)
            for a, b in zip(whole[start:], rest, strict=True):
                assert a["id"] == b["id"] and torch.equal(a["image"], b["image"])


def test_images_go_on_from_epoch_to_epoch(joint: Callable[[float], JointClips]) -> None:
    data = joint(0.5)
    of_images = [b["id"] for epoch in range(3) for b in run(data, epoch) if b["image"].shape[2] == 1]
    three = {name for ids in of_images[:3] for name in ids}
    assert len(three) == 6  # three batches are an epoch of the seven images: none comes twice before all came


def test_processes_take_turns_alike(joint: Callable[[float], JointClips]) -> None:
    pair = [loader(joint(0.4), batch_size=1, shuffle=True, seed=3, rank=r, world_size=2) for r in (0, 1)]
    both = [[b["image"].shape[2] for b in one] for one in pair]
    assert both[0] == both[1]


def test_what_cannot_be_joined_is_one_line(joint: Callable[[float], JointClips]) -> None:
    with pytest.raises(TokbenchError, match="data.images_share is 1.0; it must be above 0 and below 1"):
        joint(1.0)
    data = joint(0.5)
    assert data.fingerprint != joint(0.25).fingerprint and "in 50% of the batches folder:" in data.describe()

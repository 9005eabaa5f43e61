"""The order of batches: for any worker count, any number of processes, and after any interruption."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tokbench.data import ImageDataset, Loader, Sample, loader, open_images
from tokbench.data.crops import View
from tokbench.errors import TokbenchError


class Numbers(ImageDataset):
    """Images that show their own index and epoch."""

    def __init__(self, count: int) -> None:
        super().__init__("numbers", "train", View(2, "none"))
        self.count = count

    def __len__(self) -> int:
        return self.count

    def sample(self, index: int, epoch: int = 0) -> Sample:
        return {"image": torch.full((3, 2, 2), index % 256, dtype=torch.uint8), "label": epoch, "id": str(index)}


def order(images: ImageDataset, epoch: int = 0, **given: object) -> list[list[str]]:
    source = loader(images, **{"shuffle": True, "seed": 5, **given})
    source.set_epoch(epoch)
    return [batch["id"] for batch in source]


shapes = {
    "count": st.integers(0, 70),
    "batch": st.integers(1, 9),
    "world": st.integers(1, 5),
    "shuffle": st.booleans(),
    "epoch": st.integers(0, 3),
}


@settings(max_examples=120, deadline=None)
@given(**shapes)
def test_the_ranks_share_out_every_picture_once(count: int, batch: int, world: int, shuffle: bool, epoch: int) -> None:
    ranks = [
        order(Numbers(count), epoch, batch_size=batch, shuffle=shuffle, rank=r, world_size=world) for r in range(world)
    ]
    assert sorted(int(i) for rank in ranks for b in rank for i in b) == list(range(count))
    for r, rank in enumerate(ranks):
        plan = Loader(Numbers(count), batch_size=batch, shuffle=shuffle, seed=5, rank=r, world_size=world)
        assert len(plan) == len(rank)
        assert all(len(b) == batch for b in rank[:-1])
    assert max(map(len, ranks)) - min(map(len, ranks)) <= 1


@settings(max_examples=60, deadline=None)
@given(**shapes)
def test_together_the_ranks_see_the_joined_batch(count: int, batch: int, world: int, shuffle: bool, epoch: int) -> None:
    images = Numbers(count + batch * world)
    joined = order(images, epoch, batch_size=batch * world, shuffle=shuffle, drop_last=True)
    ranks = [
        order(images, epoch, batch_size=batch, shuffle=shuffle, drop_last=True, rank=r, world_size=world)
        for r in range(world)
    ]
    assert [list(itertools.chain(*parts)) for parts in zip(*ranks, strict=True)] == joined


@settings(max_examples=60, deadline=None)
@given(start=st.integers(0, 12), drop_last=st.booleans(), **shapes)
def test_resume_is_the_rest_of_the_epoch(
    count: int, batch: int, world: int, shuffle: bool, epoch: int, start: int, drop_last: bool
) -> None:
    images = Numbers(count + batch * world)
    settings_ = {"batch_size": batch, "shuffle": shuffle, "drop_last": drop_last, "world_size": world}
    source = loader(images, seed=5, start_batch=start, **settings_)
    source.set_epoch(epoch)
    assert [b["id"] for b in source] == order(images, epoch, **settings_)[start:]
    source.set_epoch(epoch + 1)  # later epochs are whole
    assert [b["id"] for b in source] == order(images, epoch + 1, **settings_)


def test_seeds_and_epochs_give_other_orders() -> None:
    images = Numbers(50)
    orders = [order(images, e, batch_size=50, seed=s)[0] for e in range(3) for s in range(3)]
    assert len({tuple(o) for o in orders}) == 9
    assert order(images, batch_size=50, shuffle=False)[0] == [str(k) for k in range(50)]


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(workers: int) -> None:
    """Same pixels, labels and ids in two epochs and after resume, and torch's own generator is left alone."""
    images = open_images("photos", "train", image_size=16, flip=True, limit=40)
    alone, helped = (
        loader(images, batch_size=8, shuffle=True, seed=0, workers=n, drop_last=True) for n in (0, workers)
    )
    torch.manual_seed(0)
    state = torch.get_rng_state()
    for epoch, start in ((0, 0), (1, 2)):
        for source in (alone, helped):
            source.set_epoch(epoch)
            source.start_batch = start
        pairs = list(zip(alone, helped, strict=True))
        assert len(pairs) == 5 - start
        for a, b in pairs:
            assert a["id"] == b["id"] and torch.equal(a["image"], b["image"]) and torch.equal(a["label"], b["label"])
    assert torch.equal(state, torch.get_rng_state())


def test_a_batch() -> None:
    batch = next(iter(loader(Numbers(7), batch_size=3, shuffle=False, seed=0)))
    assert batch["image"].shape == (3, 3, 2, 2) and batch["image"].dtype == torch.uint8
    assert batch["label"].shape == (3,) and batch["label"].dtype == torch.int64
    assert batch["id"] == ["0", "1", "2"]


@pytest.mark.parametrize(
    "given, message",
    [
        ({"batch_size": 8, "drop_last": True}, "fewer than one batch of 8"),
        ({"batch_size": 4, "drop_last": True, "world_size": 2}, "on 2 processes"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"batch_size": 1, "rank": 2, "world_size": 2}, "rank 2 of 2"),
    ],
)
def test_impossible_loaders_are_one_line(given: dict[str, int], message: str) -> None:
    with pytest.raises(TokbenchError, match=message):
        loader(Numbers(7), shuffle=True, seed=0, **given)


def test_too_few_left_of_what_was_skipped_says_why() -> None:
    images = Numbers(3)
    images.skipped = [("a.png", "has label 77"), ("b.png", "damaged")]
    with pytest.raises(TokbenchError, match="has 3 images, fewer.*; 2 were skipped, the first a.png: has label 77$"):
        loader(images, batch_size=4, shuffle=True, seed=0, drop_last=True)

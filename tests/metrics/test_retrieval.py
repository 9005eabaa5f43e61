"""The right image among twenty."""

from __future__ import annotations

import torch

from tokbench.metrics.retrieval import Retrieval


def test_the_right_images_are_found_and_others_are_not() -> None:
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (100, 3, 4, 4), dtype=torch.uint8, generator=random)
    captions = [f"caption {k % 90}" for k in range(100)]  # ten of them twice
    same, other = Retrieval(images, captions, 0), Retrieval(images, captions, 0)
    noisy = (images.int() + torch.randint(-9, 10, images.shape, generator=random)).clamp(0, 255).to(torch.uint8)
    same.update(range(100), noisy)
    same.update(range(4), images[same.candidates[:4, 1]])  # wrong ones, and one beyond the set is passed over
    same.update([100], noisy[:1])
    for _ in range(4):
        other.update(range(100), images[torch.randperm(100, generator=random)])
    found, chance = same.value("p"), other.value("p")
    assert found.value == 98.0 and found.n == 100 and found.plain()["draws"] == 104 and not same.enough
    assert chance.value is not None and 1 < chance.value < 11 and chance.stderr is not None and other.enough
    assert found.version == "p/retrieval_20-1" and "104 drawn" in same.summary() and "chance is 5 %" in same.summary()
    assert (same.candidates[:, 0] == torch.arange(100)).all()
    assert all(captions[k] != captions[row[0]] for row in same.candidates.tolist() for k in row[1:])


def test_fewer_than_twenty_captions_are_not_asked_for() -> None:
    assert Retrieval.possible([str(k) for k in range(20)]) and not Retrieval.possible([str(k) for k in range(19)])
    assert not Retrieval.possible(["the same"] * 100) and not Retrieval.possible([])

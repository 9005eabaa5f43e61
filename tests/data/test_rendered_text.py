"""Rendered text: known exactly, the same everywhere, never cut off or scaled."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tokbench.data import open_images
from tokbench.errors import TokbenchError


def opened(source: str = "text", size: Any = 64, **options: Any) -> Any:
    return open_images(source, options.pop("split", "eval"), image_size=size, **options)


def test_the_same_words_by_seed_and_split() -> None:
    one, again, other, train = (
        opened(limit=20),
        opened(limit=20),
        opened("text:1", limit=20),
        opened(split="train", limit=20),
    )
    assert one.fingerprint == again.fingerprint != other.fingerprint
    texts = [[images.truth(k).text for k in range(len(images))] for images in (one, again, other, train)]
    assert texts[0] == texts[1] and not set(texts[0]) & set(texts[2]) and not set(texts[0]) & set(texts[3])
    again.read_captions()
    assert again.captions == texts[0]


def test_sizes_are_the_classes_and_a_limit_keeps_them_all() -> None:
    images = opened(limit=5)
    assert images.classes == ["8 px", "10 px", "12 px", "14 px", "16 px"]  # larger text has no room
    found = [(images[k]["label"], images.truth(k).size) for k in range(5)]
    assert found == list(enumerate((8, 10, 12, 14, 16)))
    assert len(opened(size=256, limit=8).classes) == 8


@pytest.mark.parametrize("size", [(32, 96), 64, 256])
def test_every_word_is_within_the_image(size: Any) -> None:
    images = opened(size=size, limit=16)
    for index in range(len(images)):
        image = images[index]["image"]
        inside = image[:, 1:-1, 1:-1]
        assert int(inside.min()) < 100 and int(image.sum()) - int(inside.sum()) == 255 * (
            image.numel() - inside.numel()
        )
        assert images.truth(index).text


def test_no_protocol_scales_it() -> None:
    first = opened(limit=8)[7]["image"]
    for crop in ("center", "bilinear", "taming", "none"):
        assert torch.equal(opened(crop=crop, limit=8)[7]["image"], first)


def test_validation_images_know_their_words() -> None:
    part = opened(split="train", limit=8).part(0.25, True)
    part.read_captions()
    assert [part.truth(k).text for k in range(len(part))] == part.captions


@pytest.mark.parametrize(
    ("source", "size", "said"),
    [
        ("text", 24, r"images of 24x24 have no room for text of 8 pixels; 28 a side are enough"),
        ("text:one", 64, r"'text:one': the seed must be a whole number"),
        ("text:-1", 64, r"'text:-1': the seed must be a whole number"),
        ("text", (5, 64, 64), r"text gives images"),
    ],
)
def test_what_cannot_be_written_is_one_line(source: str, size: Any, said: str) -> None:
    with pytest.raises(TokbenchError, match=said) as error:
        opened(source, size)
    assert "\n" not in str(error.value)


def test_the_smallest_size_that_is_enough_is() -> None:
    assert opened(size=28).classes == ["8 px"]

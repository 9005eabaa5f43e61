"""A source and a crop that the package does not know: one decorated function each is all they need."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image
from pydantic import ValidationError

import tokbench
from tokbench.cli.catalogue import SECTIONS
from tokbench.config.crop import CROPS, PROTOCOLS, crop
from tokbench.config.data import DataConfig
from tokbench.config.grid import Size, axes
from tokbench.data import ImageDataset, open_images, open_split
from tokbench.data.media import IMAGES
from tokbench.data.registry import SOURCES, register
from tokbench.errors import TokbenchError


class Ramps(ImageDataset):
    """Image k is black left of column k, white from there on."""

    def __init__(self, source: str, count: int, split: Any, view: Any) -> None:
        super().__init__(source, split, view)
        self.count = count

    def __len__(self) -> int:
        return self.count

    def raw_sample(self, index: int) -> tuple[Any, int, str]:
        image = Image.new("RGB", (24, 16))
        image.paste((255, 255, 255), (index, 0, 24, 16))
        return image, -1, f"ramp{index}"

    @property
    def content(self) -> str:
        return f"ramps {self.count}"


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    for registry in (SOURCES, CROPS, PROTOCOLS):
        assert len(registry) > 3  # the others are found first
        monkeypatch.setattr(registry, "_known", dict(registry._known))  # type: ignore[attr-defined]

    @register({"ramps:COUNT": "steps from black to white"}, (IMAGES,))
    def open_ramps(source: str, rest: str, split: Any, view: Any, limit: int | None) -> ImageDataset:
        return Ramps(source, min(int(rest), limit or int(rest)), split, view)

    @crop("corner", {"corner": "a test"})
    def corner(image: Image.Image, size: Size) -> Image.Image:
        height, width = axes(size)
        return image.crop((0, 0, width, height))


def test_both_are_used_by_their_names(own: None) -> None:
    images = open_images("ramps:9", "eval", image_size=[8, 16], crop="corner", limit=5)
    assert len(images) == 5 and images.protocol == "corner" and "crop corner" in images.describe()
    assert torch.equal(images[4]["image"][:, :, 3:5], torch.tensor([0, 255], dtype=torch.uint8).expand(3, 8, 2))
    data = DataConfig(source="ramps:9", image_size=8, crop="corner", flip=False)
    assert open_split(data, "train").protocol == "corner" and open_split(data, "eval").protocol == "tokbench-v1"
    assert ("ramps:COUNT", "steps from black to white") in SECTIONS["data"]()[1]


def test_they_are_measured_by_their_protocol(own: None, rq_tokenizer: Any) -> None:
    record = tokbench.evaluate(rq_tokenizer, "ramps:6", protocol="corner", metrics=["psnr"], batch_size=3)
    assert record.data is not None and record.data.n == 6 and "corner" in record.metrics["psnr"].version


def test_mistakes_are_one_line(own: None) -> None:
    for call, said in (
        (lambda: open_images("ramp:9", "eval", image_size=8), "unknown data source 'ramp' .did you mean 'ramps'"),
        (lambda: open_images("ramps", "eval", image_size=8), "'ramps' is not a data source; use ramps:COUNT"),
        (lambda: open_images("ramps:9", "eval", image_size=[2, 8, 8]), "ramps:9 gives .*: set the image size"),
        (lambda: open_images("ramps:9", "eval", image_size=8, crop="cornr"), "unknown crop 'cornr' .*'corner'"),
    ):
        with pytest.raises(TokbenchError, match=said):
            call()
    with pytest.raises(ValidationError, match="unknown crop 'cornr' .did you mean 'corner'"):
        DataConfig(crop="cornr")
    with pytest.raises(ValueError, match="'adm' is already registered"):
        crop("adm", {"again": "x"})(lambda image, size: image)
    with pytest.raises(ValueError, match="'folder' is already registered"):
        register({"folder:PATH": "again"})(lambda *given: None)

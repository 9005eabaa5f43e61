"""A tokenizer and two classes of images to tell apart."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_tokenizer import make_tokenizer


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer, and two classes of images: red, and blue."""
    folder = tmp_path_factory.mktemp("probe")
    make_tokenizer({"name": "rq", "codebook_size": 32, "depth": 2}).save_pretrained(folder / "tok")
    noise = torch.Generator().manual_seed(0)
    for split, count in (("train", 20), ("val", 8)):
        for channel, name in ((0, "red"), (2, "blue")):
            (folder / "images" / split / name).mkdir(parents=True)
            for k in range(count):
                pixels = torch.rand(16, 16, 3, generator=noise) * 8
                pixels[..., channel] += 180
                Image.fromarray(pixels.to(torch.uint8).numpy()).save(folder / "images" / split / name / f"{k}.png")
    return folder

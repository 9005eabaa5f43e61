"""The known Fréchet Inception distance of CIFAR-10, and features of photographs that every machine must reproduce."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tokbench import weights
from tokbench.data.base import ImageDataset
from tokbench.data.crops import View
from tokbench.metrics import evaluate_images


class Parquet(ImageDataset):
    """Chosen rows of a Parquet file of encoded images."""

    def __init__(self, path: Path, rows: np.ndarray) -> None:
        import pyarrow.parquet as pq

        super().__init__(f"parquet:{path.name}", "eval", View(32, "none"))
        self.encoded = pq.read_table(path, columns=["image"]).take(rows).to_pydict()["image"]

    def __len__(self) -> int:
        return len(self.encoded)

    def raw_sample(self, index: int) -> tuple[Image.Image, int, str]:
        return Image.open(io.BytesIO(self.encoded[index]["bytes"])).convert("RGB"), 0, str(index)

    @property
    def content(self) -> str:
        return f"calibration {self.source} {len(self)}"


@pytest.fixture
def inception(users_cache: None) -> None:
    if weights.find("inception-fid") is None:
        pytest.skip("no weights inception-fid: run `tokbench weights get inception-fid`")


@pytest.mark.slow
def test_cifar10_has_its_published_distance(inception: None) -> None:
    """5,000 training against 5,000 test images: torch-fidelity's own test has 10.3233274."""
    folder = Path(os.environ.get("TOKBENCH_CIFAR10", "cifar10"))
    if not folder.is_dir():
        pytest.skip("TOKBENCH_CIFAR10 names no folder with CIFAR-10's train.parquet and test.parquet")

    def chosen(split: str, n: int) -> Parquet:
        rows = np.sort(np.random.RandomState(2020).choice(n, 5000, replace=False))
        return Parquet(folder / f"{split}.parquet", rows)

    result = evaluate_images(chosen("train", 50_000), reference=chosen("test", 10_000), metrics=["gfid"])
    assert result.metrics["gfid"].value == pytest.approx(10.3233274, rel=1e-6)
    assert result.metrics["gfid"].n == 5000

"""The ``data`` block of a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tokbench.config.base import Strict
from tokbench.config.grid import Size

Crop = Literal["random", "adm", "center", "bilinear", "taming", "none"]


class DataConfig(Strict):
    """Which pictures, how large, how cut."""

    source: str = Field(
        "photos",
        description="photos, photos:dense, folder:PATH, zip:FILE, npz:FILE, parquet:FILES, hub:NAME, webdataset:FILES; "
        "or cached: and one of those",
    )
    image_size: Size = Field(64, description="pixels: the side of square images, [H, W], or [T, H, W] of clips")
    channels: Literal[1, 3] = Field(
        3, description="3: RGB; 1: grey (ITU-R 601's luma), also for depth maps. A tokenizer takes and gives as many"
    )
    crop: Crop | None = Field(
        None,
        description="how training pictures become square; unset: random, ADM's random crop, which also rescales "
        "(pictures that have the size already want adm). Evaluation always uses the protocol's crop",
    )
    flip: bool = Field(True, description="mirror half of the training pictures, by chance")
    workers: int = Field(0, ge=0, description="processes that decode pictures beside the training one")
    limit: int | None = Field(
        None, ge=1, description="at most so many training pictures, spread evenly; for photos, crops an epoch (2048)"
    )
    eval_limit: int | None = Field(None, ge=1, description="at most so many evaluation pictures, spread evenly")

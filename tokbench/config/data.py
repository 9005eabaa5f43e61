"""The ``data`` block of a recipe."""

from __future__ import annotations

from pydantic import Field, PositiveInt, field_validator, model_validator

from tokbench.config.base import Strict
from tokbench.config.crop import CHANCE, CROPS
from tokbench.config.grid import Size, axes
from tokbench.config.kind import Kind, check_channels
from tokbench.errors import did_you_mean, shown


class DataConfig(Strict):
    """Which images, how large, how cut."""

    source: str = Field(
        "photos",
        description="photos, photos:dense, folder:PATH, zip:FILE, npz:FILE, parquet:FILES, hub:NAME, webdataset:FILES; "
        "or cached: and one of those; of videos, where image_size is [T, H, W]: clips, or those that name files",
    )
    image_size: Size = Field(64, description="pixels: the side of square images, [H, W], or [T, H, W] of clips")
    kind: Kind = Field(
        "image",
        description="image: colours; labels: maps of class numbers, which a tokenizer takes as one-hot; "
        "depth: maps of any numbers, each scaled by its own least and greatest",
    )
    channels: PositiveInt = Field(
        3,
        description="3: RGB; 1: grey (ITU-R 601's luma), and depth; of labels the number of classes. "
        "A tokenizer takes and gives as many",
    )
    crop: str | None = Field(
        None,
        description="how training images become square; unset: random, ADM's random crop, which also rescales "
        "(images that have the size already want adm); random-cut: a random place, not rescaled. Evaluation uses the "
        "protocol's crop, of random-cut the middle of the image, cut",
    )
    flip: bool = Field(True, description="mirror half of the training images, by chance")
    workers: int = Field(0, ge=0, description="processes that decode images beside the training one")
    limit: int | None = Field(
        None, ge=1, description="at most so many training images, spread evenly; for photos, crops per epoch (2048)"
    )
    eval_limit: int | None = Field(None, ge=1, description="at most so many evaluation images, spread evenly")
    validation: float | str | None = Field(
        None,
        description="measure on these in place of the evaluation images: a share of the training images (0.1), which "
        "are then not trained on, or a source; what settings are chosen by (sweep --tune)",
    )
    stride: int = Field(1, ge=1, description="of clips: one of every so many frames of a video")
    fps: float | None = Field(
        None, gt=0, lt=1000, description="of clips: frames per second, by the video's times; unset: each frame it has"
    )
    images: str | None = Field(
        None, description="beside clips: a source of images, for training on both; an image is a clip of one frame"
    )
    images_share: float = Field(0.5, gt=0, lt=1, description="of the training batches, which are of images; for images")

    @field_validator("crop")
    @classmethod
    def _crop_exists(cls, value: str | None) -> str | None:
        if value not in (None, *CHANCE) and value not in CROPS:
            raise ValueError(f"unknown crop {shown(value)}{did_you_mean(value, [*CROPS, *CHANCE])}")
        return value

    @field_validator("validation")
    @classmethod
    def _a_share_or_a_source(cls, value: float | str | None) -> float | str | None:
        if isinstance(value, float) and not 0 < value < 1:
            raise ValueError(f"is a share above 0 and below 1, or a source, not {value:g}")
        return value

    @model_validator(mode="after")
    def _channels_of_the_kind(self) -> DataConfig:
        if wrong := check_channels(self.kind, self.channels):
            raise ValueError(f"channels: {wrong}")
        if self.kind != "image" and len(axes(self.image_size)) == 3:
            raise ValueError(f"kind: clips are of images, not of {self.kind}: leave it out, or give two sides")
        return self

    @model_validator(mode="after")
    def _only_of_clips(self) -> DataConfig:
        clips = len(axes(self.image_size)) == 3
        for key in ("stride", "fps", "images"):
            if not clips and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} is of clips: set image_size to [frames, height, width], or leave {key} out")
        if self.images is None and self.images_share != type(self).model_fields["images_share"].default:
            raise ValueError("images_share is of images beside clips: set images, or leave images_share out")
        return self

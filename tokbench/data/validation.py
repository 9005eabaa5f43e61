"""Images that settings are chosen by: neither trained on nor the evaluation images, which are for the final figures."""

from __future__ import annotations

from tokbench.config.data import DataConfig
from tokbench.data.base import ImageDataset, Split
from tokbench.data.sources import open_split
from tokbench.errors import TokbenchError


def open_part(data: DataConfig, validation: float | str, split: Split, seed: int) -> ImageDataset:
    """What ``data.validation`` makes of a split: of a source its evaluation images; of a share of the training images
    the others to train on, and those that are held out to measure on.

    Raises:
        TokbenchError: images that cannot be divided; otherwise as ``open_split``.
    """
    plain = data.model_copy(update={"validation": None})
    if isinstance(validation, str):
        return open_split(plain.model_copy(update={"source": validation}), "eval", seed)
    try:
        found = open_split(plain, "train", seed)
        divide = getattr(found, "part", None)  # a stream has none
        if divide is None:
            raise TokbenchError(f"{data.source}: a stream is not divided; name a source in its place")
        part: ImageDataset = divide(validation, split == "eval")
    except TokbenchError as error:
        raise TokbenchError(f"data.validation {validation:g}: {error}") from None
    return part

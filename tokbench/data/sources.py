"""From a spec string to pictures."""

from __future__ import annotations

from typing import get_args

from tokbench.data.base import ImageDataset, Split
from tokbench.data.crops import View
from tokbench.errors import TokbenchError, did_you_mean

SOURCES = {
    "photos": "the photographs that ship with the installed packages; needs no network",
}


def open_images(
    source: str,
    split: Split,
    *,
    image_size: int,
    crop: str | None = None,
    flip: bool = False,
    seed: int = 0,
    limit: int | None = None,
) -> ImageDataset:
    """The pictures of one split, as uint8 squares.

    Args:
        source: ``photos``.
        split: ``train`` or ``eval``.
        image_size: side of a sample in pixels.
        crop: see :mod:`tokbench.data.crops`; None is ``random`` for training and ``adm`` for evaluation.
        flip: mirror half of the samples, by chance.
        seed: of random crops and flips.
        limit: at most so many pictures, spread evenly over the split (of ``photos`` training: crops an epoch).

    Raises:
        TokbenchError: one line naming what is wrong with the spec, or what is not there.
    """
    kind, _, rest = source.partition(":")
    if kind not in SOURCES:
        raise TokbenchError(f"no data source is called {kind!r}{did_you_mean(kind, SOURCES)}")
    if split not in get_args(Split):
        raise TokbenchError(f"no split is called {split!r}: train or eval")
    if limit is not None and limit < 1:
        raise TokbenchError(f"limit is {limit}; it must be at least 1")
    view = View(image_size, crop or ("random" if split == "train" else "adm"), flip, seed)
    from tokbench.data.photos import open_photos

    return open_photos(split, view, crop, limit)

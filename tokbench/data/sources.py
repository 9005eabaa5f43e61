"""From a spec string to pictures."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import Any, get_args

from tokbench.config.data import DataConfig
from tokbench.data.base import ImageDataset, Split
from tokbench.data.crops import View
from tokbench.errors import TokbenchError, TokbenchWarning, did_you_mean, printable, shown

SOURCES = {
    "photos": "photographs that ship with the installed packages; needs no network",
    "photos:dense": "the same, with 2,304 overlapping held-out crops: enough for FID, comparable with itself alone",
    "folder:PATH": "a folder of pictures; sub-folders train/val are splits, others classes; or train=PATH,eval=PATH",
    "zip:FILE": "the same in a zip archive; a dataset.json in it (StyleGAN) has the classes",
    "npz:FILE": "an array of pictures: arr_0, uint8 (N, H, W, 3), and perhaps arr_1, classes (guided-diffusion)",
    "parquet:FILES": "Parquet files with a column of pictures; globs, or train=FILES,eval=FILES",
    "hub:NAME[:CONFIG][:streaming]": "the Hugging Face hub; known names: cifar10, imagenet-1k, ffhq",
    "webdataset:FILES[:streaming]": "tar shards of pictures; globs, or train=FILES,eval=FILES",
    "cached:SPEC": "any but photos and streams, decoded once and kept as bytes in the user's cache",
}
"""Spec strings and what they open."""

KINDS = tuple(dict.fromkeys(pattern.partition(":")[0] for pattern in SOURCES))


def open_images(
    source: str,
    split: Split,
    *,
    image_size: int,
    crop: str | None = None,
    flip: bool = False,
    seed: int = 0,
    limit: int | None = None,
    channels: int = 3,
) -> ImageDataset:
    """The pictures of one split, as uint8 squares.

    Args:
        source: a spec string; :data:`SOURCES` lists them.
        split: ``train`` or ``eval``.
        image_size: side of a sample in pixels.
        crop: see :mod:`tokbench.data.crops`; None is ``random`` for training and ``adm`` for evaluation.
        flip: mirror half of the samples, by chance.
        seed: of random crops and flips.
        limit: at most so many pictures, spread evenly over the split (of ``photos`` training: crops an epoch).
        channels: of a sample: 3 is RGB, 1 grey.

    Raises:
        TokbenchError: one line naming what is wrong with the spec, or what is not there.
    """
    if not isinstance(source, str):
        raise TokbenchError(f"images are named by a spec such as 'folder:PATH', got {shown(source)}")
    kind, _, rest = source.partition(":")
    if kind not in KINDS:
        raise TokbenchError(f"no data source is called {kind!r}{_meant(source) or did_you_mean(kind, KINDS)}")
    complete = source in ("photos", "photos:dense") if kind == "photos" else bool(rest)
    if not complete:
        patterns = " or ".join(p for p in SOURCES if p.partition(":")[0] == kind)
        raise TokbenchError(f"{source!r} is no data source: write {patterns}")
    if split not in get_args(Split):
        raise TokbenchError(f"no split is called {split!r}: train or eval")
    if limit is not None and limit < 1:
        raise TokbenchError(f"limit is {limit}; it must be at least 1")
    view = View(image_size, crop or ("random" if split == "train" else "adm"), flip, seed, channels)
    if kind == "photos":
        from tokbench.data.photos import open_photos

        return open_photos(split, view, crop, limit, dense=rest == "dense")
    opener: Any = getattr(importlib.import_module(f"tokbench.data.{_OPENERS[kind][0]}"), _OPENERS[kind][1])
    images: ImageDataset = opener(source, rest, split, view, limit)
    for note in images.notes:
        warnings.warn(f"{source} ({split}): {printable(note)}", TokbenchWarning, stacklevel=2)
    return images


def _meant(source: str) -> str:
    """The spec of a path that was given without its kind; empty where it is no path."""
    path = Path(source).expanduser()
    kind = {".parquet": "parquet", ".tar": "webdataset"}.get(path.suffix.lower(), "folder")
    there = path.exists() and (kind != "folder" or path.is_dir())
    return f" (did you mean '{kind}:{source}'?)" if there else ""


def open_split(data: DataConfig, split: Split, seed: int = 0) -> ImageDataset:
    """The pictures a recipe asks for: its crops and flips for training, its protocol's crop for evaluation.

    Raises:
        TokbenchError: as ``open_images``.
    """
    training = split == "train"
    return open_images(
        data.source,
        split,
        image_size=data.image_size,
        crop=data.crop if training else None,
        flip=data.flip and training,
        seed=seed,
        limit=data.limit if training else data.eval_limit,
        channels=data.channels,
    )


_OPENERS = {
    "folder": ("folder", "open_folder"),
    "zip": ("zipped", "open_zip"),
    "npz": ("npz", "open_npz"),
    "parquet": ("table", "open_parquet"),
    "hub": ("hub", "open_hub"),
    "webdataset": ("shards", "open_shards"),
    "cached": ("predecoded", "open_predecoded"),
}

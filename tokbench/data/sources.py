"""From a spec string to pictures."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from tokbench.config.data import DataConfig
from tokbench.config.grid import Grid, Size, axes, checked_size, plain
from tokbench.data.base import ImageDataset, Split
from tokbench.data.crops import View
from tokbench.data.media import PICTURES, VIDEOS
from tokbench.errors import TokbenchError, TokbenchWarning, did_you_mean, printable, shown

if TYPE_CHECKING:
    from tokbench.data.clip_view import Windows

SOURCES = {
    "photos": "photographs that ship with the installed packages; needs no network",
    "photos:dense": "the same, with 2,304 overlapping held-out crops: enough for FID, comparable with itself alone",
    "clips": "short videos that ship with tokbench; needs no network, but PyAV (the extra video)",
    "folder:PATH": "a folder of pictures; sub-folders train/val are splits, others classes; or train=PATH,eval=PATH",
    "zip:FILE": "the same in a zip archive; a dataset.json in it (StyleGAN) has the classes",
    "npz:FILE": "an array of pictures: arr_0, uint8 (N, H, W, 3), and perhaps arr_1, classes (guided-diffusion)",
    "parquet:FILES": "Parquet files with a column of pictures; globs, or train=FILES,eval=FILES",
    "hub:NAME[:CONFIG][:streaming]": "the Hugging Face hub; known names: cifar10, imagenet-1k, ffhq",
    "webdataset:FILES[:streaming]": "tar shards of pictures; globs, or train=FILES,eval=FILES",
    "cached:SPEC": "any but photos and streams, decoded once and kept as bytes in the user's cache",
}
"""Spec strings and what they open; of videos in place of pictures where the image size has three numbers."""

KINDS = tuple(dict.fromkeys(pattern.partition(":")[0] for pattern in SOURCES))


def open_images(
    source: str,
    split: Split,
    *,
    image_size: Size,
    crop: str | None = None,
    flip: bool = False,
    seed: int = 0,
    limit: int | None = None,
    channels: int = 3,
    stride: int = 1,
    fps: float | None = None,
    windows: Windows | None = None,
) -> ImageDataset:
    """The images of one split, as uint8 of one size, or clips of its videos.

    Args:
        source: a spec string; :data:`SOURCES` lists them.
        split: ``train`` or ``eval``.
        image_size: of a sample in pixels: a side, or (H, W); (T, H, W) reads videos, whose samples are clips.
        crop: see :mod:`tokbench.data.crops`; None is ``random`` for training and ``adm`` for evaluation.
        flip: mirror half of the samples, by chance.
        seed: of random crops and flips.
        limit: at most so many pictures, spread evenly over the split (of ``photos`` training: crops an epoch).
        channels: of a sample: 3 is RGB, 1 grey.
        stride, fps, windows: of clips; see :class:`tokbench.data.clip_view.ClipView`. Windows are ``random`` for
            training and ``all`` for evaluation where they are not given.

    Raises:
        TokbenchError: one line naming what is wrong with the spec, or what is not there.
    """
    if not isinstance(source, str):
        raise TokbenchError(f"images are named by a spec such as 'folder:PATH', got {shown(source)}")
    kind, _, rest = source.partition(":")
    if kind not in KINDS:
        raise TokbenchError(f"no data source is called {kind!r}{_meant(source) or did_you_mean(kind, KINDS)}")
    complete = source in ("photos", "photos:dense", "clips") if kind in ("photos", "clips") else bool(rest)
    if not complete:
        patterns = " or ".join(p for p in SOURCES if p.partition(":")[0] == kind)
        raise TokbenchError(f"{source!r} is no data source: write {patterns}")
    if split not in get_args(Split):
        raise TokbenchError(f"no split is called {split!r}: train or eval")
    if limit is not None and limit < 1:
        raise TokbenchError(f"limit is {limit}; it must be at least 1")
    usual = "random" if split == "train" else "adm"
    size = checked_size(image_size, "image_size")
    if len(axes(size)) == 3:
        view = _clip_view(axes(size), crop or usual, flip, seed, channels, stride, fps, windows or _USUAL[split])
    elif (stride, fps, windows) == (1, None, None):
        view = View(size, crop or usual, flip, seed, channels)
    else:
        raise TokbenchError(f"stride, fps and windows are of videos: set the image size to {VIDEOS.size}")
    _check_kind(source, kind, view)
    if kind == "photos":
        from tokbench.data.photos import open_photos

        return open_photos(split, view, crop, limit, dense=rest == "dense")
    if kind == "clips":
        from tokbench.data.clips import open_clips

        return open_clips(split, view, limit)
    opener: Any = getattr(importlib.import_module(f"tokbench.data.{_OPENERS[kind][0]}"), _OPENERS[kind][1])
    images: ImageDataset = opener(source, rest, split, view, limit)
    for note in images.notes:
        warnings.warn(f"{source} ({split}): {printable(note)}", TokbenchWarning, stacklevel=2)
    return images


def _clip_view(size: Grid, *settings: Any) -> View:
    """Clips of (T, H, W). ``settings``: crop, flip, seed, channels, stride, fps, windows."""
    from tokbench.data.clip_view import ClipView

    crop, flip, seed, channels, stride, fps, windows = settings
    return ClipView(size[1:], crop, flip, seed, channels, size[0], stride, fps, windows)


def _check_kind(source: str, kind: str, view: View) -> None:
    """TokbenchError where a source of images is read for clips, or the reverse."""
    only = VIDEOS if kind == "clips" else PICTURES if kind in ("photos", "npz", "cached") else view.media
    if view.media is not only:
        raise TokbenchError(f"{source} gives {only.many}: set the image size (data.image_size) to {only.size}")


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
    settings: dict[str, Any] = {
        "crop": data.crop if training else None,
        "flip": data.flip and training,
        "seed": seed,
        "limit": data.limit if training else data.eval_limit,
        "channels": data.channels,
    }
    size = data.image_size
    found = open_images(data.source, split, image_size=size, stride=data.stride, fps=data.fps, **settings)
    if data.images is None or not training:
        return found
    from tokbench.data.joint import joined

    return joined(found, open_images(data.images, split, image_size=plain(axes(size)[1:]), **settings), data)


_USUAL: dict[str, Any] = {"train": "random", "eval": "all"}  # windows

_OPENERS = {
    "folder": ("folder", "open_folder"),
    "zip": ("zipped", "open_zip"),
    "npz": ("npz", "open_npz"),
    "parquet": ("table", "open_parquet"),
    "hub": ("hub", "open_hub"),
    "webdataset": ("shards", "open_shards"),
    "cached": ("predecoded", "open_predecoded"),
}

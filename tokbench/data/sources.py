"""From a spec string to images."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from tokbench.config.crop import measured_by
from tokbench.config.data import DataConfig
from tokbench.config.grid import Grid, Size, axes, checked_size, plain
from tokbench.config.kind import Kind
from tokbench.data.base import ImageDataset, Split
from tokbench.data.crops import View
from tokbench.data.map_view import view_of
from tokbench.data.media import VIDEOS
from tokbench.data.registry import SOURCES
from tokbench.errors import TokbenchError, TokbenchWarning, did_you_mean, printable, shown

if TYPE_CHECKING:
    from tokbench.data.clip_view import Windows


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
    kind: Kind = "image",
    stride: int = 1,
    fps: float | None = None,
    windows: Windows | None = None,
) -> ImageDataset:
    """The images of one split, as uint8 of one size, or clips of its videos.

    Args:
        source: a spec string; ``tokbench list data`` shows them.
        split: ``train`` or ``eval``.
        image_size: of a sample in pixels: a side, or (H, W); (T, H, W) reads videos, whose samples are clips.
        crop: see :mod:`tokbench.data.crops`; None is ``random`` for training and ``adm`` for evaluation.
        flip: mirror half of the samples, by chance.
        seed: of random crops and flips.
        limit: at most so many images, spread evenly over the split (of ``photos`` training: crops per epoch).
        channels: of a sample: 3 is RGB, 1 grey; of label maps the number of classes.
        kind: ``image``; ``labels`` and ``depth`` are maps of numbers, see :mod:`tokbench.data.maps`.
        stride, fps, windows: of clips; see :class:`tokbench.data.clip_view.ClipView`. Windows are ``random`` for
            training and ``all`` for evaluation where they are not given.

    Raises:
        TokbenchError: one line naming what is wrong with the spec, or what is not there.
    """
    if not isinstance(source, str):
        raise TokbenchError(f"images are named by a spec such as 'folder:PATH', got {shown(source)}")
    name, _, rest = source.partition(":")
    opened = SOURCES.find(name)
    if opened is None:
        raise TokbenchError(f"unknown data source {name!r}{_meant(source) or did_you_mean(name, SOURCES)}")
    if not opened.takes(source):
        raise TokbenchError(f"{source!r} is not a data source; use {' or '.join(opened.patterns)}")
    if kind not in get_args(Kind):
        raise TokbenchError(f"no kind of images is called {kind!r}: {', '.join(get_args(Kind))}")
    if split not in get_args(Split):
        raise TokbenchError(f"no split is called {split!r}: train or eval")
    if limit is not None and limit < 1:
        raise TokbenchError(f"limit is {limit}; it must be at least 1")
    usual = "random" if split == "train" else "adm"
    size = checked_size(image_size, "image_size")
    if len(axes(size)) == 3 and kind == "image":
        view = _clip_view(axes(size), crop or usual, flip, seed, channels, stride, fps, windows or _USUAL[split])
    elif (stride, fps, windows) == (1, None, None):
        view = view_of(kind, size, crop or usual, flip, seed, channels)
    else:
        raise TokbenchError(f"stride, fps and windows are of videos: set the image size to {VIDEOS.size}")
    if view.media not in opened.media:
        only = opened.media[0]
        wanted = "kind (data.kind) to image" if kind != "image" else f"image size (data.image_size) to {only.size}"
        raise TokbenchError(f"{source} gives {only.many}: set the {wanted}")
    images = opened.open(source, rest, split, view, limit)
    for note in images.notes:
        warnings.warn(f"{source} ({split}): {printable(note)}", TokbenchWarning, stacklevel=2)
    return images


def _clip_view(size: Grid, *settings: Any) -> View:
    """Clips of (T, H, W). ``settings``: crop, flip, seed, channels, stride, fps, windows."""
    from tokbench.data.clip_view import ClipView

    crop, flip, seed, channels, stride, fps, windows = settings
    return ClipView(size[1:], crop, flip, seed, channels, size[0], stride, fps, windows)


def _meant(source: str) -> str:
    """The spec of a path that was given without its kind; empty where it is not a path."""
    path = Path(source).expanduser()
    kind = {".parquet": "parquet", ".tar": "webdataset"}.get(path.suffix.lower(), "folder")
    there = path.exists() and (kind != "folder" or path.is_dir())
    return f" (did you mean '{kind}:{source}'?)" if there else ""


def open_split(data: DataConfig, split: Split, seed: int = 0) -> ImageDataset:
    """The images a recipe asks for: its crops and flips for training, its protocol's crop for evaluation, in place of
    which ``data.validation`` may stand.

    Raises:
        TokbenchError: as ``open_images``; there are no such validation images.
    """
    training = split == "train"
    if data.validation is not None and not (training and isinstance(data.validation, str)):
        from tokbench.data.validation import open_part

        return open_part(data, data.validation, split, seed)
    settings: dict[str, Any] = {
        "crop": data.crop if training else measured_by(data.crop),
        "flip": data.flip and training,
        "seed": seed,
        "limit": data.limit if training else data.eval_limit,
        "channels": data.channels,
        "kind": data.kind,
    }
    size = data.image_size
    found = open_images(data.source, split, image_size=size, stride=data.stride, fps=data.fps, **settings)
    if data.images is None or not training:
        return found
    from tokbench.data.joint import joined

    return joined(found, open_images(data.images, split, image_size=plain(axes(size)[1:]), **settings), data)


_USUAL: dict[str, Any] = {"train": "random", "eval": "all"}  # windows

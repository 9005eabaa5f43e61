"""What the images of a tokenizer are: colours, label maps or depth. Torch-free."""

from __future__ import annotations

from typing import Literal

Kind = Literal["image", "labels", "depth"]
"""``image``: RGB or grey bytes; ``labels``: one class number a pixel; ``depth``: one number a pixel, scaled by the
map's own least and greatest."""

SHOWN: dict[Kind, str] = {"image": "images", "labels": "label maps", "depth": "depth maps"}
"""As messages have them."""

MOST_LABELS = 65_536


def check_channels(kind: Kind, channels: int) -> str | None:
    """What is wrong with so many channels, of a configuration or a data set: one line; None where nothing is."""
    if kind == "image" and channels not in (1, 3):
        return f"images are read with 3 channels (RGB) or 1 (grey), not {channels}"
    if kind == "depth" and channels != 1:
        return f"depth has one channel, not {channels}: set channels to 1"
    if kind == "labels" and not 2 <= channels <= MOST_LABELS:
        return f"channels are the classes of label maps, 2 to {MOST_LABELS:,}, not {channels}"
    return None

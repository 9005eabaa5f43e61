"""Where the frames of a video file are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

NONE = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class FrameIndex:
    """Where the frames of a file are: ``times``, int64 (N,), as they are shown; ``keys``, the numbers of key frames;
    ``order``, those of all as they are decoded, or None where they are counted from the front; ``declared``, how many
    the header says, less those that are not to be shown (an edit list's): 0 where it says nothing, perhaps wrong."""

    times: np.ndarray
    keys: np.ndarray
    order: np.ndarray | None
    declared: int


def is_hidden(packet: Any) -> bool:
    """Whether a packet holds a frame of VP8 that is only referred to: the fifth bit of a frame's first byte is 0."""
    return not bytes(packet)[0] & 0x10

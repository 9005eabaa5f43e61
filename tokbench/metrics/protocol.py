"""The name under which images were cropped: part of every metric's version."""

from __future__ import annotations

from typing import Any

from tokbench.config.crop import PROTOCOLS
from tokbench.errors import TokbenchError


def check_protocol(protocol: str | None, dataset: Any) -> str:
    """The protocol's name (the data set's own by default); an error when its images were cropped another way."""
    made: str = dataset.protocol
    if protocol is None or protocol == made:
        return made
    crop = PROTOCOLS.get(protocol).crop
    # What follows the crop's name stays: the frames of clips that are taken, and grey.
    usual = max((name for name in PROTOCOLS if f"{made}-".startswith(f"{name}-")), key=len, default="")
    if not usual or PROTOCOLS.get(usual).crop != crop:
        raise TokbenchError(f"protocol {protocol!r} crops by {crop!r}, and this data set was opened as {made!r}")
    return protocol + made[len(usual) :]

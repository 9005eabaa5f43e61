"""What a run is trained on and how it is divided: kept in its checkpoints, compared when it continues.

A run whose data changed continues with what is there now, and says so on the terminal and in its log: a copy of a large
set under other times is the same set and cannot be told from another one, and a refusal would cost the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokbench.data import ImageDataset
from tokbench.data.stream import StreamedImages
from tokbench.errors import TokbenchError


def trained_on(images: ImageDataset | StreamedImages, workers: int) -> dict[str, Any]:
    """What a run remembers of its training images: the fingerprint, how many, and by how many a stream is read."""
    stream = isinstance(images, StreamedImages)
    count = images.length if isinstance(images, StreamedImages) else len(images)
    readers = max(1, workers) if stream else None
    return {"source": images.source, "fingerprint": images.fingerprint, "count": count, "readers": readers}


def changes(state: Mapping[str, Any], processes: int, accumulation: int, data: Mapping[str, Any]) -> list[str]:
    """Lines on what is not as it was when the checkpoint ``state`` was written; it may be of an earlier version.

    Raises:
        TokbenchError: a generator's tokenizer has other weights: its codes have other meanings.
    """
    messages = []
    was = state["processes"], state.get("gradient_accumulation", accumulation)
    if was != (processes, accumulation):
        messages.append(
            f"the run had {was[0]} processes x {was[1]} micro-batches and now has {processes} x {accumulation}: "
            "it continues, but not bit-identically"
        )
    before = state.get("data")
    if before is None:
        return messages
    if before.get("tokenizer") != data.get("tokenizer"):
        raise TokbenchError(
            f"--resume: the tokenizer's weights are not those that the run was trained on until now "
            f"({before['tokenizer'][:12]}, now {data['tokenizer'][:12]}): put them back, or start in another --out"
        )
    if before["fingerprint"] != data["fingerprint"]:
        messages.append(
            f"{data['source']} has changed ({_difference(before, data)}): the run continues with what is there now"
        )
    readers = (before["readers"], was[0]), (data["readers"], processes)
    if data["readers"] is not None and readers[0] != readers[1]:
        messages.append(
            f"{data['source']}: a stream's order depends on data.workers (was {readers[0][0]}, is {readers[1][0]}) and "
            f"the processes (was {readers[0][1]}, is {readers[1][1]}): the rest of this epoch repeats some images and "
            "leaves out others"
        )
    return messages


def _difference(before: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    if before["count"] != data["count"]:
        return f"{before['count']} images when the checkpoint was written, {data['count']} now"
    return f"{data['count']} images as before, of other names, contents, labels or times"

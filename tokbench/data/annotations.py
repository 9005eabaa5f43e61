"""Files beside images that say their classes."""

from __future__ import annotations

import json
import re

from tokbench.data.base import Split
from tokbench.errors import TokbenchError, printable

TINY_IMAGENET = "val_annotations.txt"
"""In the folder of the validation images or above it; see :func:`classes_by_name`."""

STYLEGAN = "dataset.json"
"""Beside all images; see :func:`numbers_by_path`."""


UCF101: dict[str, Split] = {"trainlist01.txt": "train", "testlist01.txt": "eval"}
"""Split 1, the usual one of its three, beside all videos; see :func:`listed_videos`."""


def listed_videos(text: str) -> set[str]:
    """UCF-101: lines of ``Class/video.avi``, in training with a number behind -> those names."""
    lines = (re.sub(r"\s+\d+$", "", line.strip()).replace("\\", "/") for line in text.splitlines())
    return {"/".join(line.split("/")[-2:]) for line in lines if line}


def classes_by_name(text: str) -> dict[str, str]:
    """Tiny-ImageNet: lines of file name, class and box, with tabs -> file name to class."""
    return {parts[0]: parts[1] for line in text.splitlines() if len(parts := line.split("\t")) > 1}


def numbers_by_path(text: str, where: str) -> dict[str, object]:
    """StyleGAN: ``{"labels": [[path, class number], ...]}``, or null for none -> path to number.

    Raises:
        TokbenchError: it is not that.
    """
    try:
        found = json.loads(text)
        labels = found["labels"] if isinstance(found, dict) else None
        return {str(path): _one(label) for path, label in labels or ()}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        reason = printable(" ".join(str(error).split()), 80)
        raise TokbenchError(f'{where}: not {{"labels": [[path, number], ...]}} ({reason}): fix or remove it') from None


def _one(label: object) -> object:
    """What can be looked up: a vector (StyleGAN has those too) is not a class."""
    return label if isinstance(label, (int, float, str)) or label is None else float("inf")

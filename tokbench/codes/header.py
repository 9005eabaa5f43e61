"""The code cache on disk: its files, and the header that says what the codes are.

A cache is a folder with a folder for each split; a split holds ``header.json``, ``codes-00000.bin`` and so on (raw
little-endian, (count, *grid, D)), ``labels.bin`` (int64), ``histogram.bin`` (int64, the counts of each depth's codes
one after the other; of a vocabulary past 2^22 the number of codes that occur, these codes and their counts) and, where
asked for, ``latents-00000.bin`` (float16, (count, *latent grid, C)); of pairs also ``condition-00000.bin`` (uint32),
the codes of what goes with the images, and of captions ``captions.jsonl``, a JSON string a line.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import (
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    model_validator,
)

from tokbench.config.base import CodeShape, Grown
from tokbench.config.condition import CodesConfig
from tokbench.config.grid import Grid, Size
from tokbench.errors import TokbenchError, printable

FORMAT = 1
HEADER, LABELS, HISTOGRAM, CAPTIONS = "header.json", "labels.bin", "histogram.bin", "captions.jsonl"


class CodeHeader(Grown):
    """``header.json``: what the codes are and how they came about."""

    format: int = FORMAT
    tokenizer: str
    tokenizer_sha256: str
    codebook_sizes: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    shape: CodeShape
    image_size: Size
    source: str
    split: str
    preprocessing: str
    fingerprint: str  # of the images
    passes: int = 1  # over the images, each with other random crops and flips
    classes: tuple[str, ...] = ()
    count: NonNegativeInt = 0
    shards: tuple[NonNegativeInt, ...] = ()  # images in each
    latent_channels: PositiveInt | None = None
    condition: CodesConfig | None = None  # of pairs: what the codes of the other half are
    latent_grid: Grid | None = None  # where it is not that of the codes: of a pyramid
    captions: bool = False  # whether they are kept
    stride: PositiveInt | None = None  # of clips; None of images, and in caches from before it was noted
    fps: float | None = None

    later = ("condition", "latent_grid", "captions", "stride", "fps")

    @model_validator(mode="after")
    def _adds_up(self) -> CodeHeader:
        if sum(self.shards) != self.count:
            raise ValueError(f"its shards have {sum(self.shards)} images and not {self.count}")
        if self.shape[-1] != len(self.codebook_sizes):
            raise ValueError(f"{len(self.codebook_sizes)} vocabularies for codes of depth {self.shape[-1]}")
        if max(self.codebook_sizes) > 2**32:
            raise ValueError(f"codes of a vocabulary of {max(self.codebook_sizes)} do not fit into 32 bits")
        return self

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """(*grid, C) of an image's latents; they must be there."""
        assert self.latent_channels is not None
        return (*(self.latent_grid or self.shape[:-1]), self.latent_channels)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest of uint16 and uint32 that holds every code."""
        return np.dtype("<u2" if max(self.codebook_sizes) <= 2**16 else "<u4")


def read_header(folder: Path) -> CodeHeader:
    """The checked header of a split's folder; TokbenchError names the file and what is wrong with it."""
    path = folder / HEADER
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text)
    except FileNotFoundError:
        raise TokbenchError(f"{folder}: no code cache there; make one with tokbench encode") from None
    except (OSError, ValueError, RecursionError) as error:
        reason = printable(str(error), 120)
        raise TokbenchError(f"{path}: not a code cache's header ({reason}); encode again") from None
    if not isinstance(found, dict) or "format" not in found:
        raise TokbenchError(f"{path}: not a code cache's header; encode again")
    if found["format"] != FORMAT:
        version = printable(str(found["format"]), 40)
        raise TokbenchError(f"{path}: a code cache of format {version}; this tokbench reads format {FORMAT}")
    try:
        return CodeHeader.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = printable(".".join(map(str, first["loc"])), 60)
        what = printable(first["msg"].removeprefix("Value error, "), 160)
        raise TokbenchError(f"{path}: {where + ': ' if where else ''}{what}; encode again") from None

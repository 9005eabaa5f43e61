"""The record: one JSON line for one measured (or published) row. Everything shown is a pure function of records."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tokbench.results.lines import SCHEMA


class _Block(BaseModel):
    # A newer tokbench may add keys without changing what the others mean; they are kept, not refused.
    model_config = ConfigDict(extra="allow")


class MetricValue(_Block):
    """One measured number, with all that is needed to print and to compare it.

    ``version`` names the definition (``"tokbench-v1/1"``): two values share a column only if it is equal.
    ``by_depth`` holds the same metric when only the first 1, 2, ... D codes of every position are decoded.
    """

    value: float | None
    n: int
    version: str
    label: str
    direction: Literal["higher", "lower", "none"]
    unit: str = ""
    stderr: float | None = None
    by_depth: list[float] | None = None
    note: str | None = None  # why value is None and how to get it


class Rate(_Block):
    """What the codes cost. ``tokens`` is (*grid, D) of one image's code stack; bits are sum(log2 K_d) * prod(grid)."""

    tokens: list[int]
    codebook_sizes: list[int]
    bits_per_position: float
    bits_per_image: float
    bits_per_pixel: float


class DataRef(_Block):
    """What was measured on. ``protocol`` names crop, resize, rounding (``tokbench-v1``) and greyness (``-grey``).

    ``of``: how many images there are where not all of them were measured: a source without splits, a limit.
    """

    spec: str
    split: str
    n: int
    size: int | tuple[int, ...]  # a side, [H, W], or [T, H, W] of clips
    protocol: str
    skipped: int = 0
    of: int | None = None

    @property
    def count(self) -> str:
        """``2 of 24``, or ``24``."""
        return f"{self.n:,}" if self.of is None else f"{self.n:,} of {self.of:,}"


class Git(_Block):
    revision: str | None
    dirty: bool | None


class Record(_Block):
    """One line of ``results/runs.jsonl``. Never edited after it was written.

    ``cell`` is the content address of what was asked for (recipe, evaluation included): equal cells are the same run.
    ``experiment`` is that address without the seed. ``id`` is unique to the line. ``group`` ties together the lines of
    one sweep.
    """

    schema_version: int = SCHEMA
    id: str
    cell: str
    experiment: str | None = None
    kind: Literal["tokenizer", "generator", "benchmark"] = "tokenizer"
    source: Literal["measured", "published"] = "measured"
    created: str  # ISO 8601, UTC
    name: str  # the recipe's name
    group: str | None = None
    seed: int | None = None
    quantizer: dict[str, Any] = Field(default_factory=dict)  # {"name": "rq", "codebook_size": 256, "depth": 4}
    model: dict[str, Any] = Field(default_factory=dict)  # {"architecture", "downsampling", "parameters"}
    data: DataRef | None = None
    weights: dict[str, Any] = Field(default_factory=dict)  # {"which": "ema" | "live", "sha256": ...}
    rate: Rate | None = None
    metrics: dict[str, MetricValue] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)  # {"steps", "images", "seconds", "batch_size", "data"}
    timing: dict[str, Any] = Field(default_factory=dict)  # {"seconds", "device", "precision", "batch_size", "warmup"}
    environment: dict[str, Any] = Field(default_factory=dict)  # python, torch, platform, cpu/gpu names
    git: Git | None = None
    recipe: dict[str, Any] = Field(default_factory=dict)  # resolved
    recipe_hash: str | None = None
    # Files by role, relative to the folder of the store: tokenizer, log (training log), histogram ({"counts": per
    # depth}), and pictures: originals and reconstructions (grids of one layout), depths (coarse to fine), samples.
    artifacts: dict[str, str] = Field(default_factory=dict)
    provenance: str | None = None  # of a published row: "read", "second-hand", "unverified", with its source
    error: str | None = None  # a cell that failed says why

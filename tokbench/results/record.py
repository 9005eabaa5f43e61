"""The record: one JSON line for one measured (or published) row. Everything shown is a pure function of records.

A record *is* its line: what is read of it has types and is checked, the rest of the line is kept as it was written.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from tokbench.results.blocks import MOST, Block, Environment, Model, Quantizer, Timing, Training, Weights
from tokbench.results.definitions import DEFINITIONS, Definition, Direction, Shown
from tokbench.secrets import redacted, without_secrets

SCHEMA = 1
"""Version of the records that are written and read; a line of another version is named, never shown as one of these."""

Count = Annotated[int, msgspec.Meta(ge=0, le=int(MOST))]
Number = Annotated[float, msgspec.Meta(ge=-MOST, le=MOST)]
Positive = Annotated[float, msgspec.Meta(ge=0, le=MOST)]
Side = Annotated[int, msgspec.Meta(ge=1, le=2**20)]
Size = Annotated[int, msgspec.Meta(ge=1)]

# gc=False below: nothing here is part of a cycle, and Python's collector would walk the objects of thousands of records
# again and again while more of them are read.


class MetricValue(msgspec.Struct, frozen=True, gc=False):
    """One measured number, with all that is needed to print and to compare it.

    ``version`` names the definition (``"tokbench-v1/1"``): two values share a column only if it is equal.
    ``by_depth`` holds the same metric when only the first 1, 2, ... D codes of every position are decoded.
    """

    value: Number | None
    n: Count
    version: str
    label: str
    direction: Direction
    unit: str = ""
    stderr: Number | None = None
    by_depth: list[Number] | None = None
    note: str | None = None  # why value is None and how to get it
    shown: Shown | None = None  # how a table shows it, unless ``definitions`` says so
    extra: dict[str, Any] = msgspec.field(name="(extra)", default_factory=dict)  # keys of this metric alone

    def plain(self) -> dict[str, Any]:
        """As JSON, with what this metric alone says after the rest."""
        plain = msgspec.structs.asdict(self)
        plain |= plain.pop("extra")
        if (shown := plain.pop("shown")) is not None:
            plain["shown"] = msgspec.structs.asdict(shown)
        return plain


def defined(
    name: str, value: float | None, n: int, version: str, definition: Definition | None = None, **more: Any
) -> MetricValue:
    """A value under its metric's label, direction and unit. ``more``: other fields.

    Args:
        definition: of a metric that is not among ``DEFINITIONS``; its records say how it is shown.
    """
    d = definition or DEFINITIONS[name]
    own = None if name in DEFINITIONS else d.shown
    return MetricValue(value, n, version, d.label, d.direction, d.unit, shown=own, **more)


class Rate(msgspec.Struct, frozen=True, gc=False):
    """What the codes cost. ``tokens`` is (\\*grid, D) of one image's code stack, as (H, W, D); bits are those of all
    positions, sum(log2 K_d) each. ``prefixes``: the positions of each part that decodes, coarse to fine, where these
    refine and not the depths; ``by_depth`` is then over them. ``position_sizes``: the vocabulary of each position,
    where they differ; the bits of a position are then their mean."""

    tokens: Annotated[list[Side], msgspec.Meta(min_length=2, max_length=16)]
    codebook_sizes: Annotated[list[Size], msgspec.Meta(min_length=1)]
    bits_per_position: float
    bits_per_image: Positive
    bits_per_pixel: Positive
    prefixes: list[Count] | None = None
    position_sizes: Annotated[list[Size], msgspec.Meta(min_length=1)] | None = None


class DataRef(msgspec.Struct, frozen=True, gc=False):
    """What was measured on. ``protocol`` names crop, resize, rounding (``tokbench-v1``) and greyness (``-grey``).

    ``of``: how many images there are where not all of them were measured: a source without splits, a limit.
    ``frame_rate``: frames a second of clips, all their frames over all their time, where it is known.
    """

    spec: str
    split: str
    n: Count
    size: Count | Annotated[tuple[Count, ...], msgspec.Meta(min_length=1, max_length=3)]  # a side, (H, W), or (T, H, W)
    protocol: str
    skipped: int = 0
    of: int | None = None
    frame_rate: Positive | None = None

    @property
    def count(self) -> str:
        """``2 of 24``, or ``24``."""
        return f"{self.n:,}" if self.of is None else f"{self.n:,} of {self.of:,}"


class Git(msgspec.Struct, frozen=True, gc=False):
    """The revision that measured, and whether there were changes on top of it."""

    revision: str | None
    dirty: bool | None


class Record(msgspec.Struct, kw_only=True, frozen=True, gc=False):
    """One line of ``results/runs.jsonl``. Never edited after it was written: ``Record.of`` makes one, ``replace``
    another.

    ``cell`` is the content address of what was asked for (recipe, evaluation included): equal cells are the same run.
    ``experiment`` is that address without the seed. ``id`` is unique to the line. ``group`` ties together the lines of
    one benchmark. ``artifacts`` are files by role, relative to the folder of the store: tokenizer, log (training log),
    histogram, and images: originals and reconstructions (grids of one layout), depths (coarse to fine), samples.
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
    quantizer: Quantizer = msgspec.field(default_factory=Quantizer)
    model: Model = msgspec.field(default_factory=Model)
    data: DataRef | None = None
    weights: Weights = msgspec.field(default_factory=Weights)
    rate: Rate | None = None
    metrics: dict[str, MetricValue] = msgspec.field(default_factory=dict)
    training: Training = msgspec.field(default_factory=Training)
    timing: Timing = msgspec.field(default_factory=Timing)
    environment: Environment = msgspec.field(default_factory=Environment)
    git: Git | None = None
    undecoded: msgspec.Raw = msgspec.field(name="recipe", default=msgspec.Raw(b"{}"))  # half of a line
    recipe_hash: str | None = None
    artifacts: dict[str, str] = msgspec.field(default_factory=dict)
    provenance: str | None = None  # of a published row: "read", "second-hand", "unverified", with its source
    error: str | None = None  # a cell that failed says why
    raw: bytes = msgspec.field(name="(line)", default=b"")  # the line as it was read

    @classmethod
    def of(cls, **fields: Any) -> Record:
        """A record of fields by name (JSON values, blocks and the types above), complete with the defaults.

        Passwords and signatures are left out, and bytes of a name that are not text are escaped.

        Raises:
            ValueError: a field that is missing or of another type.
        """
        from pydantic_core import to_json

        plain = {**_defaults(), **fields}
        metrics = {name: _finite(_plain(metric)) for name, metric in plain["metrics"].items()}
        clean = without_secrets({k: _plain(v) for k, v in {**plain, "metrics": metrics}.items()}, _text)
        return decode(to_json(clean, inf_nan_mode="null"))

    def replace(self, **fields: Any) -> Record:
        """This record with other fields."""
        return Record.of(**{**self.plain(), **fields})

    @property
    def line(self) -> bytes:
        """The line as it may be passed on: one of an older tokbench may hold a password or a signature."""
        text = self.raw.decode()
        return self.raw if redacted(text) == text else Record.of(**json.loads(text)).raw

    def plain(self) -> dict[str, Any]:
        """Everything the line holds, keys of a newer tokbench included."""
        return dict(json.loads(self.line))

    def said_of(self, metric: str) -> dict[str, Any]:
        """All that the line says of a metric, keys of this metric alone included; empty where it is not measured."""
        return dict(self.plain()["metrics"][metric]) if metric in self.metrics else {}

    @property
    def recipe(self) -> dict[str, Any]:
        """The resolved recipe, decoded anew each time."""
        return dict(json.loads(bytes(self.undecoded)))


def decode(line: bytes) -> Record:
    """The record that a line is.

    Raises:
        ValueError: it is not one, or holds what cannot be shown; the message says where and why.
    """
    if _depth(line) > _DEEPEST:
        raise ValueError("nested too deeply")
    try:
        if not line.isascii():
            line.decode()  # what is not looked into must be text too
        record = _DECODER.decode(line)
    except msgspec.DecodeError as error:
        said, _, where = str(error).partition(" - at `$")
        raise ValueError(f"{where.rstrip('`').lstrip('.')}: {said}" if where.strip("`") else said) from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if record.schema_version != SCHEMA:
        raise ValueError(
            f"schema_version: a record of version {record.schema_version}; this tokbench reads version {SCHEMA}"
        )
    if memoryview(record.undecoded)[0] != ord("{"):
        raise ValueError("recipe: is not an object")
    for name in _BLOCKS:
        if (problem := getattr(record, name).problem()) is not None:
            raise ValueError(f"{name}.{problem}")
    if record.rate is not None and record.rate.tokens[-1] != len(record.rate.codebook_sizes):
        raise ValueError("rate: tokens are (*grid, D), with D codebook sizes")
    if (rate := record.rate) is not None and rate.position_sizes is not None:
        if len(rate.position_sizes) != math.prod(rate.tokens[:-1]):
            raise ValueError("rate: position_sizes are of each position of the grid")
    msgspec.structs.force_setattr(record, "raw", line)
    return record


def is_shown(value: float | None) -> bool:
    """Whether arithmetic and axes can do with a number: finite, and not of hundreds of digits. None is not measured."""
    return value is None or abs(value) <= MOST  # False for NaN too; an int too large for a float compares all the same


B = TypeVar("B", bound=Block)


def _block(kind: type[B], value: Any) -> B:
    if not isinstance(value, dict):
        raise ValueError("is not an object")
    return kind(value)


_DECODER = msgspec.json.Decoder(Record, dec_hook=_block)
_DEEPEST, _TOKENS = 200, re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_BLOCKS = ("quantizer", "model", "weights", "training", "timing", "environment")


def _depth(line: bytes) -> int:
    """How deep arrays and objects lie within each other: what is deeper than most stacks breaks whoever walks it."""
    if line.count(b"[") + line.count(b"{") <= _DEEPEST:
        return 0
    deepest = level = 0
    for token in _TOKENS.finditer(line):
        level += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(token[0], 0)
        deepest = max(deepest, level)
    return deepest


def _defaults() -> dict[str, Any]:
    """Every key of a line, in the order of a line."""
    plain: dict[str, Any] = {}
    for field in msgspec.structs.fields(Record):
        made = field.default_factory() if callable(field.default_factory) else field.default
        plain[field.encode_name] = {} if field.name == "undecoded" else None if made is msgspec.NODEFAULT else made
    del plain["(line)"]
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, MetricValue):
        return value.plain()
    return msgspec.structs.asdict(value) if isinstance(value, msgspec.Struct) else value


def _text(value: str) -> str:
    """UTF-8 has no form for half of a surrogate pair, which stands for a byte of a file's name."""
    return value.encode("utf-8", "backslashreplace").decode()


def _finite(metric: Mapping[str, Any]) -> dict[str, Any]:
    """A metric's number that is not finite has no JSON form: it is missing, with a note that says so."""
    value, stderr, by_depth = (metric.get(name) for name in ("value", "stderr", "by_depth"))
    update: dict[str, Any] = {}
    if value is not None and not math.isfinite(value):
        update = {"value": None, "note": metric.get("note") or f"the measured value was {value}"}
    if stderr is not None and not math.isfinite(stderr):
        update["stderr"] = None
    if by_depth is not None and not all(map(math.isfinite, by_depth)):
        update["by_depth"] = None
    return {**metric, **update}

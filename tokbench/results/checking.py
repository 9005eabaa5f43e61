"""Records that others are to add to a shared table: what must hold beyond what reading a line asks.

``schema.json`` beside this file is the same as JSON Schema, for programs in other languages; ``json_schema`` makes it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from tokbench.results import blocks
from tokbench.results.definitions import DEFINITIONS
from tokbench.results.record import SCHEMA, Record
from tokbench.results.store import parse

SCHEMA_FILE = Path(__file__).with_name("schema.json")


@dataclass(frozen=True)
class Checked:
    """What a file holds. ``problems``: (number of the line, what is wrong)."""

    file: Path
    records: int
    problems: list[tuple[int, str]]


def check(file: Path) -> Checked:
    """All that is wrong with the records of a file. OSError where it cannot be read."""
    content = file.read_bytes()
    found = parse(content)
    unusable = {number for number, _ in found.damaged}
    lines = [n for n, line in enumerate(content.split(b"\n"), 1) if line.strip() and n not in unusable]
    problems, seen = list(found.damaged), dict[str, int]()
    for number, record in zip(lines, found, strict=True):
        problems += [(number, problem) for problem in _problems(record)]
        if record.id in seen:
            problems.append((number, f"id: {record.id} is that of line {seen[record.id]} too"))
        seen.setdefault(record.id, number)
    return Checked(file, len(found), sorted(problems))


def _problems(record: Record) -> list[str]:
    problems = []
    for name, metric in record.metrics.items():
        known = DEFINITIONS.get(name)
        if known is not None and metric.direction != known.direction:
            problems.append(f"metrics.{name}: direction {metric.direction}, where {known.direction} is better")
        named = record.source == "measured" and record.kind != "benchmark"
        if named and not metric.version.partition("/")[2].startswith(f"{name}-"):
            problems.append(f"metrics.{name}: version {metric.version!r} is not PROTOCOL/{name}-NUMBER")
        if record.source == "measured" and metric.value is not None and metric.n == 0:
            problems.append(f"metrics.{name}: a value of n = 0")
    if record.source == "measured" and record.error is None and record.metrics and record.git is None:
        problems.append("git: a measured record says its revision")
    if record.source == "published" and not record.provenance:
        problems.append("provenance: a published row says where its numbers were read")
    return problems


def json_schema() -> dict[str, Any]:
    """The record as JSON Schema (2020-12): what is read has types, keys beside it are free."""
    _, parts = msgspec.json.schema_components([_line()], schema_hook=_block, ref_template="#/$defs/{name}")
    whole = parts.pop("Record")
    parts["MetricValue"]["properties"].pop("(extra)")
    whole["properties"]["schema_version"] = {"const": SCHEMA}
    about = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "One line of tokbench's runs.jsonl"}
    return {**whole, **about, "description": "A record of what was measured.", "$defs": parts}


def _line() -> type[msgspec.Struct]:
    """The record with the fields of its line alone, and the recipe as what it is."""
    hints = get_type_hints(Record, include_extras=True)
    fields: list[Any] = []
    for field in msgspec.structs.fields(Record):
        if field.name == "raw":
            continue
        kind = dict[str, Any] if field.name == "undecoded" else hints[field.name]
        default = {} if field.name == "undecoded" else field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = msgspec.field(default_factory=field.default_factory)
        fields.append((field.encode_name, kind) if default is msgspec.NODEFAULT else (field.encode_name, kind, default))
    return msgspec.defstruct("Record", fields, kw_only=True)


_TYPES = {(str,): "string", (int,): "integer", (int, float): "number", (list,): "array"}


def _block(kind: type[Any]) -> dict[str, Any]:
    """JSON Schema of an open part of the record."""
    assert issubclass(kind, blocks.Block)
    properties = {}
    for name, (types, _) in kind._known.items():
        one: dict[str, Any] = {"type": _TYPES[types]}
        if int in types:
            one |= {"minimum": 0, "maximum": kind.most(name)}
        properties[name] = {"anyOf": [one, {"type": "null"}]}
    return {"type": "object", "description": " ".join((kind.__doc__ or "").split()), "properties": properties}


def written_schema() -> str:
    """What ``schema.json`` must hold: ``python -m tokbench.results.checking`` writes it."""
    return json.dumps(json_schema(), indent=1) + "\n"


if __name__ == "__main__":
    SCHEMA_FILE.write_text(written_schema(), encoding="utf-8")

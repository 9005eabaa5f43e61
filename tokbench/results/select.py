"""Which records: by what a column says (``quantizer=rq,vq``), by id or the unique beginning of one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tokbench.errors import TokbenchError, did_you_mean, size_text
from tokbench.results.attributes import ALIASES, ATTRIBUTES, BLOCKS
from tokbench.results.columns import Value, lookup
from tokbench.results.entries import Entry
from tokbench.results.record import Record

_DIRECT = {
    "kind": "kind",
    "seed": "seed",
    "cell": "cell",
    "id": "id",
    "source": "source",
    "data": "data.spec",
    "split": "data.split",
    "size": "data.size",
    "protocol": "data.protocol",
    "device": "timing.device",
}


def where(records: Iterable[Record], conditions: Sequence[str]) -> list[Record]:
    """The records that meet every ``KEY=VALUE[,VALUE...]`` (any of the values), ``KEY!=...`` being its opposite.

    A key is a column (``quantizer``, ``K``, ``depth``, ``name``), a field of the record (``kind``, ``seed``,
    ``data``, ``size``) or a dotted path into it (``recipe.training.steps``). Numbers compare as numbers.

    Raises:
        TokbenchError: a condition that is not one, or a key that is not known.
    """
    chosen = list(records)
    for condition in conditions:
        key, equals, wanted = condition.partition("=")
        if not equals or not key.strip(" !"):
            raise TokbenchError(f"--where {condition!r}: write KEY=VALUE or KEY!=VALUE, as in quantizer=rq,vq")
        opposite = key.endswith("!")
        name = _known(key.removesuffix("!").strip())
        values = [value.strip() for value in wanted.split(",")]
        chosen = [r for r in chosen if any(_equal(_value(r, name), v) for v in values) != opposite]
    return chosen


def by_id(records: Sequence[Record], wanted: str) -> Record:
    """The one record whose id is, or begins with, ``wanted``; a cell's id or beginning gives its newest record.

    Of lines with one id (a file joined to itself) the last counts.

    Raises:
        TokbenchError: there is none, or several.
    """
    found = [record for record in records if record.id == wanted][-1:]
    if not found and wanted:
        found = list({record.id: record for record in records if record.id.startswith(wanted)}.values())
    if not found and wanted:
        cells = {record.cell: record for record in records if record.cell.startswith(wanted)}
        found = list(cells.values())
    if len(found) == 1:
        return found[0]
    if found:
        some = ", ".join(f"{record.id} ({record.name})" for record in found[:5])
        raise TokbenchError(f"{wanted!r} begins {len(found)} ids: {some}{', ...' if len(found) > 5 else ''}; type more")
    raise TokbenchError(f"no run {wanted!r}; `tokbench table --columns id,name,psnr` lists them")


def _known(key: str) -> str:
    name = key if key in _DIRECT or key in ATTRIBUTES else key.lower()
    name = name if name in _DIRECT else ALIASES.get(name, name)
    if name in _DIRECT or name in ATTRIBUTES or (key.partition(".")[0] in BLOCKS and "." in key):
        return name if name in _DIRECT or name in ATTRIBUTES else key
    raise TokbenchError(f"--where: no key {key!r}{did_you_mean(key, [*_DIRECT, *ATTRIBUTES])}")


def _value(record: Record, name: str) -> Value:
    if name in _DIRECT or name not in ATTRIBUTES:
        found = lookup(record, _DIRECT.get(name, name))
        found = size_text(found) if name == "size" and isinstance(found, tuple) else found
        return found if isinstance(found, str | int | float) or found is None else str(found)
    value = ATTRIBUTES[name].value(Entry((record,)))
    return value[0] if isinstance(value, tuple) else value


def _equal(value: Value, wanted: str) -> bool:
    if value is None:
        return wanted.lower() in ("", "none", "null")
    try:
        return float(value) == float(wanted)
    except (ValueError, OverflowError):  # text, or a whole number too large for a float
        return str(value).lower() == wanted.lower()

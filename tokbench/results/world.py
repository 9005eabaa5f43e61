"""The table of the world: tokenizers on the same images, what their authors published beside what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tokbench.errors import noun_of, typed
from tokbench.results.columns import Column
from tokbench.results.definitions import in_order, shown
from tokbench.results.layout import Section, Table, TableCell, labelled
from tokbench.results.record import Record
from tokbench.results.table import comparison

_BEFORE = ("name", "quantizer", "codes", "bits", "bpp")
_AFTER = ("encode_ms", "decode_ms", "params")


def world(records: Sequence[Record], published: Mapping[str, Record]) -> Table:
    """One row a tokenizer, a section for each size, encode and decode in ms an image, parameters.

    Args:
        published: what its authors measured, by the record's name.
    """
    metrics = in_order(dict.fromkeys(name for record in records for name in record.metrics))
    usual = [name for name in metrics if any(_is_usual(record, name, published) for record in records)]
    clips = any(record.data is not None and noun_of(record.data.size) == "clip" for record in records)
    empty = [name for name in usual if not any(_has_value(record, name, published) for record in records)]
    filled = [name for name in usual if name not in empty]
    table = comparison(records, columns=[*_BEFORE, *(["kbps"] if clips else []), *filled, *_AFTER])
    for section in table.sections:
        _beside(section, published)
        found = (row.entry.first.metrics.get(name) for name in empty for row in section.rows)
        reasons = dict.fromkeys(labelled(metric.label, metric.note) for metric in found if metric and metric.note)
        section.remarks += [f"No column: {reason}." for reason in reasons]
    return table


def _has_value(record: Record, name: str, published: Mapping[str, Record]) -> bool:
    metrics = (each.metrics.get(name) for each in (record, published.get(record.name)) if each is not None)
    return any(metric is not None and metric.value is not None for metric in metrics)


def _is_usual(record: Record, name: str, published: Mapping[str, Record]) -> bool:
    metric = record.metrics.get(name)
    theirs = published.get(record.name)
    return metric is not None and (shown(name, metric.shown).usual or (theirs is not None and name in theirs.metrics))


def _beside(section: Section, published: Mapping[str, Record]) -> None:
    """Two columns after each metric that somebody published: the value, and by how much the measured one is more."""
    rows = [(row, published.get(row.entry.first.name)) for row in section.rows]
    for column, name in [(column, column.variant.name) for column in section.columns if column.variant is not None]:
        values = [theirs.metrics[name].value if theirs and name in theirs.metrics else None for _, theirs in rows]
        if all(value is None for value in values):
            continue
        place = section.columns.index(column) + 1
        section.columns[place:place] = [
            Column(f"{column.key}_{label}", label, digits=column.digits) for label in ("published", "difference")
        ]
        for (row, _), value in zip(rows, values, strict=True):
            own = row.cells[place - 1].value
            more = own - value if isinstance(own, int | float) and value is not None else None
            row.cells[place:place] = [
                TableCell(value, column.format(value)),
                TableCell(more, column.format(more) if more is None or more < 0 else f"+{column.format(more)}"),
            ]
    sources: dict[str, dict[str | None, None]] = {}
    for _, theirs in rows:
        if theirs is not None and theirs.data is not None:
            sources.setdefault(f"{theirs.data.spec} at {typed(theirs.data.size)}", {})[theirs.provenance] = None
    for images, by in sources.items():
        section.remarks.append(
            f"published: on {images}, by protocols of their authors ({'; '.join(map(str, by))}). A difference is one "
            "of images and protocol too, unless these are the same."
        )

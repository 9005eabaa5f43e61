"""What the records say about a claim: its cells by part, as rows over seeds. Torch-free."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import Field

from tokbench.claims.definition import Claim, ScaleName
from tokbench.claims.numbers import of_metric
from tokbench.config.base import Strict
from tokbench.errors import TokbenchError, did_you_mean
from tokbench.results.attributes import ALIASES, ATTRIBUTES
from tokbench.results.columns import Column
from tokbench.results.definitions import heading
from tokbench.results.entries import Entry, gather
from tokbench.results.layout import TableCell
from tokbench.results.record import Record
from tokbench.results.table import comparison, to_markdown

Named = tuple[str, Entry]  # a row, and what it is called


class RequestedCell(Strict):
    """A cell by its content address and what it is called."""

    cell: str
    label: str
    seed: int

    @property
    def name(self) -> str:
        """Its label, with the seed where the label does not say it."""
        return self.label if "seed=" in self.label else f"{self.label} seed={self.seed}"


class Request(Strict):
    """What one run of a claim asked for: kept beside the records, so that a page needs nothing but the two."""

    claim: str
    scale: ScaleName
    data: str | None = Field(None, description="what --data said; null: the recipes' own")
    seeds: list[int]
    parts: dict[str, list[RequestedCell]]
    impossible: list[tuple[str, str]] = Field([], description="what cannot be run, and why")

    @property
    def cells(self) -> dict[str, RequestedCell]:
        """Every cell once, by address."""
        return {cell.cell: cell for cells in self.parts.values() for cell in cells}


@dataclass(frozen=True)
class Evidence:
    """The finished records of a claim's cells. ``records`` holds each cell once, in the order it was asked for."""

    claim: Claim
    asked: Request
    records: list[Record]
    failures: list[Record] = field(default_factory=list)  # the newest of each cell that only ever failed

    @classmethod
    def of(cls, claim: Claim, asked: Request, records: Sequence[Record]) -> Evidence:
        """From any records: the newest finished one of each cell counts; a cell that only ever failed is named."""
        done = {record.cell: record for record in records if record.error is None}
        failed = {record.cell: record for record in records if record.error is not None and record.cell not in done}
        cells = asked.cells
        return cls(claim, asked, [done[k] for k in cells if k in done], [failed[k] for k in cells if k in failed])

    @property
    def failed(self) -> dict[str, str]:
        """What the cells are called that only ever failed, and why they did."""
        return {self.asked.cells[record.cell].name: record.error or "" for record in self.failures}

    @property
    def missing(self) -> list[str]:
        """What the cells are called that have no record at all."""
        there = {record.cell for record in [*self.records, *self.failures]}
        return [cell.name for key, cell in self.asked.cells.items() if key not in there]

    @property
    def complete(self) -> bool:
        """Whether every cell that is possible was measured."""
        return len(self.records) == len(self.asked.cells)

    def of_part(self, part: str | None = None) -> list[Record]:
        """The records of one part of the claim's recipe set (of all without a name)."""
        if part is None:
            return list(self.records)
        if part not in self.asked.parts:
            raise TokbenchError(f"claim {self.claim.name}: no part {part!r}{did_you_mean(part, self.asked.parts)}")
        keys = {cell.cell for cell in self.asked.parts[part]}
        return [record for record in self.records if record.cell in keys]

    def rows(self, part: str | None = None, kind: str = "tokenizer") -> list[Entry]:
        """One entry per experiment of a part (of all), its seeds together, by bits per position."""
        entries = gather([record for record in self.of_part(part) if record.kind == kind]).entries
        return sorted(entries, key=lambda entry: entry.bits() or 0.0)

    def row(self, part: str, kind: str = "tokenizer") -> Entry | None:
        """The only such entry; None where there is none. Several are a mistake of the check."""
        found = self.rows(part, kind)
        if len(found) > 1:
            labels = ", ".join(entry.label for entry in found)
            raise ValueError(f"{part}: {len(found)} entries, not one: {labels}")
        return found[0] if found else None

    def named(self, parts: Mapping[str, str], kind: str = "tokenizer") -> list[Named]:
        """The row of each part that has one, under its name."""
        return [(name, row) for part, name in parts.items() if (row := self.row(part, kind)) is not None]

    def measured(self, *metrics: str) -> list[str]:
        """Those of the metrics that some record has a value of, in the order given."""
        there = {name for record in self.records for name, metric in record.metrics.items() if metric.value is not None}
        return [name for name in metrics if name in there]

    def label(self, metric: str) -> str:
        """The metric's label as the records carry it, else its name."""
        return self.heading(metric, unit=False)

    def heading(self, metric: str, unit: bool = True) -> str:
        """``PSNR (dB)``: what stands above a column of the metric."""
        found = next((record.metrics[metric] for record in self.records if metric in record.metrics), None)
        return metric if found is None else heading(found.label, found.unit if unit else "", "none")

    def by_metric(self, metrics: Sequence[str], digits: str = ".4g") -> dict[str, Callable[[Entry], str]]:
        """A column for each metric, as ``numbers.named_table`` takes them."""
        return {self.heading(metric): of_metric(metric, digits) for metric in metrics}

    def table(
        self,
        columns: Sequence[str],
        records: Sequence[Record] | None = None,
        *,
        by_depth: bool = False,
        parts: Mapping[str, str] | None = None,
    ) -> str:
        """The comparison table of results over these columns as Markdown; a metric nobody measured has none.

        ``parts`` (part: what to call it) puts a first column that tells apart what differs in a setting alone.
        """
        chosen = list(self.records if records is None else records)
        if not chosen:
            return ""
        measured = {name for record in chosen for name in record.metrics}
        known = [column for column in columns if column in measured or not _is_metric(column)]
        table = comparison(chosen, columns=known, by_depth=by_depth)
        for section in table.sections if parts else ():
            section.columns.insert(0, Column("part", "model", numeric=False))
            for row in section.rows:
                row.cells.insert(0, TableCell(None, self.part_of(row.entry.first, parts or {})))
        return to_markdown(table)

    def part_of(self, record: Record, names: Mapping[str, str]) -> str:
        """What the first of these parts is called that asked for the record's cell; empty where none did."""
        asked = self.asked.parts
        return next((names[part] for part in names if any(c.cell == record.cell for c in asked.get(part, ()))), "")


def stages_of(entry: Entry | None) -> list[Entry]:
    """The row after each prefix that was measured, then all of it; nothing where there is no row."""
    return [] if entry is None else [*entry.prefixes(), entry]


def variant(entry: Entry) -> str:
    """The quantizer's name; ``rotation`` for VQ with the rotation trick."""
    quantizer = entry.first.quantizer
    return "rotation" if quantizer.get("rotation_trick") else str(quantizer.get("name"))


def whole_bits(entry: Entry) -> int:
    """Bits per position, rounded: FSQ's 1000 codes stand with 2^10."""
    return round(entry.first.rate.bits_per_position) if entry.first.rate is not None else 0


def vocabulary(entry: Entry) -> str:
    """``2^10``, or the number of codes where it is not a power of two."""
    size = (entry.codebook_sizes() or [0])[0]
    return f"2^{size.bit_length() - 1}" if size.bit_count() == 1 else f"{size:,}"


def stack(entry: Entry) -> str:
    """``8x8x4``: the shape of the codes."""
    return "x".join(map(str, entry.first.rate.tokens)) if entry.first.rate is not None else "-"


def _is_metric(column: str) -> bool:
    return column not in ATTRIBUTES and column.lower() not in ALIASES and "." not in column

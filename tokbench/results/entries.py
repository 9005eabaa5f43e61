"""From records to what a table row stands for: one experiment, all its seeds, whole or only its first depths."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from msgspec import json

from tokbench.results.definitions import shown
from tokbench.results.record import MetricValue, Record

GREY = "-grey"
"""What the protocol of figures on one-channel images ends with: they share no column with those on colour."""

_SEED = re.compile(rb'"seed":(?:\d+|null)')


class Context(NamedTuple):
    """What must be equal for two numbers to stand in one table."""

    kind: str
    spec: str | None
    split: str | None
    size: int | tuple[int, ...] | None
    protocol: str | None
    n: int | None

    @property
    def grey(self) -> bool:
        """Whether it is of one-channel images."""
        return (self.protocol or "").endswith(GREY)

    @classmethod
    def of(cls, record: Record) -> Context:
        data = record.data
        if data is None:
            return cls(record.kind, None, None, None, None, None)
        return cls(record.kind, data.spec, data.split, data.size, data.protocol, data.n)


class Variant(NamedTuple):
    """One definition of one metric: values of different variants never share a column."""

    name: str
    version: str
    n: int | None

    @classmethod
    def of(cls, name: str, metric: MetricValue) -> Variant:
        # What could not be measured was measured on nothing: it is not a variant of its own.
        return cls(name, metric.version, None if metric.value is None or over_codes(name, metric) else metric.n)

    def is_of(self, metric: MetricValue) -> bool:
        """Whether ``Variant.of(self.name, metric)`` is this one, ``metric`` having a value."""
        return self.version == metric.version and (self.n == metric.n or over_codes(self.name, metric))


def over_codes(name: str, metric: MetricValue) -> bool:
    """Whether the metric is counted over codes, so that its ``n`` need not be equal to compare."""
    return shown(name, metric.shown).over == "codes"


class Spread(NamedTuple):
    """Mean and sample standard deviation over seeds (``deviation`` is None for one)."""

    mean: float
    deviation: float | None

    @classmethod
    def over(cls, values: Iterable[float | None]) -> Spread | None:
        numbers = [value for value in values if value is not None and math.isfinite(value)]
        if not numbers:
            return None
        if len(numbers) == 1:
            return cls(numbers[0], None)
        mean = math.fsum(numbers) / len(numbers)
        return cls(mean, math.sqrt(math.fsum((value - mean) ** 2 for value in numbers) / (len(numbers) - 1)))


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: the records that differ only in their seed; with ``prefix`` d, decoded from the first d depths
    only, or from the d-th of ``Rate.prefixes``."""

    records: tuple[Record, ...]
    prefix: int | None = None
    _metrics: dict[str, Spread | None] = field(default_factory=dict, compare=False, repr=False)
    _prefixes: list[Entry] = field(default_factory=list, compare=False, repr=False)

    @property
    def first(self) -> Record:
        return self.records[0]

    @property
    def published(self) -> bool:
        return self.records[0].source == "published"

    @property
    def quantizer(self) -> str:
        """Its name; that of the run where nothing says."""
        return self.first.quantizer.name or self.first.name

    @property
    def depth(self) -> int | None:
        """D of the whole code stack, whatever the prefix."""
        rate = self.first.rate
        return self.first.quantizer.depth if rate is None else rate.tokens[-1]

    @property
    def downsampling(self) -> int | str | None:
        """What a position stands for: 8 (pixels a side), ``4x8x8`` (frames, rows, columns), or ``32 tokens`` where
        positions are not of a grid over the image. None of a published row, whose grid is not known."""
        record, rate = self.first, self.first.rate
        if rate is None or record.data is None or not record.data.size or self.published:
            return None
        grid = rate.tokens[:-1]
        size = (record.data.size,) * 2 if isinstance(record.data.size, int) else record.data.size
        if len(grid) != len(size):
            return f"{math.prod(grid):,} tokens"
        factors = [-(-side // positions) for side, positions in zip(size, grid, strict=True)]
        return factors[0] if len(set(factors)) == 1 else "x".join(map(str, factors))

    @property
    def generator(self) -> str | None:
        """``ar`` or ``mlm``; None for a tokenizer."""
        record = self.first
        if record.kind != "generator":
            return None
        return record.model.generator or record.model.kind or record.model.architecture or None

    @property
    def label(self) -> str:
        """In a few characters: ``rq K=256 D=4``, ``MLM on lfq K=1,024``."""
        sizes = self.codebook_sizes()
        parts = [f"{self.generator.upper()} on"] if self.generator else []
        parts.append(self.quantizer)
        parts += [f"K={sizes[0]:,}"] if sizes else []
        parts += [f"D={self.depth}"] if self.depth and self.depth > 1 else []
        return " ".join(parts)

    def codebook_sizes(self) -> list[int] | None:
        """K_1 ... K_D, or up to the prefix."""
        if self.first.rate is not None:
            return self.first.rate.codebook_sizes[: None if self.lengths else self.prefix]
        size = self.first.quantizer.codebook_size
        return None if size is None else [size] * (self.prefix or self.depth or 1)

    @property
    def lengths(self) -> list[int]:
        """``Rate.prefixes``; empty where depths refine, or nothing does."""
        return (self.first.rate.prefixes if self.first.rate is not None else None) or []

    @property
    def added(self) -> int:
        """Codes of a row of codes that its prefix has beyond the one before; of the whole row, its last part."""
        ends = [0, *self.lengths]
        last = self.prefix or len(self.lengths)
        return ends[last] - ends[last - 1]

    @property
    def steps(self) -> int:
        """How many prefixes decode, the whole one among them: the depths, or ``lengths``."""
        return len(self.lengths) or self.depth or 1

    def bits(self) -> float | None:
        """Bits per image: those of the whole stack, or H * W * sum(log2 K_d) of the prefix."""
        rate = self.first.rate
        if rate is None:
            return None
        if self.prefix is None:
            return rate.bits_per_image
        if self.lengths:
            count, sizes = self.lengths[self.prefix - 1], rate.position_sizes
            return math.fsum(map(math.log2, sizes[:count])) if sizes else count * rate.bits_per_position
        return math.prod(rate.tokens[:-1]) * sum(math.log2(size) for size in rate.codebook_sizes[: self.prefix])

    def bits_per_pixel(self) -> float | None:
        rate = self.first.rate
        if rate is None:
            return None
        if self.prefix is None or not rate.bits_per_image:
            return rate.bits_per_pixel
        return rate.bits_per_pixel * (self.bits() or 0.0) / rate.bits_per_image

    def metric_names(self) -> Iterable[str]:
        """Every metric of any seed."""
        if len(self.records) == 1:
            return self.records[0].metrics
        return dict.fromkeys(name for record in self.records for name in record.metrics)

    def measured(self, name: str) -> MetricValue | None:
        """The metric of a seed that has a value, else of any (its note says why there is none)."""
        if len(self.records) == 1:  # most rows; there may be thousands of them
            return self.records[0].metrics.get(name)
        found = [record.metrics[name] for record in self.records if name in record.metrics]
        return next((metric for metric in found if metric.value is not None), found[0] if found else None)

    def values(self, name: str) -> list[float | None]:
        """The metric of every seed; of a prefix only where it was measured by depth. In a row of codes (``lengths``)
        the use of codes is that of what the prefix adds to the one before."""
        found = [record.metrics.get(name) for record in self.records]
        if self.prefix is None:
            return [None if metric is None else metric.value for metric in found]
        depths = [(m and (self.lengths or not of_parts(name, m)) and m.by_depth) or [] for m in found]
        return [values[self.prefix - 1] if len(values) >= self.prefix else None for values in depths]

    def metric(self, name: str) -> Spread | None:
        """The metric over the seeds."""
        if name not in self._metrics:
            self._metrics[name] = Spread.over(self.values(name))
        return self._metrics[name]

    def prefixes(self) -> list[Entry]:
        """The same row after 1, 2, ... D-1 depths, where something was measured by depth."""
        if self.steps > 1 and not self._prefixes:
            lengths = [len(m.by_depth) for k, m in self.first.metrics.items() if m.by_depth and not of_parts(k, m)]
            last = min(self.steps, max(lengths, default=0) + 1)
            self._prefixes.extend(Entry(self.records, d) for d in range(1, last))
        return self._prefixes


def of_parts(name: str, metric: MetricValue) -> bool:
    """Whether ``by_depth`` is of each depth alone, not of all up to it."""
    return shown(name, metric.shown).depths == "alone"


class Gathered(NamedTuple):
    """Rows, and what was left out of them and why."""

    entries: list[Entry]
    failed: list[Record]
    superseded: int


def gather(records: Sequence[Record]) -> Gathered:
    """One entry an experiment, in the order of first appearance.

    A cell measured again counts once, by its newest line. A cell whose newest line is an error counts as failed
    only if it never succeeded. Records that differ only in their seed become one entry; two records of one
    experiment and one seed (or of none) that are different cells stay two rows.
    """
    newest: dict[tuple[str, str], Record] = {}
    failed: dict[str, Record] = {}
    superseded = 0
    for record in records:
        if record.error is not None:
            failed[record.cell] = record
            continue
        key = (record.source, record.cell)
        superseded += key in newest
        newest[key] = record
    seeds: defaultdict[tuple[Any, ...], list[Record]] = defaultdict(list)
    for record in newest.values():
        seeds[experiment(record)].append(record)
    entries: list[Entry] = []
    for group in seeds.values():
        rounds: list[dict[int | None, Record]] = []
        for record in group:
            free = next((r for r in rounds if record.seed not in r and _alike(record, next(iter(r.values())))), None)
            if free is None or record.seed is None:
                rounds.append(free := {})
            free[record.seed] = record
        entries.extend(Entry(tuple(chosen.values())) for chosen in rounds)
    done = {cell for _, cell in newest}
    return Gathered(entries, [record for cell, record in failed.items() if cell not in done], superseded)


def _alike(one: Record, other: Record) -> bool:
    """Whether what both measured was measured in the same way: else no mean may be taken over them."""
    if one.seed is None or other.seed is None:
        return False
    both = [(name, metric, other.metrics[name]) for name, metric in one.metrics.items() if name in other.metrics]
    return all(
        first.value is None or second.value is None or Variant.of(name, first).is_of(second)
        for name, first, second in both
    )


def experiment(record: Record) -> tuple[Any, ...]:
    """What is the same for all seeds of one experiment: its address, else the recipe without seed and name, else what
    the row says."""
    if record.source == "published":
        return (record.cell,)
    identity: Any = record.experiment
    if identity is None and (recipe := record.recipe):
        asked = {k: v for k, v in recipe.items() if k not in ("name", "description")}
        # Quotes inside a JSON string are escaped, so this finds keys only.
        identity = _SEED.sub(b"", json.encode(asked, order="sorted"))
    elif identity is None:
        training = record.training
        asked = {"steps": training.steps, "batch_size": training.batch_size, "data": training.data}
        identity = json.encode([record.name, record.quantizer, record.model, asked], order="sorted")
    return (Context.of(record), record.weights.which, identity)

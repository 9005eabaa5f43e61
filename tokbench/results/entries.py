"""From records to what a table row stands for: one experiment, all its seeds, whole or only its first depths."""

from __future__ import annotations

import json
import marshal
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tokbench.results.record import MetricValue, Record


# Counted over codes, not over images: their ``n`` differs between quantizers on the very same images.
CODE_METRICS = frozenset({"usage", "perplexity", "entropy", "entropy_bpp", "model_bpp"})

GREY = "-grey"
"""What the protocol of figures on one-channel images ends with: they share no column with those on colour."""

_SEED = re.compile(r'"seed": (?:\d+|null)')


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
        # What could not be measured was measured on nothing: it is no variant of its own.
        return cls(name, metric.version, None if name in CODE_METRICS or metric.value is None else metric.n)

    def is_of(self, metric: MetricValue) -> bool:
        """Whether ``Variant.of(self.name, metric)`` is this one, ``metric`` having a value."""
        return self.version == metric.version and (self.n == metric.n or (self.n is None and self.name in CODE_METRICS))


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
    """One row: the records that differ only in their seed; with ``prefix`` d, decoded from the first d depths only."""

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
    def depth(self) -> int | None:
        """D of the whole code stack, whatever the prefix."""
        record = self.first
        if record.rate is not None:
            return record.rate.tokens[-1]
        depth = record.quantizer.get("depth")
        return depth if isinstance(depth, int) else None

    @property
    def generator(self) -> str | None:
        """``ar`` or ``mlm``; None for a tokenizer."""
        record = self.first
        if record.kind != "generator":
            return None
        named = record.model.get("generator") or record.model.get("kind") or record.model.get("architecture")
        return str(named) if named else None

    @property
    def label(self) -> str:
        """In a few characters: ``rq K=256 D=4``, ``MLM on lfq K=1,024``."""
        record, sizes = self.first, self.codebook_sizes()
        parts = [f"{self.generator.upper()} on"] if self.generator else []
        parts.append(str(record.quantizer.get("name") or record.name))
        parts += [f"K={sizes[0]:,}"] if sizes else []
        parts += [f"D={self.depth}"] if self.depth and self.depth > 1 else []
        return " ".join(parts)

    def codebook_sizes(self) -> list[int] | None:
        """K_1 ... K_D, or up to the prefix."""
        record = self.first
        if record.rate is not None:
            return record.rate.codebook_sizes[: self.prefix]
        size = record.quantizer.get("codebook_size")
        return [size] * ((self.depth or 1) if self.prefix is None else self.prefix) if isinstance(size, int) else None

    def bits(self) -> float | None:
        """Bits an image: those of the whole stack, or H * W * sum(log2 K_d) of the prefix."""
        rate = self.first.rate
        if rate is None:
            return None
        if self.prefix is None:
            return rate.bits_per_image
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
        without: MetricValue | None = None
        for record in self.records:
            metric = record.metrics.get(name)
            if metric is not None and metric.value is not None:
                return metric
            without = without or metric
        return without

    def metric(self, name: str) -> Spread | None:
        """The metric over the seeds; of a prefix only where it was measured by depth."""
        if name not in self._metrics:
            self._metrics[name] = self._metric(name)
        return self._metrics[name]

    def _metric(self, name: str) -> Spread | None:
        if self.prefix is None and len(self.records) == 1:
            metric = self.records[0].metrics.get(name)
            value = None if metric is None else metric.value
            return Spread(value, None) if value is not None and math.isfinite(value) else None
        found = [record.metrics[name] for record in self.records if name in record.metrics]
        if self.prefix is None:
            return Spread.over([metric.value for metric in found])
        if name in CODE_METRICS:
            return None  # these are of one depth alone there, not of all up to it
        depths = [metric.by_depth for metric in found if metric.by_depth]
        return Spread.over(values[self.prefix - 1] for values in depths if len(values) >= self.prefix)

    def prefixes(self) -> list[Entry]:
        """The same row after 1, 2, ... D-1 depths, where something was measured by depth."""
        depth = self.depth or 1
        if depth > 1 and not self._prefixes:
            measured = {k: m for k, m in self.first.metrics.items() if k not in CODE_METRICS}
            lengths = [len(metric.by_depth) for metric in measured.values() if metric.by_depth]
            self._prefixes.extend(Entry(self.records, d) for d in range(1, min(depth, max(lengths, default=0) + 1)))
        return self._prefixes


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
    known: dict[Any, tuple[Any, ...]] = {}
    for record in newest.values():
        quick = _quick(record)
        if quick not in known:
            known[quick] = experiment(record)
        seeds[known[quick]].append(record)
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


def _quick(record: Record) -> Any:
    """Equal only for equal experiments, but not always equal for them: a tenth of the time of ``experiment``."""
    if record.experiment is not None:
        return experiment(record)
    asked = {k: v for k, v in record.recipe.items() if k not in ("name", "description", "seed")}
    if not asked:
        return record.id
    try:
        return record.source, Context.of(record), record.weights.get("which"), marshal.dumps(asked)
    except ValueError:  # something in the recipe that JSON never makes
        return record.id


def _alike(one: Record, other: Record) -> bool:
    """Whether what both measured was measured in the same way: else no mean may be taken over them."""
    if one.seed is None or other.seed is None:
        return False
    for name, metric in one.metrics.items():
        second = other.metrics.get(name)
        if second is None or metric.value is None or second.value is None:
            continue
        if metric.version != second.version or (metric.n != second.n and name not in CODE_METRICS):
            return False
    return True


def experiment(record: Record) -> tuple[Any, ...]:
    """What is the same for all seeds of one experiment: its address, else the recipe without seed and name, else what
    the row says."""
    if record.source == "published":
        return (record.cell,)
    which = record.weights.get("which")
    if record.experiment is not None:
        return (Context.of(record), which, record.experiment)
    if record.recipe:
        asked: dict[str, Any] = {k: v for k, v in record.recipe.items() if k not in ("name", "description")}
    else:
        steps = {k: record.training.get(k) for k in ("steps", "batch_size", "data")}
        asked = {"name": record.name, "quantizer": record.quantizer, "model": record.model, **steps}
    # Quotes inside a JSON string are escaped, so this finds keys only; ten times quicker than copying the recipe.
    text = _SEED.sub("", json.dumps(asked, sort_keys=True, default=str))
    return (Context.of(record), which, text)

"""Numbers per seed, how they are paired, and how tables and findings write them. Torch-free."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from operator import mul, sub, truediv
from typing import TypeVar

from tokbench.results.entries import Entry, Spread
from tokbench.results.render import plain_table

TRAIN, HELD_OUT = "train_bits_per_code", "held_out_bits_per_code"  # the curves that records keep
Row = TypeVar("Row")


class SeedValues(dict[int, float]):
    """One number for every seed. Arithmetic with another pairs the seeds that both have, in their order."""

    def __sub__(self, other: SeedValues | float) -> SeedValues:
        return self._with(other, sub)

    def __mul__(self, other: SeedValues | float) -> SeedValues:
        return self._with(other, mul)

    def __truediv__(self, other: SeedValues | float) -> SeedValues:
        return self._with(other, truediv)

    def _with(self, other: SeedValues | float, operation: Callable[[float, float], float]) -> SeedValues:
        if not isinstance(other, SeedValues):
            return SeedValues({seed: operation(self[seed], other) for seed in sorted(self)})
        return SeedValues({seed: operation(self[seed], other[seed]) for seed in sorted(self.keys() & other.keys())})

    @property
    def mean(self) -> float:
        """Over the seeds; there must be one."""
        return sum(self.values()) / len(self)

    @property
    def spread(self) -> Spread | None:
        """Mean and sample standard deviation over the seeds; None where there is none."""
        return Spread.over(self.values())


def by_seed(entry: Entry | None, metric: str) -> SeedValues:
    """The metric of every seed that has it; of a prefix of depths, where the entry is one."""
    values = zip(entry.records, entry.values(metric), strict=True) if entry is not None else ()
    numbers = {record.seed: value for record, value in values if value is not None and math.isfinite(value)}
    return SeedValues({seed: value for seed, value in numbers.items() if seed is not None})


def step_seconds(entry: Entry | None) -> SeedValues:
    """Seconds of a train step of every seed, over the whole run."""
    return SeedValues(
        {
            record.seed: record.training["seconds"] / record.training["steps"]
            for record in (entry.records if entry is not None else ())
            if record.training.get("seconds") and record.training.get("steps") and record.seed is not None
        }
    )


def drawing_seconds(entry: Entry) -> SeedValues:
    """Seconds that drawing the samples and decoding them took, of every seed."""
    found = {record.seed: record.timing.get("drawing") for record in entry.records}
    return SeedValues({seed: float(value) for seed, value in found.items() if seed is not None and value})


def curves(entry: Entry | None, name: str) -> dict[int, dict[int, float]]:
    """Bits per code by training step, of every seed that has the curve; ``name`` is ``TRAIN`` or ``HELD_OUT``."""
    kept = {r.seed: r.training.get("curve") or {} for r in (entry.records if entry is not None else ())}
    return {
        seed: dict(zip(map(int, curve["step"]), curve[name], strict=True))
        for seed, curve in kept.items()
        if name in curve and seed is not None
    }


def mean_curve(entry: Entry | None, name: str) -> list[tuple[int, Spread]]:
    """Mean and deviation over seeds at every step that all of them measured."""
    found = list(curves(entry, name).values())
    steps = sorted(set.intersection(*(set(curve) for curve in found))) if found else []
    spreads = [(step, Spread.over(curve[step] for curve in found)) for step in steps]
    return [(step, spread) for step, spread in spreads if spread is not None]


def gap(entry: Entry | None) -> SeedValues:
    """Held-out minus training bits per code at the end of training, of every seed.

    The training images are those of the last batch: the same ones in all runs of a seed on the same images.
    """
    train, held = (
        SeedValues({seed: list(curve.values())[-1] for seed, curve in curves(entry, name).items()})
        for name in (TRAIN, HELD_OUT)
    )
    return held - train


def spread_text(spread: Spread | None, digits: str = ".4g") -> str:
    """``12.31 ± 0.05``; ``-`` where nothing was measured, and no deviation where there is one seed."""
    if spread is None:
        return "-"
    return f"{spread.mean:{digits}}" + ("" if spread.deviation is None else f" ± {spread.deviation:.2g}")


def against(a: SeedValues, b: SeedValues, unit: str = "", digits: str = ".4g") -> str:
    """Both means over the seeds that both have: ``1.2 against 3.4 s``; empty where there is none."""
    shared = a.keys() & b.keys()
    if not shared:
        return ""
    one, other = (SeedValues({seed: of[seed] for seed in shared}).mean for of in (a, b))
    return f"{one:{digits}} against {other:{digits}} {unit}".rstrip()


def table_of(rows: Iterable[Row], columns: Mapping[str, Callable[[Row], str]], words: int = 1) -> str:
    """A Markdown table of the columns, by heading; the first ``words`` of them are text, the others numbers."""
    cells = ([cell(row) for cell in columns.values()] for row in rows)
    return plain_table(list(columns), cells, range(words, len(columns))) + "\n"


def named_table(
    first: str, rows: Iterable[tuple[str, Entry]], columns: Mapping[str, Callable[[Entry], str]], words: int = 1
) -> str:
    """A row for each entry: its name under the heading ``first``, the columns, and how many seeds it has."""
    cells = ([name, *(cell(entry) for cell in columns.values()), str(len(entry.records))] for name, entry in rows)
    return plain_table([first, *columns, "seeds"], cells, range(words, len(columns) + 2)) + "\n"


def of_metric(metric: str, digits: str = ".4g") -> Callable[[Entry], str]:
    """A column: the metric over the seeds."""
    return lambda entry: spread_text(entry.metric(metric), digits)


_USUAL: Mapping[str, Callable[[Entry], str]] = {
    "parameters": lambda entry: f"{entry.first.model.get('parameters', 0):,}",
    "steps": lambda entry: f"{entry.first.training.get('steps', 0):,}",
    "held-out NLL (bits/code)": of_metric("nll_bits_per_code", ".3f"),
    "model-coded rate (bpp)": of_metric("model_bpp", ".4f"),
}


def usual(*heads: str) -> dict[str, Callable[[Entry], str]]:
    """Columns of generators that several claims have, by heading."""
    return {head: _USUAL[head] for head in heads}

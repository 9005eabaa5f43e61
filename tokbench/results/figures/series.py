"""What is drawn: panels of lines, the same for matplotlib's figures and the page's charts. Knows neither."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tokbench.results.artifacts import artifact_text
from tokbench.results.curves import curves, front, labels
from tokbench.results.definitions import heading
from tokbench.results.entries import Entry, Spread, of_parts
from tokbench.results.record import Record, is_shown
from tokbench.results.styles import RATES

LINES = ("-", "--", ":", "-.")
_PARTS = "-."  # of a curve over the first codes of one model, beside the lines of RATES
_FILLS = ("full", "none", "left", "right")
_GENERATORS = {"ar": "-", "mlm": "--", None: "-."}
_MOST_NAMED = 12  # training runs, each by its own name

Point = tuple[float, float]
Log = tuple[Entry, Record, list[dict[str, float]]]


class Series(NamedTuple):
    """One line, or its marks.

    Args:
        name: in the legend; an empty one keeps it out of there.
        quantizer: whose colour and marker it has; None is grey.
        errors: standard deviations over seeds, by point.
        line: matplotlib's style; empty for marks alone.
        marks: matplotlib's fill style (``none``: hollow); empty for a line alone.
        about: what each mark is.
        group: what a click on the name hides as well.
    """

    name: str
    quantizer: str | None
    points: Sequence[Point]
    errors: Sequence[float | None] = ()
    line: str = "-"
    marks: str = "full"
    about: Sequence[str] = ()
    group: str = ""


class Panel(NamedTuple):
    """Lines over one pair of axes; ``x`` and ``y`` are their titles."""

    x: str
    y: str
    series: list[Series]
    scale: Literal["rates", "sizes", "depths", "steps", "batches", "compute", "shares", "pixels"]


def metric_label(entries: Sequence[Entry], metric: str) -> str:
    """``PSNR (dB) ↑`` as the records carry it."""
    found = next((m for entry in entries if (m := entry.measured(metric)) is not None), None)
    return metric if found is None else heading(found.label, found.unit, found.direction)


def rate_distortion(entries: Sequence[Entry], metric: str) -> Panel | None:
    """A metric against rate: every quantizer a curve through its best points, each kind of rate a line style, and a
    curve of its own for each model whose first codes decode."""
    found = {rate: curves(entries, metric, rate) for rate in RATES}
    drawn = [rate for rate in RATES if found[rate]]
    if not drawn:
        return None
    keys = list(dict.fromkeys(key for of_rate in found.values() for key in of_rate))
    names = labels(keys)
    higher = next(m.direction for e in entries if (m := e.measured(metric)) is not None) != "lower"
    series: list[Series] = []
    for key in keys:
        twins = [other for other in keys if other.quantizer == key.quantizer]
        name = names[key]
        series += _parts([p.entry for p in found["fixed"].get(key, [])], metric, name)
        for rate, (word, line) in RATES.items():
            if not (points := found[rate].get(key)):
                continue
            places = [(p.bpp, p.value) for p in points]
            fill = _FILLS[twins.index(key) % len(_FILLS)] if rate == "fixed" else "none"
            about = [f"{_about(p.entry)} ({word})" for p in points]
            best = front(places, higher)
            series.append(Series("", key.quantizer, best, line=line, marks="", group=names[key]))
            errors = [p.deviation for p in points]
            series.append(Series(name, key.quantizer, places, errors, "", fill, about, names[key]))
            name = ""
    if len(drawn) > 1:
        series += [Series(RATES[rate][0], None, [], line=RATES[rate][1], marks="") for rate in drawn]
    if any(line.line == _PARTS for line in series):
        series.append(Series("first codes of one model", None, [], line=_PARTS, marks=""))
    x = "bits per pixel" if len(drawn) > 1 else f"bits per pixel ({RATES[drawn[0]][0]})"
    return Panel(x, metric_label(entries, metric), series, "rates")


def _parts(entries: Sequence[Entry], metric: str, group: str) -> list[Series]:
    """Each model's curve through what its first codes give, to the whole."""
    series = []
    for entry in entries:
        if (measured := entry.measured(metric)) is None or of_parts(metric, measured):
            continue
        found = [(p, p.bits_per_pixel(), p.metric(metric)) for p in [*entry.prefixes(), entry]]
        points = [(part, (bpp, spread.mean), spread.deviation) for part, bpp, spread in found if bpp and spread]
        if len(points) > 1:
            steps, places, errors = zip(*points, strict=True)
            about = [_about(entry) + (f", first {p.prefix} of {p.steps}" if p.prefix else "") for p in steps]
            series.append(Series("", entry.quantizer, places, errors, _PARTS, "none", about, group))
    return series


def depth(entries: Sequence[Entry], metric: str) -> Panel | None:
    """A metric against how many depths are decoded: what each further residual code is worth."""
    series: list[Series] = []
    seen: dict[str, int] = {}
    for entry in sorted(entries, key=lambda e: (e.codebook_sizes() or [0], e.depth or 0)):
        found = [(p.prefix or entry.steps, p.metric(metric)) for p in [*entry.prefixes(), entry]]
        points = [(depths, spread) for depths, spread in found if spread is not None]
        if len(points) > 1:
            line = LINES[seen.get(entry.quantizer, 0) % len(LINES)]
            seen[entry.quantizer] = seen.get(entry.quantizer, 0) + 1
            series.append(_spreads(entry.label, entry.quantizer, points, line, _about(entry)))
    return Panel("depths decoded", metric_label(entries, metric), series, "depths") if series else None


def compute(entries: Sequence[Entry], metric: str) -> Panel | None:
    """A metric against what training cost: every quantizer at one rate a line."""
    lines: dict[tuple[str, str], list[tuple[float, Spread]]] = {}
    for entry in entries:
        spread, cost = entry.metric(metric), Spread.over(record.training.flops for record in entry.records)
        if spread is not None and cost is not None and cost.mean > 0:
            bpp = entry.bits_per_pixel()
            lines.setdefault((entry.quantizer, "" if bpp is None else f"{bpp:.3g} bpp"), []).append((cost.mean, spread))
    series = [
        _spreads(f"{name} {rate}".strip(), name, sorted(points), "-", f"{name} {rate}".strip())
        for (name, rate), points in sorted(lines.items())
    ]
    return Panel("training compute (FLOPs)", metric_label(entries, metric), series, "compute") if series else None


def acceptance(entries: Sequence[Entry], metric: str) -> Panel | None:
    """A metric of drawn images against the share that a judge kept of them: each generator and judge a line."""
    lines: dict[tuple[str, str], list[tuple[float, Spread]]] = {}
    for entry in entries:
        spread, cost = entry.metric(metric), entry.first.timing.get("rejection")
        share, judge = (cost.get("reject"), str(cost.get("judge"))) if isinstance(cost, dict) else (None, "")
        if spread is None or not isinstance(share, int | float) or not 0 < share <= 1:
            continue
        name = entry.first.name.removesuffix(f", {share:g} kept by {judge}")  # as evaluate-generator calls it
        lines.setdefault((entry.quantizer, f"{name} by {judge}"), []).append((share, spread))
    series = [
        _spreads(name, quantizer, sorted(points), LINES[number % len(LINES)], name)
        for number, ((quantizer, name), points) in enumerate(sorted(lines.items()))
    ]
    return Panel("acceptance rate", metric_label(entries, metric), series, "shares") if series else None


def reading(entries: Sequence[Entry], metric: str) -> Panel | None:
    """Character error rates against the size of the text, where the metric says them (``by_size``); grey: what was
    misread of the originals."""
    drawn, originals = [], {}
    for number, entry in enumerate(entries):
        of_size: dict[float, list[float]] = {}
        for record in entry.records:
            for size, cer, original in _read_by_size(record, metric):
                of_size.setdefault(size, []).append(cer)
                originals[size] = original
        spreads = [(size, Spread.over(found)) for size, found in sorted(of_size.items())]
        points = [(size, spread) for size, spread in spreads if spread is not None]
        if points:
            line = LINES[number % len(LINES)]
            drawn.append(_spreads(entry.label, entry.quantizer, points, line, _about(entry)))
    if not drawn:
        return None
    drawn.append(Series("originals", None, sorted(originals.items())))
    return Panel("size of the text (pixels)", "character error rate ↓", drawn, "pixels")


def _read_by_size(record: Record, metric: str) -> list[tuple[float, float, float]]:
    """(size, error rate, that of the originals), as far as the record says so in numbers."""
    rows = record.said_of(metric).get("by_size") if b'"by_size"' in record.raw else None
    numbers = [numbers_in(row) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    whole = [row for row in numbers if {"size", "cer", "cer_originals"} <= row.keys() and row["size"] > 0]
    return [(row["size"], row["cer"], row["cer_originals"]) for row in whole]


def codebook(entries: Sequence[Entry], metric: str) -> Panel | None:
    """A metric against codebook size, AR solid, MLM dashed, tokenizers alone dash-dotted: the form of figure 1 of
    MAGVIT-v2 (Yu et al., arXiv:2310.05737). Of several rows at one size the best."""
    lines: dict[tuple[str, int, str | None], dict[float, Spread]] = {}
    higher = any(m.direction == "higher" for e in entries if (m := e.measured(metric)) is not None)
    for entry in entries:
        spread, size = entry.metric(metric), _codebook_size(entry)
        if spread is not None and size:
            line = lines.setdefault((entry.quantizer, entry.first.quantizer.depth or 1, entry.generator), {})
            if size not in line or (spread.mean > line[size].mean) == higher:
                line[size] = spread
    series = []
    for key in sorted(lines, key=lambda key: tuple(map(str, key))):
        quantizer, depths, generator = key
        name = quantizer + (f" D={depths}" if depths > 1 else "") + (f" {generator.upper()}" if generator else "")
        style = _GENERATORS.get(generator, ":")
        series.append(_spreads(name, quantizer, sorted(lines[key].items()), style, name))
    return Panel("codebook size", metric_label(entries, metric), series, "sizes") if series else None


def training(logs: Sequence[Log], name: str) -> Panel:
    """A value of the training logs against steps; runs of one quantizer share its colour and differ in line style."""
    series = []
    seen: dict[str, int] = {}
    for entry, record, log in logs:
        quantizer = entry.quantizer
        number = seen[quantizer] = seen.get(quantizer, 0) + 1
        points = [(line["step"], line[name]) for line in log if name in line]
        about = _about(entry) + (f", seed {record.seed}" if len(entry.records) > 1 else "")
        own = about if len(logs) <= _MOST_NAMED else quantizer if number == 1 else ""
        line = LINES[(number - 1) % len(LINES)]
        group = own if len(logs) <= _MOST_NAMED else quantizer
        series.append(Series(own, quantizer, points, line=line, marks="", about=[about] * len(points), group=group))
    return Panel("step", name, series, "steps")


def read_logs(entries: Sequence[Entry], folder: Path, most: int) -> list[Log]:
    """The training logs that are where the records say, of ``most`` runs at most."""
    logs: list[Log] = []
    for entry, record in [(each, record) for each in entries for record in each.records]:
        if len(logs) < most and (log := _read_log(record, folder)):
            logs.append((entry, record, log))
    return logs


def logged(logs: Sequence[Log]) -> list[str]:
    """The names of what was logged, PSNR and loss first."""
    names = {key for _, _, log in logs for line in log for key in line} - {"step", "seconds"}
    return sorted(names, key=lambda name: (name != "psnr", name != "loss", name))


def _read_log(record: Record, folder: Path) -> list[dict[str, float]]:
    """The lines of the artifact ``log``, or of the ``log.jsonl`` beside the trained tokenizer; empty if unreadable."""
    file = record.artifacts.get("log")
    if file is None and "tokenizer" in record.artifacts:
        file = f"{record.artifacts['tokenizer']}/../log.jsonl"
    try:
        lines = [json.loads(line) for line in (artifact_text(folder, file) or "" if file else "").splitlines()]
    except (ValueError, RecursionError):
        return []
    numbers = [numbers_in(line) for line in lines if isinstance(line, dict)]
    return [line for line in numbers if "step" in line]


def numbers_in(line: dict[str, Any]) -> dict[str, float]:
    """What of it can be drawn."""
    return {key: value for key, value in line.items() if isinstance(value, int | float) and is_shown(value)}


def _codebook_size(entry: Entry) -> int | None:
    """That of the quantizer: 2^18 for an LFQ of 18 bits, whether or not it is modelled in two halves."""
    sizes = entry.codebook_sizes()
    return entry.first.quantizer.codebook_size or (sizes[0] if sizes else None)


def _spreads(name: str, quantizer: str, found: Sequence[tuple[float, Spread]], line: str, about: str) -> Series:
    points = [(x, spread.mean) for x, spread in found]
    return Series(name, quantizer, points, [spread.deviation for _, spread in found], line, about=[about] * len(points))


def _about(entry: Entry) -> str:
    name = entry.first.name
    return entry.label + ("" if name == entry.quantizer else f" · {name}")

"""The comparison table, a pure function of records: ``comparison(records)``, then ``to_markdown(table)`` and others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokbench.errors import TokbenchError, did_you_mean, noun_of, size_text
from tokbench.results.attributes import TELLING, Values, attribute, default_keys, resolve
from tokbench.results.columns import Value, metric_column
from tokbench.results.curves import add_bd_rate
from tokbench.results.definitions import shown
from tokbench.results.entries import Context, Entry, Gathered, Spread, Variant, gather
from tokbench.results.exports import to_csv, to_html, to_json, to_latex
from tokbench.results.layout import Row, Section, Table, add_attribute, add_errors, add_metric
from tokbench.results.record import Record
from tokbench.results.render import to_markdown
from tokbench.results.terminal import to_terminal

__all__ = ["comparison", "to_csv", "to_html", "to_json", "to_latex", "to_markdown", "to_terminal"]

_SPREAD = "± is the standard deviation over seeds."
_UNPUBLISHED = "- in a published row: the source gives no such number."
_PUBLISHED = (
    "† published: measured by its authors under their own protocol, not by tokbench; never in bold; "
    "codes are tokens×depth."
)


def comparison(
    records: Sequence[Record],
    *,
    columns: Sequence[str] | None = None,
    sort: str | None = None,
    group_by: str | None = None,
    published: bool | Sequence[Record] = False,
    unverified: bool = False,
    by_depth: bool = False,
    errors: bool = False,
    bd_rate: str | None = None,
    bd_metric: str = "psnr",
    also: Sequence[str] = (),
) -> Table:
    """Rows of equal data, size and protocol in one section, one row an experiment, best values marked.

    Args:
        records: measured ones, and any published ones already among them.
        columns: keys, aliases, families (``lpips``) or dotted paths (``recipe.training.steps``); default: identity,
            rate, the usual metrics that were measured, cost.
        sort: a column; ``-`` before it reverses. Metrics sort best first. Default: bits per pixel, then PSNR.
        group_by: a column whose values make sections of their own.
        published: True adds the published rows that come with tokbench; records add those.
        unverified: also the published rows whose numbers nobody checked.
        by_depth: also one row for the first 1, 2, ... D-1 depths of every residual stack.
        errors: also the standard error of every mean over images.
        bd_rate: a quantizer; adds each other quantizer's Bjontegaard rate difference to it.
        bd_metric: the quality that difference is taken at.
        also: columns beside the default ones.

    Raises:
        TokbenchError: a column that is not there.
    """
    gathered = gather([*records, *_published(published, unverified)])
    metrics = list(dict.fromkeys(name for entry in gathered.entries for name in entry.first.metrics))
    grouping = attribute(resolve([group_by], metrics)[0]) if group_by else None
    keys = resolve(columns, metrics) if columns else None
    more = resolve(also, metrics)
    ordering = (resolve([sort.removeprefix("-")], metrics)[0], sort.startswith("-")) if sort else None
    if bd_rate:
        _check_quantizer(bd_rate, gathered.entries)
    parts: dict[tuple[Any, ...], list[Entry]] = {}
    for entry, context in zip(gathered.entries, _contexts(gathered.entries), strict=True):
        value = grouping.value(entry) if grouping else None
        parts.setdefault((context, value), []).append(entry)
    sections = []
    for (context, value), entries in parts.items():
        title = context_title(context, entries)
        if grouping:
            title += f" · {grouping.column.label} {grouping.column.format(_plain(value))}"
        section = _section(title, context, entries, keys, ordering, by_depth, more)
        if bd_rate and context.kind == "tokenizer":
            add_bd_rate(section, entries, bd_rate, bd_metric)
        if errors:
            add_errors(section)
        sections.append(section)
    return Table(sections, _remarks(gathered), gathered.failed)


def _check_quantizer(name: str, entries: Sequence[Entry]) -> None:
    known = {entry.quantizer for entry in entries if not entry.published}
    if name not in known:
        raise TokbenchError(f"BD-rate against {name!r}: no row has that quantizer{did_you_mean(name, known)}")


def _published(wanted: bool | Sequence[Record], unverified: bool) -> list[Record]:
    if not wanted:
        return []
    from tokbench.results.published import load, verified

    rows = load() if wanted is True else list(wanted)
    return rows if unverified else verified(rows)


def _contexts(entries: Sequence[Entry]) -> list[Context]:
    """Each entry's section. A published row goes to the measured rows of its dataset and size, where there are any."""
    own = [Context.of(entry.first) for entry in entries]
    measured = dict.fromkeys(context for entry, context in zip(entries, own, strict=True) if not entry.published)
    return [
        next((c for c in measured if _same_images(c, context)), context) if entry.published else context
        for entry, context in zip(entries, own, strict=True)
    ]


def _same_images(measured: Context, published: Context) -> bool:
    same = measured.kind == published.kind and measured.size == published.size and not measured.grey
    return same and (published.spec or "").lower() in (measured.spec or "").lower()


def context_title(context: Context, entries: Sequence[Entry]) -> str:
    """What was measured, and on what: ``Tokenizers · photos (eval) · 64×64 · 96 images · protocol tokbench-v1``."""
    kinds = {"tokenizer": "Tokenizers", "generator": "Generators", "benchmark": "Benchmarks"}
    parts = [kinds[context.kind]]
    if context.spec is None:
        return " · ".join([*parts, "data not recorded"])
    parts.append(f"{context.spec} ({context.split})" if context.split else context.spec)
    parts += [size_text(context.size).replace("x", "×")] if context.size is not None else []
    if all(entry.published for entry in entries):
        return " · ".join([*parts, "published"])
    known = {record.data.of for entry in entries for record in entry.records if record.data is not None} - {None}
    among = f" of {max(filter(None, known)):,}" if known else ""
    return " · ".join([*parts, f"{context.n:,}{among} {noun_of(context.size)}s", f"protocol {context.protocol}"])


def _section(
    title: str,
    context: Context,
    entries: list[Entry],
    wanted: Sequence[str] | None,
    ordering: tuple[str, bool] | None,
    by_depth: bool,
    also: Sequence[str],
) -> Section:
    records = [record for entry in entries for record in entry.records]
    variants = _variants(entries)
    entries = _sorted(entries, ordering, records)
    values = Values(entries)
    if wanted is None:
        keys = _telling_apart(default_keys(name for name in variants if _usual(name, records)), entries, values)
        keys = list(dict.fromkeys([*keys[:-1], *also, keys[-1]]))
    else:
        keys = list(wanted)
    # Nothing here has a value: a metric only another section has, a cost nobody published.
    keys = [key for key in keys if key in variants or (key in wanted if wanted else values.any(key))]
    if by_depth:
        entries = [each for entry in entries for each in [*entry.prefixes(), entry]]
        values = Values(entries)
    section = Section(title, context, [], [Row(entry, []) for entry in entries])
    for key in keys:
        if key in variants:
            for variant in variants[key]:
                add_metric(section, metric_column(key, records, variant), variant, len(variants[key]) > 1)
        else:
            add_attribute(section, key, values.of(key))
    for name, several in variants.items():
        if len(several) > 1 and name in keys:
            section.remarks.append(f"{name} was computed in {len(several)} ways: one column for each, not comparable.")
    if remark := _unequal(entries):
        section.remarks.append(remark)
    if any(cell.deviation is not None for row in section.rows for cell in row.cells):
        section.remarks.append(_SPREAD)
    if any(entry.published for entry in entries):
        section.remarks.append(_PUBLISHED)
        if any(cell.value is None for row in section.rows if row.entry.published for cell in row.cells):
            section.remarks.append(_UNPUBLISHED)
    return section


def _unequal(entries: Sequence[Entry]) -> str:
    """That rows of a table in which something was tuned were not tuned alike; empty where they were."""
    trials: dict[int, list[str]] = {}
    for entry in entries:
        if entry.prefix is None and not entry.published:
            found = attribute("trials").value(entry)
            trials.setdefault(found if isinstance(found, int) else 0, []).append(entry.label)
    if len(trials) < 2:
        return ""
    shares = [f"{count} trials for {', '.join(dict.fromkeys(of))}" for count, of in sorted(trials.items())]
    return f"Unequal tuning: {'; '.join(shares)}."


def _variants(entries: Sequence[Entry]) -> dict[str, list[Variant]]:
    """Every metric's definitions among measured rows; published values join the first, marked as what they are."""
    found: dict[str, list[Variant]] = {}
    missing: dict[str, Variant] = {}
    for published in (False, True):
        for entry in entries:
            if entry.published != published:
                continue
            for name in entry.metric_names():
                metric = entry.measured(name)
                assert metric is not None
                several = found.setdefault(name, [])
                if metric.value is None:
                    missing.setdefault(name, Variant.of(name, metric))
                elif not any(variant.is_of(metric) for variant in several) and not (several and published):
                    several.append(Variant.of(name, metric))
    return {name: several or [missing[name]] for name, several in found.items()}


def _usual(name: str, records: Sequence[Record]) -> bool:
    metric = next(record.metrics[name] for record in records if name in record.metrics)
    return shown(name, metric.shown).usual


def _telling_apart(keys: list[str], entries: Sequence[Entry], values: Values) -> list[str]:
    chosen = ["quantizer", "generator", "K", "D", "codes"]
    added: list[str] = []
    last: list[str] = []
    if any(entry.published for entry in entries):
        added, last = ["name"], ["source"]
        chosen.append("name")
    alike: list[Any] = list(zip(*(values.of(key) for key in chosen), strict=True))  # equal for rows that look the same
    for key in TELLING:
        if len(set(alike)) == len(entries):
            break
        if key not in added and len(set(values.of(key))) > 1:
            added.append(key)
            alike = list(zip(alike, values.of(key), strict=True))
    return [keys[0], *added, *keys[1:], *last]


def _sorted(entries: list[Entry], ordering: tuple[str, bool] | None, records: Sequence[Record]) -> list[Entry]:
    if ordering is None:
        return sorted(entries, key=lambda e: (e.published, _order(e.bits_per_pixel()), _order(e.metric("psnr"))))
    key, reverse = ordering
    directions = {record.metrics[key].direction for record in records if key in record.metrics}
    if directions:
        descending = reverse != ("higher" in directions)
        return sorted(entries, key=lambda e: (e.published, _order(e.metric(key), descending)))
    value = attribute(key).value
    return sorted(entries, key=lambda e: (e.published, _order(value(e), reverse)))


class _Reversed(str):
    def __lt__(self, other: str) -> bool:
        return str(self) > str(other)


def _order(value: Value | Spread, descending: bool = False) -> tuple[int, float, str]:
    """A key that sorts numbers before text before missing values, whichever way it runs."""
    plain = _plain(value)
    if plain is None:
        return (2, 0.0, "")
    if isinstance(plain, str):
        return (1, 0.0, _Reversed(plain) if descending else plain)
    return (0, -plain if descending else plain, "")


def _plain(value: Value | Spread) -> Value:
    return value.mean if isinstance(value, Spread) else value


def _remarks(gathered: Gathered) -> list[str]:
    remarks = [f"failed, in no table: {record.name} ({record.id}): {record.error}" for record in gathered.failed]
    if gathered.superseded:
        remarks.append(f"{gathered.superseded} older records of cells measured again are not shown.")
    return remarks

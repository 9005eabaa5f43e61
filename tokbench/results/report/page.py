"""From records to the page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from tokbench.results.bulk import without_collector
from tokbench.results.record import Record
from tokbench.results.report.charts import charts
from tokbench.results.report.pictures import gather_pictures
from tokbench.results.table import Section, comparison

MOST_PICTURES = 24


def build(
    records: Sequence[Record],
    folder: Path,
    *,
    title: str = "tokbench",
    damaged: Sequence[tuple[int, str]] = (),
    published: bool | Sequence[Record] = False,
    unverified: bool = False,
) -> str:
    """The whole page as text: no other file, no network.

    Args:
        folder: what the records' artifacts are relative to; pictures that are not there are named on the page.
        damaged: lines of the store that could not be used, named on the page.
        published, unverified: as for ``comparison``.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    with without_collector():
        table = comparison(records, by_depth=True, published=published, unverified=unverified)
        entries = [row.entry for s in table.sections for row in s.rows if row.entry.prefix is None]
        pictures, more = gather_pictures([e for e in entries if not e.published], folder, MOST_PICTURES)
        environment = Environment(
            loader=PackageLoader("tokbench.results.report"), autoescape=True, undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        files = resources.files("tokbench.results.report") / "templates"
        template = environment.get_template("report.html")
        return template.render(
            title=title,
            style=Markup((files / "report.css").read_text(encoding="utf-8")),
            script=Markup((files / "report.js").read_text(encoding="utf-8")),
            plotly=Markup(get_plotlyjs()),
            measured=sum(1 for e in entries if not e.published),
            newest=max((record.created for record in records), default="")[:10],
            sections=[_section(section) for section in table.sections],
            remarks=[remark for remark in table.remarks if not remark.startswith("failed")],
            charts=Markup(_script_json(drawn := charts(entries, folder))),
            chart_titles=[(chart["title"], chart["about"], [o["label"] for o in chart["options"]]) for chart in drawn],
            pictures=pictures,
            more_pictures=more,
            failures=table.failed,
            damaged=damaged,
            environments=_environments(records),
        )


def _section(section: Section) -> dict[str, Any]:
    quantizers = [str(row.entry.first.quantizer.get("name") or "-") for row in section.rows]
    rows = []
    for row, quantizer in zip(section.rows, quantizers, strict=True):
        kind = "published" if row.entry.published else "prefix" if row.entry.prefix is not None else "measured"
        cells = [
            {
                "text": cell.text,
                "value": "" if cell.value is None else cell.value,
                "best": cell.best,
                "note": "" if cell.note is None else str(cell.note + 1),
                "number": column.numeric,
            }
            for column, cell in zip(section.columns, row.cells, strict=True)
        ]
        rows.append({"kind": kind, "quantizer": quantizer, "cells": cells})
    return {
        "title": section.title,
        "columns": section.columns,
        "rows": rows,
        "quantizers": sorted(set(quantizers)),
        "prefixes": any(row["kind"] == "prefix" for row in rows),
        "notes": section.notes,
        "remarks": section.remarks,
    }


def _environments(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Each environment and revision once, with how many records came from it."""
    counted: Counter[str] = Counter()
    for record in records:
        git = {"revision": record.git.revision, "dirty": record.git.dirty} if record.git else {}
        counted[json.dumps({"environment": record.environment, "git": git}, sort_keys=True, default=str)] += 1
    found = []
    for text, count in counted.most_common():
        content = json.loads(text)
        git = content["git"]
        revision = git.get("revision")
        state = {True: ", with uncommitted changes", False: ", clean"}.get(git.get("dirty"), "")
        values = {key: _plain(value) for key, value in content["environment"].items()}
        found.append({"count": count, "git": f"{revision}{state}" if revision else "not recorded", "values": values})
    return found


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _script_json(content: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").replace("\u2028", "\\u2028")

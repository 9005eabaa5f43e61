"""From records to the page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from tokbench.errors import visible
from tokbench.results.exports import html_table, quantizer_of
from tokbench.results.layout import Section
from tokbench.results.record import Record
from tokbench.results.report.charts import charts
from tokbench.results.report.images import gather_images
from tokbench.results.report.versus import versus
from tokbench.results.table import comparison
from tokbench.secrets import without_secrets

MOST_IMAGES = 24


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
        folder: what the records' artifacts are relative to; images that are not there are named on the page.
        damaged: lines of the store that could not be used, named on the page.
        published, unverified: as for ``comparison``.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    table = comparison(records, by_depth=True, published=published, unverified=unverified)
    entries = [row.entry for s in table.sections for row in s.rows if row.entry.prefix is None]
    images, more = gather_images([e for e in entries if not e.published], folder, MOST_IMAGES)
    environment = Environment(
        loader=PackageLoader("tokbench.results.report"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, finalize=lambda value: visible(value) if type(value) is str else value,
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
        sections=[_section(section, number) for number, section in enumerate(table.sections, 1)],
        remarks=[remark for remark in table.remarks if not remark.startswith("failed")],
        charts=Markup(_script_json(drawn := charts(entries, folder))),
        chart_titles=[(chart["title"], chart["about"], [o["label"] for o in chart["options"]]) for chart in drawn],
        images=images,
        versus=(pairs := versus(images)),
        versus_json=Markup(_script_json(pairs)),
        more_images=more,
        failures=table.failed,
        damaged=damaged,
        environments=_environments(records),
    )


def _section(section: Section, number: int) -> dict[str, Any]:
    from markupsafe import Markup

    return {
        "title": section.title,
        "table": Markup(html_table(section, body=f"rows-{number}")),
        "quantizers": sorted({quantizer_of(row) for row in section.rows}),
        "prefixes": any(row.entry.prefix is not None for row in section.rows),
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
    """JSON that holds no secret and cannot end the script element it stands in."""
    text = json.dumps(without_secrets(content), ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").replace("\u2028", "\\u2028")

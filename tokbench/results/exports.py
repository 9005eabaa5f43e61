"""A comparison table for papers and programs: CSV, JSON, LaTeX (booktabs) and a piece of HTML."""

from __future__ import annotations

import csv
import io
import json
import re
from html import escape
from typing import Any

from tokbench.errors import noun_of, size_text, visible
from tokbench.results.layout import Row, Section, Table, TableCell
from tokbench.results.render import EMPTY
from tokbench.secrets import without_secrets

_CONTEXT = ("kind", "data", "split", "size", "protocol")


def to_csv(table: Table) -> str:
    """All sections in one sheet: what was measured on, how many (``images``, ``clips``), source and prefix first, then
    unrounded values.

    ``NAME_sd`` is the standard deviation over seeds, ``NAME_se`` the standard error over images. A metric of two
    definitions has a column for each, its version behind an ``@``.
    """
    keys = list(dict.fromkeys(column.key for section in table.sections for column in section.columns))
    spreads = {name for section in table.sections for row in section.rows for name in _spreads(section, row)}
    counts = dict.fromkeys(_counted(section) for section in table.sections) or ["images"]
    header = [*_CONTEXT, *counts, "source", "first_depths"]
    for key in keys:
        if key != "source":
            header += [key, *(name for name in (f"{key}_sd", f"{key}_se") if name in spreads)]
    sheet = io.StringIO()
    writer = csv.DictWriter(sheet, header, restval="", lineterminator="\n")
    writer.writerow({key: _spreadsheet(key) for key in header})
    for section in table.sections:
        for row in section.rows:
            values = {column.key: cell.value for column, cell in zip(section.columns, row.cells, strict=True)}
            about = {**_context(section, row), "source": row.entry.first.source, "first_depths": row.entry.prefix}
            writer.writerow({key: _spreadsheet(v) for key, v in {**values, **_spreads(section, row), **about}.items()})
    return sheet.getvalue()


_FORMULA = "=+-@\uff1d\uff0b\uff0d\uff20\u2212"  # full-width forms too: some programs read them alike


def _spreadsheet(value: Any) -> Any:
    """A cell that spreadsheets take for a number or for text: text that begins as a formula does gets a quote before
    it, which they do not show. Control characters are escaped, tabs and line ends among them."""
    if not isinstance(value, str):
        return "" if value is None else value
    text = visible(value)
    return f"'{text}" if text.lstrip()[:1] in tuple(_FORMULA) or value[:1] in ("\t", "\r", "\n") else text


def to_json(table: Table) -> str:
    """Sections, columns and rows with unrounded values; ``null`` is what was not measured, ``why`` says why."""
    sections = [
        {
            "title": section.title,
            "columns": [
                {key: getattr(column, key) for key in ("key", "label", "unit", "direction")}
                | {"version": column.variant.version if column.variant else None}
                for column in section.columns
            ],
            "rows": [_json_row(section, row) for row in section.rows],
            "remarks": section.remarks,
        }
        for section in table.sections
    ]
    return plain_json({"sections": sections, "remarks": table.remarks}) + "\n"


def plain_json(content: Any) -> str:
    """Indented JSON with no secret in it, and ``\\u`` escapes for what must not reach a terminal."""
    text = json.dumps(without_secrets(content), ensure_ascii=False, indent=1)
    return text if text.isascii() else "".join(c if c == "\n" or c.isprintable() else json.dumps(c)[1:-1] for c in text)


def _json_row(section: Section, row: Row) -> dict[str, Any]:
    named = list(zip(section.columns, row.cells, strict=True))
    record = row.entry.first
    return {
        **_context(section, row),
        "source": record.source,
        "provenance": record.provenance,
        "first_depths": row.entry.prefix,
        "ids": [each.id for each in row.entry.records],
        "seeds": [each.seed for each in row.entry.records],
        "values": {column.key: cell.value for column, cell in named},
        "deviations": {column.key: cell.deviation for column, cell in named if cell.deviation is not None},
        "errors": {column.key: cell.error for column, cell in named if cell.error is not None},
        "best": [column.key for column, cell in named if cell.best],
        "why": {column.key: section.notes[cell.note] for column, cell in named if cell.note is not None},
    }


def _context(section: Section, row: Row) -> dict[str, Any]:
    data = row.entry.first.data
    size = data and (data.size if isinstance(data.size, int) else size_text(data.size))
    values = (data.spec, data.split, size, data.protocol, data.n or None) if data else (None,) * 5
    return dict(zip((*_CONTEXT, _counted(section)), (section.context.kind, *values), strict=True))


def _counted(section: Section) -> str:
    """``images`` or ``clips``."""
    return f"{noun_of(section.context.size)}s"


def _spreads(section: Section, row: Row) -> dict[str, float]:
    found: dict[str, float | None] = {}
    for column, cell in zip(section.columns, row.cells, strict=True):
        found |= {f"{column.key}_sd": cell.deviation, f"{column.key}_se": cell.error}
    return {name: value for name, value in found.items() if value is not None}


_LATEX = str.maketrans(
    {
        **{character: f"\\{character}" for character in "{}$&#_%"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "±": r"$\pm$",
        "×": r"$\times$",
        "·": r"$\cdot$",
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
        "†": r"\textdagger{}",
    }
)


def to_latex(table: Table) -> str:
    r"""One ``table`` a section, ruled by booktabs: needs only ``\usepackage{booktabs}``."""
    if not table.sections:
        return f"% {EMPTY}\n"
    parts = ["% needs \\usepackage{booktabs}", *(_latex_section(section) for section in table.sections)]
    parts += [f"% {visible(remark)}" for remark in table.remarks]
    return "\n".join(parts) + "\n"


def _latex_section(section: Section) -> str:
    def mark(note: int | None) -> str:
        return "" if note is None else f"$^{{{note + 1}}}$"

    def text(cell: TableCell) -> str:
        body = "--" if cell.text == "-" else _latex(cell.text)
        return (rf"\textbf{{{body}}}" if cell.best else body) + mark(cell.note)

    columns = "".join("r" if column.numeric else "l" for column in section.columns)
    lines = [
        r"\begin{table}[t]",
        r"\centering",
        rf"\caption{{{_latex(section.title)}}}",
        rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
        r"\toprule",
        " & ".join(_latex(column.header) for column in section.columns) + r" \\",
        r"\midrule",
    ]
    previous = section.rows[0].entry.published if section.rows else False
    for row in section.rows:
        if row.entry.published != previous:
            lines.append(r"\midrule")
            previous = row.entry.published
        lines.append(" & ".join(text(cell) for cell in row.cells) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    below = [f"{mark(index)} {_latex(note)}" for index, note in enumerate(section.notes)]
    below += [_latex(remark) for remark in section.remarks]
    lines += [rf"\par\smallskip{{\footnotesize {line}\par}}" for line in below]
    return "\n".join([*lines, r"\end{table}"])


def _latex(text: str) -> str:
    escaped = visible(text).translate(_LATEX)
    # What stands first after a row's end would be taken for an option of it.
    return re.sub(r"^\s*([\[*])", r"{\1}", escaped)


def to_html(table: Table) -> str:
    """``<table>`` elements with captions and scopes, everything escaped; no styles: they are the page's business."""
    if not table.sections and not table.remarks:
        return f"<p>{escape(EMPTY)}</p>\n"
    lines = []
    for section in table.sections:
        lines.append(html_table(section, f"<caption>{_html(section.title)}</caption>\n"))
        lines += [f'<p class="note"><sup>{i + 1}</sup> {_html(note)}</p>' for i, note in enumerate(section.notes)]
        lines += [f'<p class="remark">{_html(remark)}</p>' for remark in section.remarks]
    lines += [f'<p class="remark">{_html(remark)}</p>' for remark in table.remarks]
    return "\n".join(lines) + "\n"


def html_table(section: Section, caption: str = "", body: str | None = None) -> str:
    """The ``<table>`` alone; a ``body`` of that id has heads that are buttons, for a script to sort by."""

    def text(cell: TableCell) -> str:
        shown = f"<strong>{_html(cell.text)}</strong>" if cell.best else _html(cell.text)
        return shown + ("" if cell.note is None else f"<sup>{cell.note + 1}</sup>")

    align = ["number" if column.numeric else "text" for column in section.columns]
    head = ""
    for side, column in zip(align, section.columns, strict=True):
        label = _html(column.header)
        if body is not None:
            label = f'<button type="button" data-direction="{column.direction}">{label}</button>'
        head += f'<th scope="col" class="{side}">{label}</th>'
    lines = [f"<table>\n{caption}<thead><tr>{head}</tr></thead>", f'<tbody id="{body}">' if body else "<tbody>"]
    for row in section.rows:
        kind = "published" if row.entry.published else "prefix" if row.entry.prefix is not None else "measured"
        cells = ""
        for side, cell in zip(align, row.cells, strict=True):
            value = "" if cell.value is None else escape(str(cell.value))
            cells += f'<td class="{side}" data-value="{value}">{text(cell)}</td>'
        lines.append(f'<tr class="{kind}" data-quantizer="{escape(quantizer_of(row))}">{cells}</tr>')
    return "\n".join([*lines, "</tbody>\n</table>"])


def quantizer_of(row: Row) -> str:
    """Its name; a dash where the record has none."""
    return row.entry.first.quantizer.name or "-"


def _html(text: str) -> str:
    return escape(re.sub(r"\s+", " ", visible(text)))

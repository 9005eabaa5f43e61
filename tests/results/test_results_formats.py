"""Every format of a table says the same, and nothing in a name can break out of it."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser

import pytest
from results_synthetic import metric, record, sweep
from rich.console import Console

from tokbench.results.record import DataRef
from tokbench.results.table import comparison, to_csv, to_html, to_json, to_latex, to_markdown, to_terminal

NASTY = "a|b <script>alert(1)</script> & 100% _x_ $y$ #z {q} \\ ~^ \x1b[31mred\n[link]"


def nasty() -> str:
    return to_markdown(comparison([record(name="vq", quantizer={"name": NASTY, "codebook_size": 4})]))


def test_markdown_rows_have_as_many_cells_as_columns() -> None:
    lines = to_markdown(comparison(sweep(), by_depth=True)).splitlines()
    tables = [line for line in lines if line.startswith("|")]
    tokenizers = [line for line in lines[: lines.index(next(x for x in lines if "Generators" in x))] if line in tables]
    for rows in (tokenizers, tables[len(tokenizers) :]):
        assert len(rows) > 3 and len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert any("**" in line for line in tables)
    assert "### Tokenizers · photos (eval) · 64×64 · 96 images · protocol tokbench-v1" in lines


def test_markdown_is_aligned_and_escaped() -> None:
    text = nasty()
    header, rule, row = [line for line in text.splitlines() if line.startswith("|")]
    assert len(header) == len(rule) == len(row)
    assert len(re.findall(r"(?<!\\)\|", row)) == len(re.findall(r"(?<!\\)\|", header))
    assert "\x1b" not in text and "<script" not in text.replace("\\<script", "")


def test_csv_reads_back_unrounded() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(comparison(sweep(), by_depth=True)))))
    rq = next(row for row in rows if row["quantizer"] == "rq" and row["D"] == "4" and not row["first_depths"])
    exact = [r.metrics["psnr"].value or 0 for r in sweep() if r.quantizer["name"] == "rq" and r.quantizer["depth"] == 4]
    assert float(rq["psnr"]) == pytest.approx(sum(exact) / 3, rel=1e-15)
    assert float(rq["psnr_sd"]) > 0 and rq["size"] == "64" and rq["protocol"] == "tokbench-v1"
    assert [row["bits"] for row in rows if row["first_depths"] == "1"] == ["2048", "2048"]
    assert {row["kind"] for row in rows} == {"tokenizer", "generator"}


def test_csv_counts_clips_as_clips() -> None:
    clips = record("rq", data=DataRef(spec="clips", split="eval", n=31, size=(9, 64, 64), protocol="tokbench-v1-all"))
    both = list(csv.DictReader(io.StringIO(to_csv(comparison([record(), clips])))))
    assert [(row["images"], row["clips"]) for row in both] == [("96", ""), ("", "31")]
    (alone,) = csv.DictReader(io.StringIO(to_csv(comparison([clips]))))
    assert alone["clips"] == "31" and alone["size"] == "9x64x64" and "images" not in alone
    assert json.loads(to_json(comparison([clips])))["sections"][0]["rows"][0]["clips"] == 31


def test_json_says_what_is_missing_and_why() -> None:
    rows = [record(metrics={"rfid": metric(None, "rFID", "lower", note="no weights")}), record("rq")]
    content = json.loads(to_json(comparison(rows)))
    first = content["sections"][0]["rows"][0]
    assert first["values"]["rfid"] is None and first["why"]["rfid"] == "rFID: no weights"
    assert first["values"]["psnr"] == rows[0].metrics["psnr"].value
    psnr = next(c for c in content["sections"][0]["columns"] if c["key"] == "psnr")
    assert psnr.pop("version") == "tokbench-v1/psnr-1"
    assert psnr == {"key": "psnr", "label": "PSNR", "unit": "dB", "direction": "higher"}


def test_latex_is_balanced_and_escaped() -> None:
    table = comparison([*sweep(), record(name="vq", quantizer={"name": NASTY, "codebook_size": 4})])
    text = to_latex(table)
    for macro in (r"\toprule", r"\midrule", r"\bottomrule", r"\begin{table}", r"\textbf{", r"$\pm$", r"$\uparrow$"):
        assert macro in text
    bare = text.replace(r"\{", "").replace(r"\}", "")
    assert bare.count("{") == bare.count("}")
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    counts = {len(re.findall(r"(?<!\\)&", line)) for line in body}
    assert len(counts) <= 2  # one a section
    assert r"100\% \_x\_ \$y\$ \#z \{q\} \textbackslash{} \textasciitilde{}\textasciicircum{}" in text
    assert text.isascii() or not re.search("[±×·↑↓†]", text)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)


def test_html_is_escaped_and_rectangular() -> None:
    reader = _Tags()
    reader.feed(to_html(comparison([record(quantizer={"name": NASTY, "codebook_size": 4}), record("rq", 256, 4)])))
    assert "script" not in reader.tags and "link" not in reader.tags
    assert reader.tags.count("td") == 2 * reader.tags.count("th")


@pytest.mark.parametrize("width", [60, 80, 120, 400])
def test_the_terminal_table_fits_and_breaks_no_number(width: int) -> None:
    table = comparison(sweep(), by_depth=True)
    page = io.StringIO()
    Console(file=page, width=width).print(to_terminal(table))
    lines = page.getvalue().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    for section in table.sections:
        for row in section.rows:
            for column, cell in zip(section.columns, row.cells, strict=True):
                if column.numeric:
                    assert any(cell.text in line for line in lines), (column.key, cell.text)


def test_no_control_codes_reach_the_terminal() -> None:
    page = io.StringIO()
    Console(file=page, width=200).print(to_terminal(comparison([record(quantizer={"name": NASTY})])))
    assert "\x1b" not in page.getvalue()


def test_no_records_says_how_to_make_some() -> None:
    empty = comparison([])
    for render in (to_markdown, to_html, to_latex):
        assert "tokbench sweep" in render(empty)
    page = io.StringIO()
    Console(file=page).print(to_terminal(empty))
    assert "tokbench sweep" in page.getvalue()
    assert json.loads(to_json(empty)) == {"sections": [], "remarks": []}
    assert to_csv(empty).startswith("kind,data")

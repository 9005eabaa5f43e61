"""What is printed: text from outside is text, in one line, and a table is no wider than the terminal."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from tokbench.errors import TokbenchError, counted, printable
from tokbench.printing import fitted, progress_bar, say, terminal

NASTY = "\x1b]0;title\x07[bold red]a[/b]\x9b31m\u202eevil\u200b\nsecond\udcff :smile:"
SHOWN = r"\x1b]0;title\x07[bold red]a[/b]\x9b31m\u202eevil\u200b\nsecond\udcff :smile:"


def test_what_cannot_be_seen_is_escaped_and_spaces_are_kept() -> None:
    assert printable(NASTY) == SHOWN
    assert printable("a\u00a0b\u3000c é 写真 ±") == "a\u00a0b\u3000c é 写真 ±"
    assert printable("x" * 20, 10) == "xxxxxx ..."


@pytest.mark.parametrize("kind", ["string", "cell", "header", "text", "styled", "title"])
def test_nothing_printed_is_markup_or_a_control_code(kind: str) -> None:
    page = io.StringIO()
    table = Table(NASTY if kind == "header" else "name", title=NASTY if kind == "title" else None)
    table.add_row({"text": Text(NASTY), "cell": NASTY}.get(kind, "x"))
    console = terminal(file=page, width=200)
    if kind == "string":
        console.print(NASTY)
    elif kind == "styled":
        console.print(NASTY, style="dim")
    else:
        console.print(table)
    seen = page.getvalue()
    assert not set(seen) & set("\x1b\x07\x9b\u202e\u200b\udcff")
    assert "[boldred]a[/b]" in "".join(seen.split()) and ":smile:" in seen  # a title is as wide as its table
    assert kind in ("text", "title") or SHOWN in seen  # the lines of a Text are its own


def test_a_bar_shows_its_description_as_text() -> None:
    page = io.StringIO()
    bar = progress_bar(terminal(file=page, width=120), transient=False)
    assert isinstance(bar, Progress)
    with bar:
        bar.add_task("[b]a[/red]\x1b[2J", total=1)
    assert r"[b]a[/red]\x1b[2J" in page.getvalue()


def test_a_bar_that_leaves_nothing_leaves_no_empty_line_in_a_file() -> None:
    page = io.StringIO()
    with progress_bar(terminal(file=page)) as bar:
        bar.update(bar.add_task("work", total=1), completed=1)
    assert not page.getvalue()


def test_lines_without_rich(capsys: pytest.CaptureFixture[str]) -> None:
    say(NASTY)
    say("https://user:word@host/x?X-Amz-Signature=abc", error=True)
    out, err = capsys.readouterr()
    assert out == SHOWN + "\n" and err == "https://***@host/x?***\n"


def test_a_message_is_one_line_unless_it_tells_of_several_mistakes() -> None:
    error = TokbenchError(f"{NASTY}: no such file")
    assert str(error) == f"{SHOWN}: no such file"
    several = TokbenchError("one", "two\nlines")
    assert str(several) == "one\ntwo\\nlines" and str(TokbenchError(*several.args)) == str(several)


def test_a_long_line_is_not_broken() -> None:
    page = io.StringIO()
    terminal(file=page, width=40).print(f"wrote /{'x' * 100}")
    assert page.getvalue() == f"wrote /{'x' * 100}\n"


@pytest.mark.parametrize("width", [120, 60, 30, 20])
def test_columns_that_matter_least_go_first(width: int) -> None:
    page = io.StringIO()
    console = terminal(file=page, width=width)
    columns = [("key", "left"), ("what", "left"), ("size", "right"), ("state", "left")]
    table, gone = fitted(console, columns, [("0123456789ab", "rq K=256 D=4", "1,234", "to run")], ("key", "size"))  # type: ignore[arg-type]
    console.print(table)
    lines = page.getvalue().rstrip("\n").split("\n")
    assert max(map(len, lines)) <= width
    assert gone == {120: [], 60: [], 30: ["key"], 20: ["key", "size"]}[width]
    assert len(lines) == (3 if width > 20 else 4) and "to run" in page.getvalue()


def command(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-m", "tokbench", *words], capture_output=True, text=True, env={**os.environ, **environment}
    )


def test_what_typer_refuses_is_one_line_of_ours() -> None:
    done = command("table", "--format", "[/b]\x1b[31m\x9bred")
    assert done.returncode == 2 and done.stderr.startswith("tokbench: ") and done.stderr.count("\n") == 1
    assert "[/b]" in done.stderr and "\x1b" not in done.stderr and "\x9b" not in done.stderr


@pytest.mark.parametrize("columns", ["80", "60"])
def test_the_lists_fit_narrow_terminals(columns: str) -> None:
    from tokbench.cli.catalogue import SECTIONS
    from tokbench.cli.list import _table

    page = io.StringIO()
    headings, rows = SECTIONS["quantizers"]()
    terminal(file=page, width=int(columns)).print(_table("quantizers", headings, rows))
    lines = page.getvalue().rstrip("\n").split("\n")
    assert max(map(len, lines)) <= int(columns) and all(name in page.getvalue() for name, *_ in rows)
    assert len(lines) < 8 * len(rows)  # no column is a word wide


def test_one_is_not_several() -> None:
    assert [counted(n, "cell") for n in (0, 1, 2, 1000)] == ["0 cells", "1 cell", "2 cells", "1,000 cells"]


def test_a_path_with_markup_in_its_name_is_written_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tokbench.cli._results import emit

    out = tmp_path / "a[" / "b]\x1b.txt"
    emit("text", out)
    assert out.read_text() == "text" and capsys.readouterr().out == f"wrote {tmp_path}/a[/b]\\x1b.txt\n"

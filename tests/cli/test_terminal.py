"""One look for all commands: quiet, JSON for programs, no colours where they are not wanted, 80 columns."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tokbench import printing
from tokbench.cli.app import app
from tokbench.results.record import decode

run = CliRunner()


@pytest.fixture(autouse=True)
def talkative_again() -> Any:
    yield
    printing.hush(False)


def evaluated(*options: str, tokenizer: Path, out: Path, before: tuple[str, ...] = ()) -> Any:
    command = ["evaluate", str(tokenizer), "--data", "photos", "--limit", "2", "--metrics", "psnr,ssim", "--cpu"]
    return run.invoke(app, [*before, *command, "--out", str(out), *options], catch_exceptions=False)


def test_quiet_leaves_results_and_json_is_the_record_alone(rq_folder: Path, tmp_path: Path) -> None:
    rq_folder = Path(shutil.copytree(rq_folder, tmp_path / "rq"))  # its card is written
    said = evaluated(tokenizer=rq_folder, out=tmp_path / "a")
    assert "appended to" in said.stderr and "PSNR" in said.stdout
    quiet = evaluated(tokenizer=rq_folder, out=tmp_path / "b", before=("--quiet",))
    assert quiet.stderr == "" and "PSNR" in quiet.stdout
    plain = evaluated("--json", tokenizer=rq_folder, out=tmp_path / "c")
    assert decode(plain.stdout.strip().encode()).line.decode() == (tmp_path / "c" / "runs.jsonl").read_text().strip()
    wrong = run.invoke(app, ["--quiet", "evaluate", str(tmp_path / "none"), "--data", "photos"])
    assert wrong.exit_code != 0 and wrong.exception is not None  # main() prints it: what is wrong is never hushed


def test_lists_are_json_for_programs() -> None:
    found = json.loads(run.invoke(app, ["list", "quantizers", "--json"], catch_exceptions=False).stdout)
    assert {"rq", "vq:no"} & {row["name"] for row in found["quantizers"]} == {"rq"}


@pytest.mark.parametrize("wanted", [True, False])
def test_no_color_is_heeded(wanted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "" if wanted else "1")
    monkeypatch.setenv("TERM", "xterm-256color")

    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Screen()
    printing.terminal(file=screen).print("text", style="green")
    assert ("\x1b[32m" in screen.getvalue()) == wanted and "text" in screen.getvalue()


def test_many_depths_fit_80_columns_and_what_went_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    page = io.StringIO()
    depths = [f"depth {d}" for d in range(1, 17)]
    columns: Any = [("metric", "left"), *((name, "right") for name in ("value", "±", *depths, "n"))]
    rows = [["PSNR ↑ (dB)", "20.28", "0.19", *["19.34"] * 16, "500"]]
    printing.print_fitted(printing.terminal(file=page, width=80), columns, rows, [*depths[1:-1], "n", "±"])
    table, gone = page.getvalue().split("left out for lack of space: ")
    assert max(map(len, table.splitlines())) <= 80 and "depth 16" in table and "depth 1 " in table
    assert gone.startswith("depth 2, depth 3")


def test_quiet_reaches_what_is_started_from_here() -> None:
    printing.hush(True)
    script = "from tokbench.printing import terminal; terminal(stderr=True).print('doing'); terminal().print('result')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("result\n", "")


def test_commands_make_no_table_of_numbers_that_does_not_fit() -> None:
    """``print_fitted`` and ``print_numbers`` do; a table of rich's own is for sentences, which it folds."""
    commands = Path(__file__).parents[2] / "tokbench" / "cli"
    own = {
        path.stem
        for path in commands.glob("*.py")
        if "import Table" in path.read_text() or "Table(" in path.read_text()
    }
    assert own == {"diff", "doctor", "list"}

"""Pages are what the records beside them give; what is committed is so too."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from claims_tiny import evidence, row
from test_checks import depth_or_codebook

from tokbench.claims.page import MARKS, judged, pages, regenerate, stale, update_readme, write_pages
from tokbench.claims.results import judge, save
from tokbench.errors import TokbenchError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of one claim, a cell of which failed."""
    home = tmp_path_factory.mktemp("claims")
    parts = depth_or_codebook()
    parts["codebook"].append(row("vq", 2**17, 1, 0, error="MemoryError: too | large"))
    save(judge(evidence("depth-or-codebook", parts)), home, home / "work")
    write_pages(home)
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    """A copy of them to write into."""
    return shutil.copytree(made, tmp_path, dirs_exist_ok=True)


def test_a_page_says_all_there_is_to_say(home: Path) -> None:
    folder = home / "depth-or-codebook"
    page = (folder / "README.md").read_text()
    for words in (
        "# Depth instead of codebook", "**holds (incomplete)** at cpu scale", "arXiv:2203.01941, table 4",
        "not verified against the paper", "seeds 0, 1, 2", "96 images of photos (eval)", "12 steps of 8 on photos",
        "revision 0123456789", "a CPU, 2 cores, torch 2.9.0", "failed: codebook: vq seed=0: MemoryError",
        "Limits of this scale", "tokbench claims depth-or-codebook --scale cpu --seed 0,1,2", "![", "standard errors",
        (folder / "cpu" / "table.md").read_text().splitlines()[2],
    ):  # fmt: skip
        assert words in page, words
    assert {path.name for path in (folder / "cpu").iterdir()} == {
        "asked.json", "records.jsonl", "table.md", "figure.svg", "figure.png"
    }  # fmt: skip
    index = (home / "README.md").read_text()
    assert "[Depth instead of codebook](depth-or-codebook/README.md) | cpu | **holds (incomplete)**" in index
    assert "not run yet" in index


def test_pages_need_nothing_but_the_records_beside_them(home: Path) -> None:
    before = pages(home, judged(home))
    assert stale(home) == []
    for path in home.rglob("*.md"):
        path.unlink()
    for path in home.rglob("figure.*"):
        path.unlink()
    assert sorted(stale(home)) == sorted(before)
    regenerate(home)
    assert stale(home) == [] and pages(home, judged(home)) == before
    assert (home / "depth-or-codebook/cpu/figure.png").exists()


def test_an_edited_page_and_a_foreign_one_are_stale(home: Path) -> None:
    page = home / "depth-or-codebook" / "README.md"
    page.write_text(page.read_text().replace("+3", "+4"))
    (home / "mine.md").write_text("better than all")
    assert stale(home) == ["depth-or-codebook/README.md", "mine.md"]


def test_the_projects_readme_gets_its_table(home: Path, tmp_path: Path) -> None:
    readme = tmp_path / "PROJECT.md"
    readme.write_text(f"before\n{MARKS[0]}\nstale\n{MARKS[1]}\nafter\n")
    write_pages(home, readme)
    text = readme.read_text()
    assert text.startswith(f"before\n{MARKS[0]}\n\n| claim |") and text.endswith(f"{MARKS[1]}\nafter\n")
    assert "stale" not in text
    assert f"]({home.as_posix()}/depth-or-codebook/README.md)" in text
    readme.write_text("no place for it\n")
    assert update_readme(readme, home, judged(home)) is None


def test_damaged_results_name_file_and_line(home: Path) -> None:
    folder = home / "depth-or-codebook" / "cpu"
    with (folder / "records.jsonl").open("a") as file:
        file.write("{half\n")
    with pytest.raises(TokbenchError, match=r"records.jsonl, line \d+"):
        judged(home)
    (folder / "asked.json").write_text("{}")
    with pytest.raises(TokbenchError, match="asked.json: not what"):
        judged(home)


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout as it was committed: what was made here since does not count."""
    folder, paths = tmp_path_factory.mktemp("committed"), ["results", "README.md"]
    archive = subprocess.run(["git", "-C", str(ROOT), "archive", "HEAD", *paths], capture_output=True, check=False)
    if archive.returncode:  # not a checkout: what was unpacked is what was released
        return ROOT
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder


def test_the_committed_pages_are_what_the_committed_records_give(
    committed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(committed)
    home = Path("results/claims")
    if not home.is_dir():
        pytest.skip("no results of claims are committed")
    again = "tokbench claims all --judge"
    assert stale(home) == [], again
    assert update_readme(Path("README.md"), home, judged(home)) == Path("README.md").read_text(), again


def test_no_committed_record_holds_a_path_of_a_machine(committed: Path) -> None:
    home = committed / "results" / "claims"
    if not home.is_dir():
        pytest.skip("no results of claims are committed")
    for path in home.rglob("*.json*"):
        for line in path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]:
            found = [text for text in _texts(json.loads(line)) if re.search(r"(^|[=,:\s])(/|~|[A-Z]:\\)\w", text)]
            assert found == [], path


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in _texts(item)]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []

"""What is recorded of the place a number was made in."""

from __future__ import annotations

import getpass
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tokbench.results import environment
from tokbench.results.record import Record


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_content_hash_is_canonical() -> None:
    one = environment.content_hash({"a": 1, "b": [1.5, None, "ü"]})
    assert one == environment.content_hash({"b": [1.5, None, "ü"], "a": 1})
    assert one != environment.content_hash({"a": 1, "b": [1.5, None, "u"]})
    assert len(one) == 12 and int(one, 16) >= 0
    # sha256 of '{"a":1}', from another implementation.
    assert environment.content_hash({"a": 1}) == "015abd7f5cc5"
    row = Record.of(id="1", cell="2", created="", name="n")
    assert environment.content_hash({"r": row.plain()}) == environment.content_hash({"r": row.plain()})
    with pytest.raises(ValueError):
        environment.content_hash({"a": float("nan")})
    with pytest.raises(TypeError):
        environment.content_hash({"a": {1, 2}})


def test_new_ids_do_not_repeat() -> None:
    ids = {environment.new_id() for _ in range(1000)}
    assert len(ids) == 1000 and all(len(i) == 12 for i in ids)


def test_describe_names_no_person_and_no_place() -> None:
    found = environment.describe()
    assert found["python"] == ".".join(map(str, sys.version_info[:3])) and found["torch"]
    text = json.dumps(found).lower()
    assert socket.gethostname().lower() not in text
    assert str(Path.home()).lower() not in text and str(Path.cwd()).lower() not in text
    assert not any(getpass.getuser().lower() == str(value).lower() for value in found.values())


def test_describe_and_the_store_import_no_torch() -> None:
    code = (
        "import sys, tokbench.results.environment as e, tokbench.results.store, tokbench.results.table;"
        "assert e.describe()['torch'];"
        "assert not {'torch', 'matplotlib', 'plotly', 'numpy'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_git_state(tmp_path: Path) -> None:
    outside = environment._state(tmp_path)
    assert outside.revision is None and outside.dirty is None
    git(tmp_path, "init", "-q")
    (tmp_path / "a.txt").write_text("1")
    git(tmp_path, "add", "a.txt")
    git(tmp_path, "commit", "-q", "-m", "one")
    clean = environment._state(tmp_path)
    assert clean.revision == git(tmp_path, "rev-parse", "HEAD") and clean.dirty is False
    (tmp_path / "a.txt").write_text("2")
    assert environment._state(tmp_path).dirty is True


def test_git_variables_of_a_hook_do_not_mislead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", str(Path(__file__).resolve().parents[2] / ".git"))
    assert environment._state(tmp_path).revision is None


def test_an_installed_tokbench_inside_another_project_has_no_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "other.txt").write_text("theirs")
    git(tmp_path, "add", "other.txt")
    git(tmp_path, "commit", "-q", "-m", "theirs")
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "tokbench" / "results" / "environment.py"))
    assert environment.git_state().revision is None


def test_new_results_do_not_make_the_code_dirty_but_new_code_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("tokbench/__init__.py", "quantizers/__init__.py", "results/runs.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    monkeypatch.setattr(environment, "__file__", str(tmp_path / "tokbench" / "results" / "environment.py"))
    (tmp_path / "results" / "runs.jsonl").write_text("{}\n")
    assert environment.git_state().dirty is False
    (tmp_path / "quantizers" / "new.py").write_text("")
    assert environment.git_state().dirty is True

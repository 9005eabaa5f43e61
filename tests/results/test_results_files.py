"""Files appear whole, with the user's permissions, and never in the place of what is read."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from results_synthetic import record

from tokbench.errors import TokbenchError
from tokbench.results import files
from tokbench.results.locks import alone, locked
from tokbench.results.store import Store
from tokbench.results.targets import check_not_inputs, check_target, check_writable

_KILLED = """
import os, sys
from tokbench.results.files import written
with written(sys.argv[1]) as draft:
    draft.write_text("half")
    os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o002])
def test_a_file_follows_the_umask_whatever_the_draft_was(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with files.written(tmp_path / "x") as draft:
            draft.unlink()
            os.close(os.open(draft, os.O_CREAT | os.O_WRONLY, 0o600))  # as safetensors does
        assert (tmp_path / "x").stat().st_mode & 0o777 == 0o666 & ~umask
    finally:
        os.umask(before)


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path / "x")])
    assert done.returncode == -signal.SIGKILL and len(list(tmp_path.iterdir())) == 1
    elsewhere = tmp_path / ".tokbench-00000000-1-0.tmp"  # of another machine, and just now
    elsewhere.touch()
    files.write(tmp_path / "y", "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [elsewhere.name, "y"]


def test_no_folder_and_no_device_is_written_over(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for target in (tmp_path, tmp_path / "pipe", Path("/dev/stdout")):
        with pytest.raises(TokbenchError, match="give the name of"):
            files.write(target, "x")
    assert (tmp_path / "pipe").is_fifo()


def test_an_input_is_known_by_every_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "in" / "a.png"
    source.parent.mkdir()
    source.write_text("x")
    os.link(source, tmp_path / "hard.png")
    (tmp_path / "soft.png").symlink_to(source)
    (tmp_path / "away").symlink_to(source.parent)
    monkeypatch.chdir(tmp_path)
    for name in ("in/a.png", "./in/../in/a.png", "hard.png", "soft.png", "away/a.png"):
        for given in (source, source.parent):
            with pytest.raises(TokbenchError, match="would be written over, and is read"):
                check_not_inputs([Path(name)], [None, given])
    check_not_inputs([Path("in/b.png")], [source, "owner/model"])


def test_records_are_no_target(tmp_path: Path) -> None:
    Store(tmp_path / "any.jsonl").append(record())
    (tmp_path / "runs.jsonl").touch()
    for name in ("any.jsonl", "runs.jsonl"):
        with pytest.raises(TokbenchError, match="holds records"):
            check_target(tmp_path / name)


def test_what_cannot_be_written_is_found_before_the_work_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for target in (tmp_path / "file" / "x", tmp_path / "file" / "deep" / "x"):
        with pytest.raises(TokbenchError, match="cannot be written"):
            check_writable(target)
        with pytest.raises(TokbenchError, match="cannot be written"):
            Store(target).check()
    with pytest.raises(TokbenchError, match="cannot append"):
        Store(tmp_path).check()
    Store(tmp_path / "new" / "runs.jsonl").check()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_holds_records_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def none(descriptor: int, how: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", none)
    store = Store(tmp_path / "runs.jsonl")
    store.check()
    store.append(record())
    store.check()
    assert len(store.read()) == 1
    with alone(tmp_path / "lock", "busy"):
        pass


def test_a_lock_is_for_one_and_a_file_that_was_left_for_nobody(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lock"
    with alone(path, "busy"), pytest.raises(TokbenchError, match="busy"), alone(path, "busy"):
        pass
    assert not path.parent.exists()
    path.parent.mkdir()
    path.touch()  # kill -9
    with alone(path, "busy"):
        pass
    assert list(path.parent.iterdir()) == []


def test_a_forked_process_does_not_keep_the_lock(tmp_path: Path) -> None:
    begun, ended = os.pipe(), os.pipe()
    with locked(tmp_path / "lock"):
        if (child := os.fork()) == 0:
            os.write(begun[1], b"x")
            os.read(ended[0], 1)
            os._exit(0)
        os.read(begun[0], 1)
    try:
        with alone(tmp_path / "lock", "busy"):
            pass
    finally:
        os.write(ended[1], b"x")
        os.waitpid(child, 0)

"""What travels to a machine with a GPU: packed in parts, and put where it is read from."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tokbench.bench.gpu import bundle, unpacking
from tokbench.bench.gpu.unpacking import unpack
from tokbench.errors import TokbenchError
from tokbench.results.environment import REVISION, git_state
from tokbench.results.record import Git


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOKBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "weights"


def made(folder: Path, **sizes: int) -> list[Path]:
    folder.mkdir(exist_ok=True)
    files = []
    for name, size in sizes.items():
        files.append(folder / (name.replace("_", "-") + (".whl" if name.startswith("w") else ".safetensors")))
        files[-1].write_bytes(random.Random(name).randbytes(size))
    return files


def test_a_bundle_is_cut_to_what_may_travel_and_put_together_again(tmp_path: Path, cache: Path) -> None:
    limit = 2**20
    files = made(tmp_path / "files", wheel=300_000, lpips_vgg=2_600_000, lpips_alex=10)
    [line] = bundle.pack(files, tmp_path / "out", limit)
    parts = sorted((tmp_path / "out").iterdir())
    assert line.startswith("part-1 0.") and line.endswith("at most 1.0 MiB each") and len(parts) == 3
    assert all(sum(p.stat().st_size for p in part.iterdir()) <= limit for part in parts)
    assert (tmp_path / "out" / "part-1" / "wheel.whl").exists()
    said = unpack(parts[:1])
    assert any(line.startswith("lpips-vgg.safetensors:") and line.endswith("are here; left out") for line in said)
    unpack([tmp_path / "out"])
    assert (cache / "lpips-vgg.safetensors").read_bytes() == files[1].read_bytes()
    assert (cache / "lpips-alex.safetensors").stat().st_size == 10
    piece = next(parts[1].glob("lpips-vgg*"))
    piece.write_bytes(bytes(piece.stat().st_size))
    with pytest.raises(TokbenchError, match="lpips-vgg.safetensors: not what was packed"):
        unpack([tmp_path / "out"])


def test_what_cannot_travel_is_one_line(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(TokbenchError, match="wheel.whl: 2 MiB, more than a part"):
        bundle.pack(made(tmp_path / "files", wheel=2**21), tmp_path / "out", 2**20)
    with pytest.raises(TokbenchError, match="no manifest.json in it"):
        unpack([tmp_path])
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.txt").write_text("")
    with pytest.raises(TokbenchError, match="own: holds something else"):
        bundle.make(tmp_path / "own", None, None, "1,1", 2**26)


def test_parts_are_taken_for_what_they_are(tmp_path: Path, cache: Path) -> None:
    """One given twice, without a file of it, and damaged."""
    bundle.pack(made(tmp_path / "files", lpips_vgg=1_500_000), tmp_path / "out", 2**20)
    parts = sorted((tmp_path / "out").iterdir())
    assert unpack([tmp_path / "out", parts[0]])[-1] == f"lpips-vgg.safetensors: {cache / 'lpips-vgg.safetensors'}"
    next(parts[1].glob("lpips-vgg*")).unlink()
    assert unpack([tmp_path / "out"])[-1].endswith("of 1,500,000 bytes are here; left out")
    for content in ("", "[]", '{"files": [{"name": 3}]}'):
        (parts[0] / "manifest.json").write_text(content)
        with pytest.raises(TokbenchError, match=r"part-1/manifest.json: damaged .*; make the bundle again"):
            unpack([tmp_path / "out"])


def test_code_without_its_history_has_the_revision_that_it_was_packed_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "git_state", lambda: Git("a" * 40, True))
    bundle.pack(made(tmp_path / "files", wheel=10), tmp_path / "out", 2**20)
    monkeypatch.undo()
    monkeypatch.setenv(REVISION, "")
    unpack([tmp_path / "out"])
    assert not os.environ[REVISION]  # git knows better
    monkeypatch.setattr("tokbench.results.environment._git", lambda *arguments: None)
    assert git_state() == Git(None, None)
    assert unpack([tmp_path / "out"]) == [f"the code is {'a' * 40}-dirty"]
    assert git_state() == Git("a" * 40, True)
    monkeypatch.setenv(REVISION, "")
    monkeypatch.setattr(unpacking, "code_hash", lambda: "of other code")
    [line] = unpack([tmp_path / "out"])
    assert line.startswith("the code is not what the bundle was made of") and git_state() == Git(None, None)


def test_only_what_is_missing_is_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = (
        "torch==2.11.0\nnvidia-cublas==13.0\nTyping_Extensions==4.1\ntimm==1.0 ; python_version > '3'\nmsgspec==0.19\n"
    )
    monkeypatch.setattr(bundle.subprocess, "run", _answers(resolved))
    assert bundle.missing(["timm==0.9", "# a comment"]) == ["msgspec==0.19"]


def _answers(text: str) -> Callable[..., object]:
    class Done:
        returncode, stdout, stderr = 0, text, ""

    return lambda *args, **options: Done()


def test_the_images_that_travel_are_read_again(tmp_path: Path) -> None:
    from tokbench.data import open_images

    bundle.sample("photos", tmp_path / "s.zip", {"train": 5, "eval": 3}, size=16)
    for split, count in (("train", 5), ("eval", 3)):
        again = open_images(f"zip:{tmp_path / 's.zip'}", split, image_size=16)
        assert len(again) == count and again[0]["image"].shape == (3, 16, 16)

"""What a release holds: the wheel installs into a fresh environment and works there with what it declares alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from recipes_tiny import TINY

ROOT = Path(__file__).parents[2]


def uv() -> str:
    found = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip("uv is not installed: make setup installs it")
    return found


def run(*command: str | Path, cwd: Path) -> str:
    """What it printed; the surroundings know nothing of this checkout."""
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=clean, capture_output=True, text=True)
    if "error sending request" in done.stderr or "Failed to fetch" in done.stderr:
        pytest.skip("the package index cannot be reached")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, and the wheel that was built of it."""
    out = tmp_path_factory.mktemp("dist")
    run(uv(), "build", "--out-dir", out, ROOT, cwd=out)
    return out


@pytest.mark.slow
def test_the_archives_hold_what_they_must(dist: Path) -> None:
    (wheel,), (source,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    for name in ("tokbench/recipes/demo.yaml", "tokbench/results/schema.json", "quantizers/README.md"):
        assert name in names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"tokbench", "quantizers"}
    with tarfile.open(source) as archive:
        held = {name.split("/")[1] for name in archive.getnames() if "/" in name}
    assert {"pyproject.toml", "recipes", "docs", "examples"} <= held and not {"tests", "results"} & held
    assert wheel.name.split("-")[1] == source.name.removesuffix(".tar.gz").split("-")[1] != "0.0"


@pytest.mark.slow
def test_it_works_with_what_it_declares_alone(dist: Path, tmp_path: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    python = tmp_path / "env" / "bin" / "python"
    run(uv(), "venv", "--python", sys.executable, tmp_path / "env", cwd=tmp_path)
    install = (uv(), "pip", "install", "--python", python)
    run(*install, "torch", "einops", cwd=tmp_path)
    run(*install, "--no-deps", wheel, cwd=tmp_path)
    use = "import torch, quantizers as Q; print(Q.RQ(8, 16, 4)(torch.randn(2, 9, 8)).indices.shape)"
    assert run(python, "-c", use, cwd=tmp_path) == "torch.Size([2, 9, 4])\n"  # the library needs no more

    run(*install, wheel, cwd=tmp_path)
    command = (python.with_name("tokbench"), "sweep", "--quantizer", "rq", "--depth", "4", "--codebook-size", "16")
    settings = [part for setting in [*TINY, "evaluation.metrics=[psnr]"] for part in ("--set", setting)]
    assert "rq" in run(*command, *settings, "--out", "out", "--cpu", cwd=tmp_path)
    assert "1 record, all hold" in run(python, "-m", "tokbench", "check-records", "out", cwd=tmp_path)
    assert "magvit2-image-128" in run(python, "-m", "tokbench", "list", "recipes", cwd=tmp_path)

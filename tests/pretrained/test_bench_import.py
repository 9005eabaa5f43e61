"""Importing and encoding beside the official module."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tokbench.bench import importing, official
from tokbench.bench.importing import bench_import, peak
from tokbench.cli.bench_import import bench_import as command
from tokbench.errors import TokbenchError

LAYERS = {"ch": 32, "ch_mult": [1, 2], "num_res_blocks": 1, "attn_resolutions": [16], "z_channels": 8, "resolution": 32}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """taming's model of 32 pixels, and no other."""
    pytest.importorskip("taming", reason="taming-transformers is not installed (tokbench[peers])")
    settings = {"n_embed": 16, "embed_dim": 8, "ddconfig": LAYERS}
    one = replace(official.OFFICIAL["taming"], settings=settings, side=32)
    monkeypatch.setattr(official, "OFFICIAL", {"taming": one})


def test_the_same_codes_in_turns(small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = command(["taming"], batch_size=2, repeats=1, memory=False, out=tmp_path / "import.json", cpu=True)
    (row,) = result["rows"]
    assert row["codes_equal"] == 1.0 and row["images"] == [2, 3, 32, 32] and row["bytes"] > 4 * row["parameters"]
    for what in ("import", "encode"):
        assert row[what]["ratio"] == pytest.approx(row[what]["tokbench"] / row[what]["official"])
    assert json.loads((tmp_path / "import.json").read_text())["rows"] == [row]
    assert "batch 2" in capsys.readouterr().out


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's account of a process's memory")
def test_the_peak_of_an_import_is_printed(small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = official.official("taming").module().state_dict()
    torch.save({"state_dict": weights}, tmp_path / "last.ckpt")
    for way in ("tokbench", "official"):
        peak("taming", str(tmp_path / "last.ckpt"), way)
        assert float(capsys.readouterr().out) >= 0


def test_what_is_not_known_or_not_the_same_is_said(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        TokbenchError, match=r"no package is known that has the model of 'tamin' \(did you mean 'taming'"
    ):
        bench_import(["tamin"])
    missing = replace(official.OFFICIAL["taming"], package="no-such-package")
    monkeypatch.setattr(official, "OFFICIAL", {**official.OFFICIAL, "missing": missing})
    with monkeypatch.context() as patched:
        patched.setattr(importing, "_row", None)  # it is said before anything is timed
        with pytest.raises(TokbenchError, match="^no-such-package is not here: pip install no-such-package$"):
            bench_import()
    with pytest.raises(TokbenchError, match="nothing to time: batch size 0"):
        bench_import(batch_size=0)
    other = replace(official.OFFICIAL["taming"], encode=lambda module, images: 1 + module.encode(images))
    monkeypatch.setattr(official, "OFFICIAL", {"taming": other})
    with pytest.raises(TokbenchError, match=r"0.0% of the codes are those of taming-transformers"):
        bench_import(["taming"], repeats=1, memory=False)

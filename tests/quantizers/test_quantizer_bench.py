"""The side-by-side measurement runs and reports what it says."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tokbench.bench import quantizers as bench
from tokbench.cli.bench_quantizers import quantizers
from tokbench.errors import TokbenchError

SMALL = bench.Case("small", (2, 8, 4), ("lfq", {"codebook_size": 16}), ("LFQ", {"dim": 4, "codebook_size": 16}))


def test_bench_quantizers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "CPU_CASES", [SMALL])
    result = quantizers(repeats=1, memory=False, cpu=True, out=tmp_path)
    (row,) = json.loads((tmp_path / "quantizers-no-memory-cpu.json").read_text())["rows"]
    assert row == result["rows"][0] and row["ratio"] == row["theirs_seconds"] / row["seconds"]
    assert row["floor_seconds"] is None and row["peak_mib"] is None
    with pytest.raises(TokbenchError, match="no case contains 'other'"):
        bench.bench_quantizers(only="other")


def test_some_cases_and_time_alone_leave_the_record_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_peak", lambda *_: 1.0)
    monkeypatch.setattr(bench, "CPU_CASES", [SMALL.alone(), replace(SMALL.alone(), label="LFQ 2^4, K=16")])
    quantizers(repeats=1, cpu=True, out=tmp_path)
    whole = (tmp_path / "quantizers-cpu.json").read_bytes()
    for only, name in {"small": "small", "2^4, K=": "2-4-k", ",": "part"}.items():
        quantizers(repeats=1, cpu=True, out=tmp_path, only=only)
        (row,) = json.loads((tmp_path / f"quantizers-{name}-cpu.json").read_text())["rows"]
        assert only in row["case"]
    quantizers(repeats=1, memory=False, cpu=True, out=tmp_path)
    quantizers(repeats=1, memory=False, cpu=True, out=tmp_path, only="small")
    assert {"quantizers-no-memory-cpu.json", "quantizers-small-no-memory-cpu.json"} <= set(os.listdir(tmp_path))
    assert (tmp_path / "quantizers-cpu.json").read_bytes() == whole
    assert len(json.loads(whole)["rows"]) == 2


def test_the_plain_pyramid_computes_what_ours_does() -> None:
    import torch

    from quantizers import MSRQ
    from tokbench.bench.plain_pyramid import PlainPyramid

    torch.manual_seed(0)
    plain, ours = PlainPyramid(4, 16, [1, 2, 3, 4]), MSRQ(4, [1, 2, 3, 4], codebook_size=16, codebook_update="gradient")
    stacks = {f"phi_{key}": torch.stack([getattr(phi, key) for phi in plain.phi]) for key in ("weight", "bias")}
    plain.codebook.weight.data.normal_()
    ours.load_codebook(plain.codebook.weight, **stacks)
    z = torch.randn(2, 4, 4, 4)
    quantized, codes, loss = plain(z)
    out = ours.train()(z)
    assert torch.equal(out.indices[..., 0], codes)
    torch.testing.assert_close(out.quantized, quantized)
    torch.testing.assert_close(out.loss, loss)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from Linux's account")
def test_memory_bars() -> None:
    import torch

    cases = {case.label: case for case in bench.CPU_CASES}
    cpu = torch.device("cpu")
    vq, lfq = cases["VQ 4096 x 256, K=16384"], cases["LFQ 2^18, 4096 tokens"]
    ours, theirs = bench._peak(vq, "ours", cpu), bench._peak(vq, "theirs", cpu)
    assert ours is not None and theirs is not None and 0 < ours < theirs / 5
    assert 0 < (bench._peak(lfq, "ours", cpu) or 0) < 200

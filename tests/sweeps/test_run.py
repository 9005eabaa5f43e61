"""Sweeps: every cell once, failures recorded, interruptions continued."""

from __future__ import annotations

from pathlib import Path

import pytest
from sweeps_tiny import grid

from tokbench.results.store import Store
from tokbench.sweeps import stages
from tokbench.sweeps.run import run_sweep


def test_cells_are_recorded_once_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = grid("rq", "lfq", out=tmp_path)
    assert run_sweep(sweep) == 0
    records = Store(tmp_path / "runs.jsonl").read()
    assert [r.quantizer["name"] for r in records] == ["rq", "lfq"]
    rq = records[0]
    assert rq.rate is not None and rq.rate.tokens == [8, 8, 2] and rq.rate.bits_per_image == 8 * 8 * 8
    assert rq.rate.bits_per_pixel == 2.0
    assert rq.metrics["psnr"].n == 8 and len(rq.metrics["psnr"].by_depth or []) == 2
    assert rq.data is not None and rq.data.split == "eval"
    for path in rq.artifacts.values():
        assert (tmp_path / path).exists()
    card = (tmp_path / rq.artifacts["tokenizer"] / "README.md").read_text()
    assert "PSNR" in card and str(rq.metrics["psnr"].value) in card  # the card of training, now with figures
    assert (tmp_path / "comparison.png").exists()
    table = (tmp_path / "table.md").read_text()
    assert f"{rq.metrics['psnr'].value:.2f}" in table and "PSNR" in table
    assert "PSNR" in capsys.readouterr().out

    assert run_sweep(sweep) == 0
    assert len(Store(tmp_path / "runs.jsonl").read()) == 2
    assert "already in" in capsys.readouterr().err

    assert run_sweep(sweep, again=True) == 0
    again = Store(tmp_path / "runs.jsonl").read()
    assert len(again) == 4
    assert again[2].metrics["psnr"].value == rq.metrics["psnr"].value  # same seed, same machine, same bits


def test_a_failing_cell_is_recorded_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = grid("vq", "lfq", out=tmp_path)
    original = stages.train

    def fails_for_vq(recipe, *args, **kwargs):  # type: ignore[no-untyped-def]
        if recipe.quantizer.name == "vq":
            raise RuntimeError("out of luck")
        return original(recipe, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(stages, "train", fails_for_vq)
        assert run_sweep(sweep) == 1
    store = Store(tmp_path / "runs.jsonl")
    errors = {r.quantizer["name"]: r.error for r in store.read()}
    assert errors == {"vq": "RuntimeError: out of luck", "lfq": None}
    assert run_sweep(sweep) == 0  # the failed one is tried again
    assert len(store.cells()) == 2


def test_an_interrupted_cell_continues_to_the_same_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = stages.train

    def interrupted(*args, **kwargs):  # type: ignore[no-untyped-def]
        return original(*args, **kwargs, stop_at=7)

    with monkeypatch.context() as patch:
        patch.setattr(stages, "train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_sweep(grid("rq", out=tmp_path / "a"))
    assert not Store(tmp_path / "a" / "runs.jsonl").read()
    run_sweep(grid("rq", out=tmp_path / "a"))
    run_sweep(grid("rq", out=tmp_path / "b"))
    (a,) = Store(tmp_path / "a" / "runs.jsonl").read()
    (b,) = Store(tmp_path / "b" / "runs.jsonl").read()
    assert a.weights == b.weights and a.metrics == b.metrics and a.training["steps"] == 12


def test_an_interrupted_sweep_says_what_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*arguments: object, **settings: object) -> None:
        assert "--resume" not in str(settings["then"])  # which a sweep does not have
        raise KeyboardInterrupt

    monkeypatch.setattr(stages, "train", train)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(grid("rq", out=tmp_path))
    assert "the same command continues where it stopped" in capsys.readouterr().err

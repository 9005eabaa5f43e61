"""Two processes see what one sees, with numbers of images that do not divide, one of them unreadable."""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch_fidelity  # noqa: F401  (here, so that the forked processes need not import it each)
from metric_fakes import FakeSpace, GreyTokenizer, Pictures
from tiny_tokenizer import make_tokenizer

from tokbench.metrics import evaluate_images, evaluate_tokenizer
from tokbench.metrics.inception_score import ClassStatistics, InceptionScore

Found = dict[str, tuple[Any, ...]]


def _measure() -> Found:
    names = ["psnr", "ssim", "l1", "usage", "entropy", "rfid", "precision", "is"]
    one = evaluate_tokenizer(GreyTokenizer(), Pictures(37, broken=(5,)), metrics=names, batch_size=4)
    third = evaluate_tokenizer(
        make_tokenizer({"name": "vq", "codebook_size": 16}),
        Pictures(37, broken=(5,)),
        metrics=["pfid", "ifid"],
        batch_size=4,
    )
    two = evaluate_images(Pictures(29, seed=2), reference=Pictures(31), metrics=["gfid", "recall"], batch_size=4)
    values = {**one.metrics, **two.metrics, **third.metrics}
    found: Found = {name: (v.value, v.n, v.stderr, v.by_depth) for name, v in values.items()}
    return found | {"data": (one.data.n, one.data.skipped)}


def _worker(rank: int, rendezvous: str, answers: Any) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2, init_method=f"file://{rendezvous}")
    answers.put((rank, _measure()))
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(sys.platform != "linux", reason="the processes are forked, so that the fakes need not travel")
def test_two_processes_are_one(
    space: FakeSpace, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = torch.randn(1008, space.dim, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(InceptionScore, "unavailable", lambda self, size=None: None)
    monkeypatch.setattr(InceptionScore, "statistics", lambda self, count: ClassStatistics(classifier, count))
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    workers = [context.Process(target=_worker, args=(rank, str(tmp_path / "meet"), answers)) for rank in (0, 1)]
    for worker in workers:
        worker.start()
    both = dict(answers.get(timeout=600) for _ in workers)
    for worker in workers:
        worker.join(600)
    assert [worker.exitcode for worker in workers] == [0, 0]
    for file in (own_cache / "statistics").iterdir():
        file.unlink()  # one process shall look for itself
    alone = _measure()
    for two in both.values():
        assert set(two) == set(alone)
        assert two["data"] == alone["data"] == (36, 1)
        for name in set(alone) - {"data"}:
            value, n, stderr, by_depth = alone[name]
            assert two[name][0] == pytest.approx(value, rel=1e-6), name
            assert two[name][1] == n == (29 if name in ("gfid", "recall") else 36), name
            assert two[name][2] == (None if stderr is None else pytest.approx(stderr, rel=1e-5)), name
            assert two[name][3] == (None if by_depth is None else pytest.approx(by_depth, rel=1e-6)), name

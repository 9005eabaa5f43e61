"""Two processes see what one sees, with a number of images that does not divide."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

WORKER = """
import json, os, sys
sys.path[:0] = [{tests!r}, {root!r}]
import torch
torch.set_num_threads(1)
rank, world = int(sys.argv[1]), int(sys.argv[2])
if world > 1:
    torch.distributed.init_process_group("gloo", rank=rank, world_size=world, init_method="file://" + sys.argv[3])
from pathlib import Path
from metric_fakes import FakeSpace, GreyTokenizer, Pictures
from tokbench import weights
from tokbench.metrics import evaluate_images, evaluate_tokenizer, extractors, names as all_names
from tokbench.metrics.inception_score import ClassStatistics, InceptionScore
all_names()
extractors._FACTORIES["inception-fid"] = lambda device: FakeSpace()
weights.find = lambda name: Path(name)
InceptionScore.unavailable = lambda self, size=None: None
classifier = torch.randn(1008, 12, generator=torch.Generator().manual_seed(1))
InceptionScore.statistics = lambda self, count: ClassStatistics(classifier, count)
names = ["psnr", "ssim", "l1", "usage", "entropy", "rfid", "precision", "is"]
one = evaluate_tokenizer(GreyTokenizer(), Pictures(37, broken=(5,)), metrics=names, batch_size=4)
two = evaluate_images(Pictures(29, seed=2), reference=Pictures(31), metrics=["gfid", "recall"], batch_size=4)
if rank == 0:
    found = {{**one.metrics, **two.metrics}}
    print(json.dumps({{k: [v.value, v.n, v.stderr, v.by_depth] for k, v in found.items()}} | {{
        "data": [one.data.n, one.data.skipped, None, None]}}))
if world > 1:
    torch.distributed.destroy_process_group()
"""


def _run(world: int, folder: Path) -> dict[str, list]:
    here = Path(__file__).resolve()
    script = folder / "worker.py"
    script.write_text(WORKER.format(tests=str(here.parent), root=str(here.parents[2])))
    (folder / f"cache-{world}").mkdir()
    command = [sys.executable, str(script)]
    workers = [
        subprocess.Popen([*command, str(rank), str(world), str(folder / "rendezvous")], stdout=subprocess.PIPE,
                         env=_environment(folder / f"cache-{world}"), text=True)
        for rank in range(world)
    ]
    outputs = [worker.communicate(timeout=180)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * world
    return json.loads(outputs[0].strip().splitlines()[-1])


def _environment(cache: Path) -> dict[str, str]:
    import os

    return {**os.environ, "TOKBENCH_CACHE": str(cache), "OMP_NUM_THREADS": "1"}


def test_two_processes_are_one(tmp_path: Path) -> None:
    one, two = _run(1, tmp_path), _run(2, tmp_path)
    assert set(one) == set(two)
    for name, (value, n, stderr, by_depth) in one.items():
        assert two[name][0] == pytest.approx(value, rel=1e-6), name
        assert two[name][1] == n, name
        if name == "data":
            continue
        assert two[name][2] == (None if stderr is None else pytest.approx(stderr, rel=1e-5)), name
        assert two[name][3] == (None if by_depth is None else pytest.approx(by_depth, rel=1e-6)), name
    assert one["psnr"][1] == 36 and one["gfid"][1] == 29

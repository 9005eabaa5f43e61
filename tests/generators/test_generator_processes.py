"""Two processes train a generator to the same weights as one with the joined batch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tokbench.data import open_images
from tokbench.generators.encoding import write_codes
from tokbench.models import Tokenizer

_SCRIPT = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tokbench.config.generator import GeneratorRecipe
from tokbench.training.loop import make_accelerator, train
recipe = GeneratorRecipe.model_validate_json(Path(sys.argv[1]).read_text())
train(recipe, Path(sys.argv[2]), accelerator=make_accelerator(recipe, cpu=True), quiet=True)
"""


def _run(processes: int, recipe: Path, out: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(processes):
        place = {} if processes == 1 else {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
        env = {
            **os.environ, **place, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1",
            "ACCELERATE_USE_CPU": "true",
        }  # fmt: skip
        arguments = [sys.executable, "-c", _SCRIPT, str(recipe), str(out)]
        children.append(
            subprocess.Popen(arguments, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
    for child in children:
        printed, _ = child.communicate(timeout=300)
        assert child.returncode == 0, printed


@pytest.mark.slow
@pytest.mark.parametrize("source", ["cache", "photos"])
def test_two_processes_equal_one(tmp_path: Path, rq_tokenizer: Tokenizer, rq_folder: Path, source: str) -> None:
    if source == "cache":
        for split in ("train", "eval"):
            images = open_images("photos", split, image_size=16, limit=32)
            write_codes(rq_tokenizer, images, tmp_path / "cache" / split, source=str(rq_folder))
    from tokbench.config.generator import GeneratorRecipe

    recipe = GeneratorRecipe.model_validate(
        {
            "name": "test",
            "tokenizer": str(rq_folder),
            "data": {
                "source": f"codes:{tmp_path / 'cache'}" if source == "cache" else "photos",
                "image_size": 16, "limit": 32, "eval_limit": 8,
            },
            "generator": {"name": "ar", "width": 16, "heads": 2, "layers": 1, "depth_layers": 1},
            "training": {
                "steps": 6, "batch_size": 8, "log_every": 2, "picture_every": 0, "checkpoint_every": 0,
                "learning_rate": 1e-3, "precision": "fp32",
            },
        }
    )  # fmt: skip
    (tmp_path / "recipe.json").write_text(recipe.model_dump_json())
    for processes in (1, 2):
        _run(processes, tmp_path / "recipe.json", tmp_path / str(processes))
    one, two = (load_file(tmp_path / str(n) / "generator" / "model.safetensors") for n in (1, 2))
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=2e-5, msg=name)

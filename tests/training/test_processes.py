"""Two processes train to the same weights as one with the joined batch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

_SCRIPT = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, {tests!r})
from recipes_tiny import TINY
from tokbench.config.loading import load_recipe
from tokbench.training.loop import train
for name, settings in {settings!r}.items():
    # 40 channels make groups of two. Over a single channel the norm undoes the biases before it: their gradients are
    # rounding alone, of which Adam makes whole steps.
    wide = ["model.channels=40", "model.latent_channels=40", "training.precision=fp32", "training.steps=6"]
    recipe = load_recipe("demo", [*TINY, *wide, *settings])
    train(recipe, Path({out!r}) / name, quiet=True)
"""

# With batch statistics in the discriminator two processes could not equal one; with group they must.
_GAN = (
    "loss.adversarial={start: 1, warmup: 1, lecam: 0.1, discriminator: "
    "{name: patchgan, channels: 16, layers: 2, norm: group}}"
)
_VQ = ["quantizer.name=vq", "quantizer.codebook_size=16"]
_STEADY = [*_VQ, "quantizer.codebook_update=gradient"]

SETTINGS = {
    "vq": _VQ,
    "rq": ["quantizer.name=rq", "quantizer.codebook_size=16", "quantizer.depth=2"],
    # At the paper's temperature of 0.01 rounding is magnified a hundredfold before it reaches the weights.
    "lfq": ["quantizer.name=lfq", "quantizer.codebook_size=16", "quantizer.temperature=1.0"],
    "gan": [*_STEADY, _GAN],
    "gan-accumulated": [*_STEADY, _GAN, "training.gradient_accumulation=2"],
}


def _run(processes: int, out: Path) -> None:
    script = _SCRIPT.format(tests=str(Path(__file__).parents[1]), settings=SETTINGS, out=str(out))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(processes):
        place = {} if processes == 1 else {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
        env = {
            **os.environ,
            **place,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "ACCELERATE_USE_CPU": "true",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "OMP_NUM_THREADS": "1",
        }
        children.append(subprocess.Popen([sys.executable, "-c", script], env=env, stderr=subprocess.PIPE, text=True))
    for child in children:
        _, errors = child.communicate(timeout=240)
        assert child.returncode == 0, errors


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    _run(1, one)
    _run(2, two)
    return one, two


@pytest.mark.parametrize("case", SETTINGS)
def test_two_processes_equal_one_with_the_joined_batch(outcomes: tuple[Path, Path], case: str) -> None:
    one, two = (load_file(folder / case / "tokenizer" / "model.safetensors") for folder in outcomes)
    assert one.keys() == two.keys()
    squares = sum(float(w.double().square().sum()) for w in one.values())
    apart = sum(float((two[name].double() - w.double()).square().sum()) for name, w in one.items())
    assert apart**0.5 < 1e-5 * squares**0.5
    # One weight whose gradient nearly vanishes may stray further; a mean that was not joined moves all by 1e-2.
    for name, expected in one.items():
        difference = (two[name].double() - expected.double()).norm() / (expected.double().norm() + 1e-6)
        assert difference < 1e-3, f"{name}: relative difference {difference:.2e}"

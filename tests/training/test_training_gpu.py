"""What only a GPU can show of training: half precision, compiled steps, exact resume, NCCL."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from gpu_device import DEVICE, ON_GPU

from tokbench.config.recipe import TokenizerRecipe
from tokbench.training.checkpoint import load_checkpoint
from tokbench.training.launch import make_accelerator
from tokbench.training.loop import train

pytestmark = ON_GPU
Tiny = Callable[..., TokenizerRecipe]
GAN = (
    "loss.adversarial={start: 3, warmup: 2, ramp: 2, lecam: 0.1, r1: 1.0, r1_every: 2, augment: [color, cutout], "
    "discriminator: {name: patchgan, channels: 8, layers: 2, norm: batch, spectral_norm: true}}"
)


def run(recipe: TokenizerRecipe, folder: Path, **options: object) -> list[dict[str, float]]:
    """Train on the device; the lines of its log."""
    AcceleratorState._reset_state(reset_partial_state=True)  # a process has one precision, unless it is told to forget
    accelerator = make_accelerator(recipe, cpu=DEVICE == "cpu")
    assert accelerator.device.type == DEVICE
    train(recipe, folder, quiet=True, accelerator=accelerator, **options)  # type: ignore[arg-type]
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_with_everything_on_learns(tiny: Tiny, tmp_path: Path, precision: str) -> None:
    if precision == "fp16" and DEVICE == "cpu":
        pytest.skip("fp16 is for GPUs")
    settings = (f"training.precision={precision}", "training.channels_last=true", "training.steps=60")
    lines = run(tiny(GAN, *settings, "training.log_every=5"), tmp_path / "run")
    assert lines[-1]["l2"] < 0.8 * lines[0]["l2"]
    assert all(math.isfinite(value) for value in lines[-1].values())


def test_a_compiled_step_learns_what_the_plain_one_does(tiny: Tiny, tmp_path: Path) -> None:
    plain, compiled = (
        run(tiny("training.precision=fp32", f"training.compile={on}", "training.log_every=1"), tmp_path / on)
        for on in ("false", "true")
    )
    assert len(plain) == len(compiled)
    for one, two in zip(plain, compiled, strict=True):
        assert two["l2"] == pytest.approx(one["l2"], rel=0.02)


@pytest.mark.parametrize(
    "settings", [(), (GAN,), ("quantizer={name: lfq, codebook_size: 16}",)], ids=["rq", "gan", "lfq"]
)
def test_stopped_and_resumed_is_bit_equal(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: tuple[str, ...]
) -> None:
    """With torch's deterministic algorithms: sums of gradients on a GPU come in any order otherwise."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        recipe = tiny(*settings, "training.precision=fp32", "training.log_every=1")
        run(recipe, tmp_path / "whole")
        run(recipe, tmp_path / "parts", stop_at=7)
        run(recipe, tmp_path / "parts", resume=True)
    finally:
        torch.use_deterministic_algorithms(False)
    whole, parts = (load_checkpoint(tmp_path / name / "checkpoints")[0] for name in ("whole", "parts"))
    assert whole is not None and parts is not None
    one, two = (torch.utils._pytree.tree_leaves(found["task"]) for found in (whole, parts))
    assert len(one) == len(two) > 20
    assert all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(one, two, strict=True))


def test_one_process_joined_trains_as_one_alone(tmp_path: Path) -> None:
    """NCCL with one rank: what the quantizers send is sent, and comes back the same."""
    environment = {"MASTER_ADDR": "127.0.0.1", "RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
    environment["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    done = subprocess.run(
        [sys.executable, "-c", JOINED, DEVICE, str(tmp_path / "store")],
        env=os.environ | environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


JOINED = """
import sys
import torch
import torch.distributed as dist
import quantizers
from quantizers import distributed
device, store = sys.argv[1:]
torch.use_deterministic_algorithms(True, warn_only=True)  # sums over a code's vectors come in any order otherwise

def trained():
    found = []
    for name, options in (("rq", {"dim": 8, "codebook_size": 16, "depth": 3}), ("lfq", {"codebook_size": 64})):
        torch.manual_seed(0)
        q = quantizers.build(name, **options).to(device).train()
        for _ in range(3):
            out = q(torch.randn(4, 30, q.dim).to(device))
        q.usage.merge()
        found += [out.indices, out.loss.detach(), torch.tensor(q.usage.entropy_bits), *q.state_dict().values()]
    return found

alone = trained()
dist.init_process_group("nccl" if device == "cuda" else "gloo", init_method=f"file://{store}", rank=0, world_size=1)
distributed.world_size = lambda: 2  # of one rank nothing is sent: what is for two is done, and adds up to itself
joined = trained()
assert all(torch.equal(a, b) for a, b in zip(alone, joined, strict=True))
z = torch.randn(5, 3).to(device)
assert torch.equal(distributed.gather_rows(z), z)
assert torch.equal(distributed.joined_mean(z.mean(0), 5), z.mean(0) * 5 / 5)
dist.destroy_process_group()
"""

"""Two processes train what one process with the joined batch trains, in the GAN phase too."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

WORKER = """
import sys, torch
from pathlib import Path
from tokbench.config.loading import load_recipe
from tokbench.training.loop import make_accelerator, train
torch.set_num_threads(1)
recipe = load_recipe("demo", sys.argv[2:])
train(recipe, Path(sys.argv[1]), accelerator=make_accelerator(recipe, cpu=True), quiet=True)
torch.distributed.is_initialized() and torch.distributed.destroy_process_group()
"""


def launch(out: Path, settings: list[str], processes: int) -> None:
    """Train in so many gloo processes and wait for all."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = []
    for rank in range(processes):
        environment = dict(os.environ)
        if processes > 1:
            environment |= {"RANK": f"{rank}", "LOCAL_RANK": f"{rank}", "WORLD_SIZE": f"{processes}"}
            environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": f"{port}", "ACCELERATE_USE_CPU": "true"}
        command = [sys.executable, "-c", WORKER, str(out), *settings]
        running.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    for process in running:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said[-3000:]


# Nothing that depends on which process a picture is on: no restarts, no batch statistics, no augmentation. Channels
# such that no normalisation group is a single channel, where Adam would amplify rounding.
STEADY = [
    "data.image_size=16",
    "data.limit=32",
    "data.eval_limit=8",
    "data.flip=false",
    "model.channels=40",
    "model.multipliers=[1,2]",
    "model.latent_channels=40",
    "quantizer={name: vq, codebook_size: 16, codebook_update: gradient}",
    "training.steps=6",
    "training.batch_size=8",
    "training.warmup_steps=2",
    "training.learning_rate=1e-4",
    "training.ema_decay=0",
    "training.picture_every=0",
    "loss.adversarial={start: 1, warmup: 1, lecam: 0.1, discriminator: {name: patchgan, channels: 16, layers: 2, "
    "norm: group}}",
]


@pytest.mark.parametrize(
    "accumulation", [1, pytest.param(2, marks=pytest.mark.slow)], ids=["whole", "accumulated"]
)
def test_two_processes_equal_one_in_the_gan_phase(tmp_path: Path, accumulation: int) -> None:
    launch(tmp_path / "one", STEADY, 1)
    launch(tmp_path / "two", [*STEADY, f"training.gradient_accumulation={accumulation}"], 2)
    one, two = (load_file(tmp_path / name / "tokenizer" / "model.safetensors") for name in ("one", "two"))
    apart = [k for k in one if (one[k].float() - two[k].float()).abs().max() > 1e-5]
    assert not apart, apart

"""Two processes train to the same weights as one with the joined batch, and skip a bad step together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from fork_server import ForkServer
from gloo_processes import run_processes
from safetensors.torch import load_file

_SCRIPT = """
import atexit
import os
import sys
import warnings
from pathlib import Path
import torch
warnings.filterwarnings("error", message=".*broadcast_buffers.*")
from recipes_tiny import TINY
from tokbench.config.loading import load_recipe
from tokbench.training.loop import train
for name, settings in {settings!r}.items():
    recipe = load_recipe("demo", [*TINY, *{same!r}, *settings])
    train(recipe, Path({out!r}) / name, quiet=True)

from tokbench.training.tokenizer_task import TokenizerTask
original, rank = TokenizerTask.step, int(os.environ.get("RANK", 0))
def step(self, batches, step, factor):
    images = self._images
    if step == 2 and rank == 1:  # the quantizer of one process alone sees nonsense, before its collective calls
        self._images = lambda batch: images(batch) * torch.nan
    try:
        return original(self, batches, step, factor)
    finally:
        self._images = images
TokenizerTask.step = step
recipe = load_recipe("demo", [*TINY, *{skipping!r}])
result = train(recipe, Path({out!r}) / "skip", quiet=True)
(Path({out!r}) / f"skipped-{{rank}}").write_text(str(result.skipped))
atexit._run_exitfuncs()
assert not torch.distributed.is_initialized(), "at its end a process whose peers are still joined may abort"
"""

# The demo's two groups a norm leave none over a single channel: that would undo the biases before it, whose gradients
# would be rounding alone, of which Adam makes whole steps.
_SAME = ["training.precision=fp32", "training.steps=4", "training.picture_every=0", "training.checkpoint_every=0"]

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


_SKIPPING = [*_VQ, "training.on_nan=skip", "training.steps=4", "training.precision=fp32"]


def _run(forks: ForkServer, processes: int, out: Path) -> None:
    script = _SCRIPT.format(same=_SAME, settings=SETTINGS, skipping=_SKIPPING, out=str(out))
    run_processes(forks, out, script, processes=processes)


@pytest.fixture(scope="module")
def outcomes(forks: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    _run(forks, 1, one)
    _run(forks, 2, two)
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


def test_a_bad_step_of_one_process_is_skipped_by_both(outcomes: tuple[Path, Path]) -> None:
    _, out = outcomes
    assert [(out / f"skipped-{rank}").read_text() for rank in (0, 1)] == ["1", "1"]
    lines = [json.loads(line) for line in (out / "skip" / "log.jsonl").read_text().splitlines()]
    (event,) = [line for line in lines if line.get("event") == "skipped"]
    # The other process's terms and its four samples reach the log, which the first one writes.
    assert event["step"] == 3 and "(loss nan" in event["message"]
    assert event["message"].partition("samples of the batch: ")[2].count(", ") == 3
    found = load_file(out / "skip" / "tokenizer" / "model.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in found.values())

"""Steps that train: rows of a table that mean something, and whether loading keeps up."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tokbench import weights
from tokbench.bench.gpu.account import Work
from tokbench.bench.gpu.memory import recipe_of, training_step
from tokbench.bench.gpu.step import Answer, Bar, Setting
from tokbench.bench.tokenizer import StepOptions, bench_tokenizer
from tokbench.cores import available
from tokbench.data import open_images
from tokbench.data.throughput import measure
from tokbench.errors import TokbenchError
from tokbench.results.store import Store

RECIPE = "tiny64-gan"
STEPS = 6000  # of training, at 64 images: the discriminator is heard for the last 2000
ROWS = "rows.jsonl"
_QUANTIZERS = {
    "vq": ("quantizer.codebook_size=1024",),
    "rq": ("quantizer={name: rq, codebook_size: 1024, depth: 4}",),
    "lfq": ("quantizer={name: lfq, codebook_size: 1024}",),
}
_TINY = (
    "data.image_size=16", "data.limit=16", "model.channels=8", "model.multipliers=[1,2]", "model.latent_channels=8",
    "model.attention_resolutions=[8]", "model.code_channels=null", "training.batch_size=4",
    "training.warmup_steps=1", "training.picture_every=0", "training.checkpoint_every=0",
    "loss.adversarial=null", "loss.perceptual.net=none",
)  # fmt: skip


def trained(quantizer: str) -> Callable[[Setting], Answer]:
    """``tiny64-gan`` with a quantizer, trained and measured; a run that was stopped goes on from its checkpoint."""

    def run(setting: Setting) -> Answer:
        steps = 4 if setting.tiny else STEPS
        out = setting.folder / "runs" / quantizer
        changes = [f"data.source={setting.data}", f"training.steps={steps}", *_QUANTIZERS[quantizer]]
        without = [] if weights.find("lpips-vgg") else ["loss.perceptual.net=none"]
        full = [f"loss.adversarial.start={steps * 2 // 3}", "training.precision=bf16", "training.channels_last=true"]
        changes += _TINY if setting.tiny else [*full, *without]
        where = [] if setting.device == "cuda" else ["--cpu"]
        if not (out / "tokenizer").is_dir():
            on = ["--resume"] if (out / "recipe.yaml").exists() else []
            _tokbench("train", RECIPE, *(f"--set={change}" for change in changes), f"--out={out}", *on, *where)
        metrics = ["psnr", "ssim", "usage", "perplexity"]
        metrics += ["rfid"] if weights.find("inception-fid") and not setting.tiny else []
        metrics += ["lpips"] if weights.find("lpips-alex") and not setting.tiny else []
        asked = [f"--data={setting.data}", f"--metrics={','.join(metrics)}", f"--out={setting.folder / ROWS}"]
        _tokbench("evaluate", str(out / "tokenizer"), *asked, f"--name={quantizer}", *where)
        record = Store(setting.folder / ROWS).read()[-1]
        values = {name: metric.value for name, metric in record.metrics.items()}
        says = ", ".join(f"{name} {value:.4g}" for name, value in values.items() if value is not None)
        lacking = ["LPIPS in the loss: no weights lpips-vgg"] if without else []
        lacking += [] if "rfid" in metrics else ["rFID: no weights inception-fid"]
        return Answer(says, {"record": record.id, "metrics": values, "steps": steps, "without": lacking})

    return run


def trained_work() -> Work:
    """The steps of a run, of which the discriminator is in the last third."""
    return training_step(RECIPE, 64, half=True, losses=True).times(STEPS)


def loading(setting: Setting) -> Answer:
    """Images a second that workers load, beside what the training step of the same recipe takes."""
    changes = ("quantizer.codebook_size=16", *_TINY) if setting.tiny else ()
    recipe = recipe_of(RECIPE, (*changes, "loss.adversarial=null", "loss.perceptual.net=none"))
    fast = StepOptions("bf16", channels_last=True)
    batch = recipe.training.batch_size
    [row] = bench_tokenizer(recipe.tokenizer, [fast], batch_size=batch, repeats=5, device=setting.device)["rows"]
    need = row["images_per_second"]["train step"]
    images = open_images(setting.data, "train", image_size=recipe.data.image_size)
    tried = [0, 1] if setting.tiny else [0, *(n for n in (2, 4, 8, 16) if n <= available())]
    seconds = 0.3 if setting.tiny else 3.0
    rates = {n: measure(images, batch_size=batch, workers=n, seconds=seconds).images_per_second for n in tried}
    best = max(rates.values())
    bars = [Bar("images a second loaded, times what a step takes", best / need, 1.0)]
    says = f"a step takes {need:,.0f} images/s; loaded: " + ", ".join(f"{n} workers {r:,.0f}" for n, r in rates.items())
    return Answer(says, {"need": need, "images_per_second": rates, "data": setting.data}, bars)


def loading_work() -> Work:
    """The step's part; the rest is the processor's."""
    return training_step(RECIPE, 64, half=True, losses=False).times(8)


def _tokbench(*arguments: str) -> None:
    """The command line in a process of its own. TokbenchError with its last line where it fails."""
    root = str(Path(__file__).resolve().parents[3])
    paths = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "tokbench", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths})
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").split("\n")[-1].removeprefix("tokbench: ")
        raise TokbenchError(f"tokbench {arguments[0]}: {said}")

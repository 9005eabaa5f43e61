"""Steps about networks: what a tokenizer's training step takes, beside its authors' own module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tokbench.bench.gpu.account import Work
from tokbench.bench.gpu.memory import recipe_of, training_step
from tokbench.bench.gpu.step import Answer, Bar, Setting
from tokbench.bench.tokenizer import StepOptions, bench_tokenizer
from tokbench.training.flops import train_step_flops
from tokbench.training.peak_flops import peak_flops

_FAST = StepOptions("bf16", channels_last=True, compile=True)
_TURNS = 5
_TINY_IMAGE = (
    "data.image_size=16", "model.channels=32", "model.multipliers=[1,1]", "model.latent_channels=32", "model.blocks=1",
    "model.attention_resolutions=[8]", "quantizer.codebook_size=16", "loss.adversarial=null",
)  # fmt: skip
_TINY_VIDEO = (
    "data.image_size=[5,16,16]", "model.channels=8", "model.multipliers=[1,2]", "model.blocks=1",
    "model.halve_frames=[true]", "quantizer.codebook_size=64", "quantizer.factor_bits=[3,3]", "loss.adversarial=null",
)  # fmt: skip


def step_of(
    recipe: str, peer: str, batch: int, *, video: bool = False, compiled: bool = True, bar: float | None = None
) -> Callable[[Setting], Answer]:
    """Eager fp32, then bf16 with channels-last and compiled, then the peer's module as eager fp32, all in turns.

    Args:
        compiled: False leaves out what is compiled, which can take longer than all else.
        bar: how many times as fast as the peer's the fast training step is to be.
    """

    def run(setting: Setting) -> Answer:
        tiny = _TINY_VIDEO if video else _TINY_IMAGE
        found = recipe_of(recipe, tiny if setting.tiny else ())
        plain = StepOptions(activation_checkpointing=False)
        size = 2 if setting.tiny else batch
        result = bench_tokenizer(
            found.tokenizer,
            [plain, _FAST] if compiled else [plain],
            beside=peer,
            batch_size=size,
            repeats=_TURNS,
            device=setting.device,
        )
        rows: list[dict[str, Any]] = result["rows"]
        eager, *fast, theirs = (row["seconds"]["train step"] for row in rows)
        says = f"train step of {size}: eager fp32 {eager * 1e3:.1f} ms, {peer} {theirs * 1e3:.1f} ms"
        for seconds in fast:
            peak = peak_flops(result["device"], "bf16")
            alone = ("loss.perceptual.net=none", "loss.adversarial=null")
            flops = train_step_flops(recipe_of(recipe, (*(tiny if setting.tiny else ()), *alone))) * size
            result["flops"], result["mfu"] = flops, flops / seconds / peak if peak else None
            mfu = "unknown" if result["mfu"] is None else f"{result['mfu']:.1%}"
            says += f", {_FAST.label} {seconds * 1e3:.1f} ms (MFU {mfu})"
        bars = [] if bar is None else [Bar(f"train step, times as fast as {peer}'s", theirs / min(fast), bar)]
        return Answer(says, result, bars)

    return run


def step_work(recipe: str, batch: int, *, compiled: bool = True) -> Callable[[], Work]:
    """Two eager fp32 sides and a bf16 one, each with its encode and decode, which are a third of a step."""

    def work() -> Work:
        slow = training_step(recipe, batch, half=False, losses=False)
        fast = training_step(recipe, batch, half=True, losses=False)
        return (slow.times(2) + fast.times(compiled)).times((_TURNS + 2) * 4 / 3)

    return work

"""How many images per second a tokenizer encodes, decodes and trains on."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from tokbench.bench.peers import peer_of
from tokbench.bench.resident import growth, in_own_process
from tokbench.bench.timing import device_name, seconds_of
from tokbench.config.grid import axes
from tokbench.config.model import TokenizerConfig
from tokbench.errors import TokbenchError
from tokbench.models import Tokenizer
from tokbench.models.layout import channels_last, channels_last_
from tokbench.results.environment import provenance
from tokbench.training.optimizer import adamw

PARTS = ("encode", "decode", "train step")
Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class StepOptions:
    """How the same tokenizer is run."""

    precision: Precision = "fp32"
    channels_last: bool = False
    compile: bool = False
    activation_checkpointing: bool = False

    @property
    def label(self) -> str:
        """For example ``bf16 channels-last compile``."""
        words: list[str] = [self.precision]
        words += ["channels-last"] if self.channels_last else []
        words += ["compile"] if self.compile else ["eager"]
        words += ["activation checkpointing"] if self.activation_checkpointing else []
        return " ".join(words)


def bench_tokenizer(
    config: TokenizerConfig,
    variants: list[StepOptions],
    *,
    beside: str | None = None,
    batch_size: int = 8,
    repeats: int = 5,
    warmup: int = 2,
    device: str = "cpu",
    memory: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """Time encode, decode and a training step of ``config`` with random weights on random images, for each variant.

    The training step is forward, L1 plus the quantizer's loss, backward and AdamW. The variants take turns within
    every repeat, so that a machine that slows down slows all of them; the figure is the median of the repeats.

    Args:
        beside: a peer (``tokbench.bench.peers``) whose own module, with the same weights, is timed as eager fp32 in
            the same turns and becomes the last row.
        memory: on a CPU also the peak of a training step, by the growth of a fresh process for each row.

    Returns:
        ``created``, ``git``, ``environment``, the settings, and ``rows``: one a variant, with ``seconds`` (median, a
        batch), ``images_per_second``, ``speedup`` over the first variant, and on a GPU or with
        ``memory`` ``peak_mib``, by part. On a GPU also ``tf32_convolutions``: whether "fp32" has them.
    """
    if batch_size < 1 or repeats < 1 or warmup < 0:
        raise TokbenchError(f"nothing to time: batch size {batch_size}, repeats {repeats}, warm-up {warmup}")
    where = torch.device(device)
    runs = [_prepare(config, variant, batch_size, where, seed) for variant in variants]
    labels = [(variant.label, asdict(variant)) for variant in variants]
    if beside is not None:
        runs.append(_prepare(config, StepOptions(), batch_size, where, seed, beside))
        labels.append((f"{beside}'s own {StepOptions().label}", asdict(StepOptions())))
    peers = [None] * len(variants) + ([beside] if beside is not None else [])
    seconds: list[dict[str, list[float]]] = [{part: [] for part in PARTS} for _ in runs]
    peaks: list[dict[str, float]] = [{} for _ in runs]
    for turn in range(warmup + repeats):
        for run, spent, peak in zip(runs, seconds, peaks, strict=True):
            for part in PARTS:
                elapsed, allocated = _timed(run[part], where)
                if turn >= warmup:
                    spent[part].append(elapsed)
                    if allocated is not None:
                        peak[part] = max(peak.get(part, 0.0), allocated)
    if memory and where.type == "cpu":
        for (label, settings), peer, peak in zip(labels, peers, peaks, strict=True):
            asked = (config.model_dump_json(), json.dumps(settings), str(batch_size), str(seed), peer or "")
            grown = in_own_process("tokbench.bench.tokenizer:resident_growth", *asked, what=label)
            peak.update({} if grown is None else {"train step": grown})
    rows = []
    medians = [{part: statistics.median(times) for part, times in spent.items()} for spent in seconds]
    for (label, settings), median, peak in zip(labels, medians, peaks, strict=True):
        row: dict[str, Any] = {"variant": label, **settings, "seconds": median}
        row["images_per_second"] = {part: batch_size / value for part, value in median.items()}
        row["speedup"] = {part: medians[0][part] / value for part, value in median.items()}
        rows.append(row | ({"peak_mib": peak} if peak else {}))
    return {
        **provenance(),
        "device": device_name(where),
        **({"tf32_convolutions": torch.backends.cudnn.allow_tf32} if where.type == "cuda" else {}),
        "config": config.model_dump(mode="json"),
        "parameters": sum(p.numel() for p in Tokenizer(config).parameters()),
        "batch_size": batch_size,
        "repeats": repeats,
        "warmup": warmup,
        "rows": rows,
    }


def resident_growth(config: str, variant: str, batch_size: str, seed: str, beside: str) -> None:
    """Print the MiB by which the first training step makes this process grow at its peak."""
    settings = (TokenizerConfig.model_validate_json(config), StepOptions(**json.loads(variant)), int(batch_size))
    parts = _prepare(*settings, torch.device("cpu"), int(seed), beside or None)
    print(growth(parts["train step"]))


def _prepare(
    config: TokenizerConfig,
    variant: StepOptions,
    batch_size: int,
    device: torch.device,
    seed: int,
    beside: str | None = None,
) -> dict[str, Callable[[], object]]:
    """The three things to time, of ours or of the peer ``beside``, as functions without arguments."""
    torch.manual_seed(seed)
    tokenizer = Tokenizer(config).to(device)
    images = torch.rand(batch_size, config.channels, *axes(config.image_size), device=device) * 2 - 1
    if variant.channels_last:
        channels_last_(tokenizer)
        images = channels_last(images)
    tokenizer.checkpoint_activations(variant.activation_checkpointing)
    codes = tokenizer.eval().encode(images)
    if variant.compile:
        tokenizer.compile_networks()
    module = tokenizer if beside is None else peer_of(tokenizer, beside, images)
    optimizer = adamw(module.parameters(), lr=1e-6, betas=(0.9, 0.99))
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[variant.precision]
    autocast = torch.autocast(device.type, dtype=dtype, enabled=variant.precision != "fp32")

    def objective(x: Tensor) -> Tensor:
        out = module(x)
        loss: Tensor = (out.reconstruction.float() - x).abs().mean() + out.loss
        return loss

    def encode() -> None:
        module.eval()
        with torch.no_grad(), autocast:
            module.encode(images)

    def decode() -> None:
        module.eval()
        with torch.no_grad(), autocast:
            module.decode(codes)

    def train_step() -> None:
        module.train()
        optimizer.zero_grad(set_to_none=True)
        with autocast:
            loss = objective(images)
        loss.backward()
        optimizer.step()

    return {"encode": encode, "decode": decode, "train step": train_step}


def _timed(function: Callable[[], object], device: torch.device) -> tuple[float, float | None]:
    """Seconds, and on a GPU the peak of allocated MiB."""
    if device.type != "cuda":
        return seconds_of(function, device), None
    torch.cuda.reset_peak_memory_stats(device)
    return seconds_of(function, device), torch.cuda.max_memory_allocated(device) / 2**20
